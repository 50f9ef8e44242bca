//! What the node's kernel has: functions and types, in bounded answers.

use std::collections::BTreeSet;

use synscope_btf::{Kernel, Named, Pattern};
use synscope_bus::command::tracer::{DescribeType, Function, Functions, ListFunctions, TypeText};
use synscope_bus::reasons::reasons;

/// Functions that one answer holds at most.
const FUNCTIONS_MAX: u16 = 1000;
/// Bytes of a type's text that one answer holds at most.
const TEXT_MAX: usize = 64 << 10;

/// Functions whose names are like a pattern, as the kernel's types tell them.
pub(super) fn functions(asked: &ListFunctions) -> Result<Functions, String> {
    let kernel = Kernel::running().map_err(|error| reasons(&error))?;
    let pattern = Pattern::new(&asked.pattern);
    let found: BTreeSet<Function> = kernel
        .functions(&pattern)
        .map(|(btf, function)| Function {
            name: function.name.to_owned(),
            module: btf.module_name().map(str::to_owned),
            declaration: btf.declaration(function.id).ok(),
        })
        .collect();
    let limit = usize::from(asked.limit.clamp(1, FUNCTIONS_MAX));
    let left_out = found.len().saturating_sub(limit) as u64;
    Ok(Functions { functions: found.into_iter().take(limit).collect(), left_out })
}

/// A type as C, by its name, with or without the keyword before it.
pub(super) fn type_text(asked: &DescribeType) -> Result<TypeText, String> {
    let kernel = Kernel::running().map_err(|error| reasons(&error))?;
    let name = asked.name.trim();
    let kinds: &[(&str, Named)] = match name.split_once(' ') {
        Some(("struct", _)) => &[("struct ", Named::Struct)],
        Some(("union", _)) => &[("union ", Named::Union)],
        Some(("enum", _)) => &[("enum ", Named::Enum)],
        _ => &[("struct ", Named::Struct), ("union ", Named::Union), ("enum ", Named::Enum), ("", Named::Typedef)],
    };
    let mut last = None;
    for (keyword, named) in kinds {
        let bare = name.strip_prefix(keyword).unwrap_or(name).trim();
        match kernel.find(*named, bare) {
            Ok(found) => {
                let mut text = found.btf.declaration(found.id).map_err(|error| reasons(&error))?;
                let cut = text.len() > TEXT_MAX;
                text.truncate(text.floor_char_boundary(TEXT_MAX));
                let size_bytes = found.btf.size_of(found.id).ok();
                return Ok(TypeText { name: format!("{keyword}{bare}"), size_bytes, text, cut });
            }
            Err(error) => last = last.or(Some(error)),
        }
    }
    Err(last.map_or_else(|| format!("there is no type {name:?}"), |error| reasons(&error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_listed_with_their_parameters_and_bounded() {
        let asked = |pattern: &str, limit| ListFunctions { pattern: pattern.to_owned(), limit };
        let found = functions(&asked("tcp_v4_conn*", 10)).unwrap();
        let connect = found.functions.iter().find(|function| function.name == "tcp_v4_connect").unwrap();
        assert!(connect.declaration.as_ref().unwrap().contains("struct sock *sk"), "{connect:?}");
        let bounded = functions(&asked("tcp_*", 3)).unwrap();
        assert_eq!(bounded.functions.len(), 3);
        assert!(bounded.left_out > 100, "{bounded:?}");
        assert_eq!(functions(&asked("no_such_function", 3)).unwrap(), Functions::default());
    }

    #[test]
    fn types_are_told_as_c() {
        let told = |name: &str| type_text(&DescribeType { name: name.to_owned() });
        let sock = told("sock_common").unwrap();
        assert_eq!(sock.name, "struct sock_common");
        assert!(sock.text.contains("skc_daddr") && sock.size_bytes.unwrap() > 64 && !sock.cut, "{sock:?}");
        assert_eq!(told("struct sock_common").unwrap(), sock);
        assert!(told("enum skb_drop_reason").unwrap().text.contains("SKB_DROP_REASON_NO_SOCKET = "));
        assert!(told("union sock_common").is_err() && told("no_such_type").is_err());
    }
}
