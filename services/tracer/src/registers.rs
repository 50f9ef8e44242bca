//! Where a probe at an instruction finds what functions are called with: `struct pt_regs`, by the machine's calling
//! convention (x86-64: System V ABI 3.2.3; arm64: AAPCS64 6.8).

#[cfg(target_arch = "x86_64")]
mod machine {
    /// Registers by name, in the order of `struct pt_regs`.
    pub(crate) const NAMES: &[&str] = &[
        "r15", "r14", "r13", "r12", "bp", "bx", "r11", "r10", "r9", "r8", "ax", "cx", "dx", "si", "di", "orig_ax",
        "ip", "cs", "flags", "sp", "ss",
    ];
    pub(crate) const ARGUMENTS: &[&str] = &["di", "si", "dx", "cx", "r8", "r9"];
    pub(super) const RETURNED: &str = "ax";
    /// Bytes from the stack's top to the first argument there: the return address lies between.
    pub(super) const ON_STACK: i64 = 8;
}

#[cfg(target_arch = "aarch64")]
mod machine {
    /// Registers by name, in the order of `struct user_pt_regs`.
    pub(crate) const NAMES: &[&str] = &[
        "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "r16",
        "r17", "r18", "r19", "r20", "r21", "r22", "r23", "r24", "r25", "r26", "r27", "r28", "r29", "r30", "sp", "pc",
        "pstate",
    ];
    pub(crate) const ARGUMENTS: &[&str] = &["r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7"];
    pub(super) const RETURNED: &str = "r0";
    pub(super) const ON_STACK: i64 = 0;
}

pub(crate) use machine::{ARGUMENTS, NAMES};
use machine::{ON_STACK, RETURNED};

/// Where a register lies, in bytes from the context's start.
pub(crate) fn offset(name: &str) -> Option<i16> {
    let index = NAMES.iter().position(|known| *known == name)?;
    i16::try_from(index * 8).ok()
}

/// Where an argument lies that is handed over in a register.
pub(crate) fn argument(index: usize) -> Option<i16> {
    offset(ARGUMENTS.get(index)?)
}

/// Where a function's answer lies when it returns.
pub(crate) fn returned() -> Option<i16> {
    offset(RETURNED)
}

/// Where the stack's address lies, and how far from there an argument is that is handed over on the stack.
pub(crate) fn on_stack(index: u8) -> Option<(i16, i64)> {
    Some((offset("sp")?, ON_STACK + i64::from(index) * 8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_named_register_is_one() {
        assert_eq!(argument(ARGUMENTS.len()), None);
        assert!((0..ARGUMENTS.len()).all(|index| argument(index).is_some()));
        assert!(returned().is_some() && on_stack(0).is_some());
        assert_eq!(offset("eax"), None);
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn registers_lie_where_the_kernel_puts_them() {
        assert_eq!((argument(0), argument(1), returned(), offset("sp")), (Some(112), Some(104), Some(80), Some(152)));
    }
}
