//! What is said where the kernel's own types cannot be read.

use synscope_btf::BtfError;
use synscope_bus::reasons::reasons;

use crate::diagnostic::Diagnostic;
use crate::source::Span;

/// The file, and what is the matter with it.
pub(crate) fn untold(error: &BtfError) -> String {
    match error {
        BtfError::Read { path, source } => format!("{}: {source}", path.display()),
        other => reasons(other),
    }
}

/// What to do about it.
pub(crate) fn remedy(error: &BtfError) -> &'static str {
    match error {
        BtfError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            "a kernel that was built with `CONFIG_DEBUG_INFO_BTF=y` has this file; scripts without types run without it"
        }
        BtfError::Read { .. } => "only scripts without types run without this file",
        _ => "this is not what the kernel has there: `findmnt -R /sys/kernel/btf` shows what is mounted over it",
    }
}

/// The same, where a script needs them.
pub(crate) fn needed(error: &BtfError, span: Span) -> Diagnostic {
    let message = format!("the kernel's types cannot be read: {}", untold(error));
    Diagnostic::error("no-types", message, span).because(remedy(error))
}
