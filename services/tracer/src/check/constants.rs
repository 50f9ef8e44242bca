//! Constants by name: of the kernel's enumerations, and those that scripts take from headers.

use nix::errno::Errno;

use super::Checker;
use super::expression::{number, unknown};
use super::memory::type_of;
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::typed::Expression;
use crate::types::{Access, Type};
use crate::untold::untold;

/// Constants that are macros in C and so are not among the kernel's types (`include/linux/socket.h`,
/// `include/uapi/linux/{in,if_ether,tcp,icmp}.h`, `include/net/tcp.h`).
const HEADERS: &[(&str, i64)] = &[
    ("AF_UNSPEC", 0),
    ("AF_UNIX", 1),
    ("AF_INET", 2),
    ("AF_INET6", 10),
    ("AF_NETLINK", 16),
    ("AF_PACKET", 17),
    ("ETH_P_IP", 0x0800),
    ("ETH_P_ARP", 0x0806),
    ("ETH_P_8021Q", 0x8100),
    ("ETH_P_IPV6", 0x86dd),
    ("TCPHDR_FIN", 0x01),
    ("TCPHDR_SYN", 0x02),
    ("TCPHDR_RST", 0x04),
    ("TCPHDR_PSH", 0x08),
    ("TCPHDR_ACK", 0x10),
    ("ICMP_ECHOREPLY", 0),
    ("ICMP_DEST_UNREACH", 3),
    ("ICMP_ECHO", 8),
    ("IPPROTO_ICMPV6", 58),
    ("NULL", 0),
];

/// The largest number of an error (`MAX_ERRNO` in `include/linux/err.h`).
const MAX_ERROR: i32 = 4095;

impl Checker<'_> {
    pub(super) fn constant(&mut self, name: &str, span: Span) -> Expression {
        let own = self.own.as_ref().and_then(|own| {
            let constant = own.constant(name).ok()?;
            Some((constant.value, type_of(own, constant.of, Access::Kernel)))
        });
        if let Some((value, ty)) = own {
            return number(low_bits(value), ty, span);
        }
        // While types are defined, earlier constants count already.
        if let Some(value) = self.constants.get(name) {
            return number(*value, Type::INT64, span);
        }
        if let Some((_, value)) = HEADERS.iter().find(|(known, _)| *known == name) {
            return number(*value, Type::INT64, span);
        }
        if let Some(error) = error_called(name) {
            return number(error, Type::INT64, span);
        }
        let found = match self.environment.kernel() {
            Ok(kernel) => kernel.constant(name).map_err(|error| error.to_string()),
            Err(error) => Err(format!("the kernel's types cannot be read: {}", untold(error))),
        };
        match found {
            Ok((value, found)) => number(low_bits(value), type_of(&found.btf, found.id, Access::Kernel), span),
            Err(reason) => {
                let error = Diagnostic::error("unknown-constant", format!("nothing is called `{name}`"), span);
                self.report(error.because(reason));
                unknown(span)
            }
        }
    }
}

/// The number of an error by its name in C, which the kernel's types do not tell (`include/uapi/asm-generic/errno.h`).
fn error_called(name: &str) -> Option<i64> {
    if !name.starts_with('E') {
        return None;
    }
    let known = (1..=MAX_ERROR).map(|number| (number, Errno::from_raw(number)));
    let (number, _) =
        known.into_iter().find(|(_, error)| *error != Errno::UnknownErrno && format!("{error:?}") == name)?;
    Some(number.into())
}

/// A constant's value as the machine has it.
fn low_bits(value: i128) -> i64 {
    i64::try_from(value).unwrap_or_else(|_above| u64::try_from(value).unwrap_or(0).cast_signed())
}
