//! What the kernel keeps even from root: its lockdown (`man kernel_lockdown.7`).

/// Where the kernel tells how far it is locked down, the one that holds in brackets.
const FILE: &str = "/sys/kernel/security/lockdown";
const CONFIDENTIALITY: &str = "[confidentiality]";

/// How the rule is called.
pub(crate) const RULE: &str = "the kernel is locked down (lockdown=confidentiality), which forbids";
/// What is said where nobody knows.
pub(crate) const MAYBE: &str = "a kernel that is locked down (lockdown=confidentiality) forbids it; \
    /sys/kernel/security/lockdown tells, after `mount -t securityfs securityfs /sys/kernel/security`";

/// Whether the kernel keeps its memory to itself; none where it does not tell.
pub(crate) fn confidential() -> Option<bool> {
    std::fs::read_to_string(FILE).ok().map(|text| text.contains(CONFIDENTIALITY))
}

/// Why root may not do something, if that is the reason: what it would be that is forbidden.
pub(crate) fn why(forbidden: &str) -> Option<String> {
    match confidential() {
        Some(true) => Some(format!("{RULE} {forbidden}")),
        Some(false) => None,
        None => Some(MAYBE.to_owned()),
    }
}
