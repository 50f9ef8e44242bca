//! Constants by name: of the kernel's enumerations, and those that scripts take from headers.

use super::Checker;
use super::expression::{number, unknown};
use crate::diagnostic::Diagnostic;
use crate::source::Span;
use crate::typed::Expression;
use crate::types::Type;

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

impl Checker<'_> {
    pub(super) fn constant(&mut self, name: &str, span: Span) -> Expression {
        if let Some(value) = self.constants.get(name) {
            return number(*value, Type::INT64, span);
        }
        if let Some((_, value)) = HEADERS.iter().find(|(known, _)| *known == name) {
            return number(*value, Type::INT64, span);
        }
        let found = match self.environment.kernel() {
            Ok(kernel) => kernel.constant(name).map(|(value, _)| value).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match found.and_then(|value| i64::try_from(value).map_err(|error| error.to_string())) {
            Ok(value) => number(value, Type::INT64, span),
            Err(reason) => {
                let error = Diagnostic::error("unknown-constant", format!("nothing is called `{name}`"), span);
                self.report(error.because(reason));
                unknown(span)
            }
        }
    }
}
