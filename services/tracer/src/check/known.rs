//! Calls whose values are known before the trace begins.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::Checker;
use super::expression::{number, unknown};
use crate::ast;
use crate::diagnostic::Diagnostic;
use crate::functions;
use crate::source::Span;
use crate::typed::{Expression, ExpressionKind};
use crate::types::Type;

impl Checker<'_> {
    /// Text that must be known here, as words and not as bytes.
    fn written_text(&mut self, text: &ast::Expression) -> Option<String> {
        let bytes = self.literal_text(text)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// `pton("10.0.0.1")`: the address' bytes in network order.
    pub(super) fn pton(&mut self, address: &ast::Expression, span: Span) -> Expression {
        let Some(text) = self.written_text(address) else { return unknown(span) };
        let parsed = if text.contains(':') {
            text.parse().map(IpAddr::V6 as fn(Ipv6Addr) -> IpAddr)
        } else {
            text.parse().map(IpAddr::V4 as fn(Ipv4Addr) -> IpAddr)
        };
        let bytes = match parsed {
            Ok(IpAddr::V4(address)) => address.octets().to_vec(),
            Ok(IpAddr::V6(address)) => address.octets().to_vec(),
            Err(_) => {
                let message = format!("`{text}` is no IPv4 or IPv6 address");
                self.error("arguments", message, address.span);
                return unknown(span);
            }
        };
        let ty = Type::Array(Box::new(Type::Int { size: 1, signed: false }), u32::try_from(bytes.len()).unwrap_or(0));
        Expression { span, ty, kind: ExpressionKind::Text(bytes) }
    }

    /// `kaddr("init_task")`: where a symbol of the kernel lies.
    pub(super) fn kaddr(&mut self, name: &ast::Expression, span: Span) -> Expression {
        let Some(text) = self.written_text(name) else { return unknown(span) };
        match functions::address(&text) {
            Ok(Some(address @ 1..)) => number(address.cast_signed(), Type::UINT64, span),
            Ok(Some(_)) => {
                let message = format!("the kernel does not tell where `{text}` lies");
                let error = Diagnostic::error("no-address", message, name.span);
                self.report(error.because("`kernel.kptr_restrict` hides addresses"));
                unknown(span)
            }
            Ok(None) => {
                self.error("no-address", format!("this kernel has no symbol `{text}`"), name.span);
                unknown(span)
            }
            Err(error) => {
                self.error("no-address", format!("the kernel's symbols cannot be read: {error}"), name.span);
                unknown(span)
            }
        }
    }

    /// `cgroupid("/sys/fs/cgroup/system.slice")`: the number that `cgroup` has in there.
    pub(super) fn cgroupid(&mut self, path: &ast::Expression, span: Span) -> Expression {
        let Some(text) = self.written_text(path) else { return unknown(span) };
        // Every group of the second version has this file, and none of the first.
        let folder = Path::new(&text);
        let found = if folder.join("cgroup.controllers").exists() { folder.metadata().ok() } else { None };
        let Some(found) = found else {
            let error = Diagnostic::error("no-cgroup", format!("`{text}` is no cgroup"), path.span);
            self.report(error.because("`cgroup` counts those of version 2, below a `cgroup2` mount"));
            return unknown(span);
        };
        // The kernel numbers cgroups by their inodes (`cgroup_id`).
        number(found.ino().cast_signed(), Type::UINT64, span)
    }
}
