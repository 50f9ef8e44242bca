//! The running kernel's types, against what C says of them elsewhere.

use synscope_btf::{Btf, Kernel, Named, Pattern, Type};

#[test]
fn members_lie_where_c_puts_them() {
    let btf = Btf::vmlinux().unwrap();
    // Layouts that programs outside the kernel rely on, or that follow from C's rules.
    for (structure, path, offset) in [
        ("list_head", "prev", 8),
        ("iphdr", "saddr", 12),
        ("iphdr", "daddr", 16),
        ("tcphdr", "seq", 4),
        ("tcphdr", "window", 14),
        ("ipv6hdr", "daddr", 24),
        ("sockaddr_in", "sin_addr.s_addr", 4),
        ("sockaddr_in6", "sin6_addr", 8),
        ("ethhdr", "h_proto", 12),
        ("sock", "__sk_common.skc_daddr", 0),
        ("sock", "__sk_common.skc_rcv_saddr", 4),
        ("inet_sock", "sk.__sk_common.skc_dport", 12),
        ("tcp_sock", "inet_conn.icsk_inet.sk.__sk_common.skc_family", 16),
    ] {
        assert_eq!(btf.offset_of(structure, path).unwrap(), offset, "{structure}.{path}");
    }
    let header = btf.find_struct("tcphdr").unwrap();
    let syn = btf.field(header, "syn").unwrap();
    assert_eq!((syn.bit_offset, syn.bit_size), (13 * 8 + 1, Some(1)), "RFC 9293, 3.1");
    assert_eq!(btf.size_of(header).unwrap(), 20);
    let version = btf.field(btf.find_struct("iphdr").unwrap(), "version").unwrap();
    assert_eq!((version.byte_offset(), version.bits_before(), version.bit_size), (0, 4, Some(4)));
    let port = btf.field(header, "dest").unwrap();
    assert!(matches!(btf.type_of(port.id), Ok(Type::Typedef(found)) if found.name == "__be16"));
}

#[test]
fn functions_constants_and_tracepoints_are_those_of_the_kernels_headers() {
    let kernel = Kernel::running().unwrap();
    let btf = kernel.vmlinux();
    let close = kernel.find(Named::Function, "tcp_close").unwrap();
    assert_eq!(close.btf.declaration(close.id).unwrap(), "void tcp_close(struct sock *sk, long int timeout)");
    assert_eq!(kernel.constant("TCP_ESTABLISHED").unwrap().0, 1);
    assert_eq!(kernel.constant("BPF_MAP_TYPE_HASH").unwrap().0, 1);
    assert!(btf.find_function("tcp_cloze").unwrap_err().to_string().contains("`tcp_close`"));
    let names = Pattern::new("tcp_*");
    let found: Vec<_> = btf.functions(&names).map(|function| function.name).collect();
    assert!(found.contains(&"tcp_close") && found.iter().all(|name| name.starts_with("tcp_")), "{found:?}");
    let skb = btf.raw_tracepoint("kfree_skb").unwrap().parameters.nth(1).unwrap();
    assert_eq!(btf.type_name(skb.id).unwrap(), "struct sk_buff *");
    assert!(btf.raw_tracepoints(&Pattern::new("sched_*")).any(|name| name == "sched_switch"));
    assert!(btf.raw_tracepoint("no_such").is_none());
}

#[test]
fn all_of_it_is_told() {
    let btf = Btf::vmlinux().unwrap();
    for id in btf.ids() {
        let found = btf.type_of(id).unwrap();
        let text = btf.declaration(id).unwrap();
        assert!(!text.is_empty(), "{found:?}");
        if let Type::Struct(found) | Type::Union(found) = found {
            for member in found.members.filter(|member| member.bit_size.is_none()) {
                let end = member.bit_offset / 8 + btf.size_of(member.id).unwrap();
                assert!(end <= found.size, "{text}");
            }
        }
    }
    for named in [Named::Struct, Named::Union, Named::Enum, Named::Typedef, Named::Number, Named::Function] {
        for (name, id) in btf.named(named) {
            assert!(btf.all(named, name).any(|found| found == id), "{named} {name}");
        }
    }
}
