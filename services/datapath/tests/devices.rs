//! Interfaces that are not plain Ethernet, with real TCP through them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod netns;
mod pins;
mod tun;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use aya::util::KernelVersion;
use netns::{Line, ip, within};
use pins::Pins;
use synscope_abi::flow::Flow;
use synscope_abi::packet::PROTOCOL_TCP;
use synscope_abi::tcp::State;
use synscope_datapath::attach::{self, AttachError, Attached, Framing, Hook, Unsupported};
use synscope_datapath::kernel::{Kernel, Options};
use synscope_datapath::netlink::links;

/// What these tests build on the line's interfaces is in this subnet.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 1);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 8, 0, 2);

fn kernel() -> Kernel {
    Kernel::load(&Options { entries: 64, ..Options::default() }).unwrap()
}

fn observe(kernel: &mut Kernel, netns: &str, interface: &str) -> Vec<Attached> {
    within(netns, || {
        let interface = links::named(interface).unwrap();
        Hook::ALL.map(|hook| attach::first(kernel, &interface, hook, None).unwrap()).into()
    })
}

/// One connection from client to server, with a few bytes both ways; it stays while its ends are kept.
fn talk(line: &Line) -> (TcpStream, TcpStream) {
    let listener = within(&line.server, || TcpListener::bind((SERVER, 80)).unwrap());
    let mut client = within(&line.client, || TcpStream::connect((SERVER, 80)).unwrap());
    let mut server = listener.accept().unwrap().0;
    client.write_all(b"there").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    server.write_all(b"back").unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    (client, server)
}

/// The connection from client to server, as the table has it.
fn tracked(kernel: &Kernel) -> Flow {
    let table = kernel.table_v4().unwrap();
    let entries: Vec<_> = table.iter().map(Result::unwrap).collect();
    let ours = entries.iter().find(|(key, _)| {
        if key.protocol != PROTOCOL_TCP {
            return false;
        }
        let ends = [key.address_a, key.address_b].map(Ipv4Addr::from);
        ends.contains(&CLIENT) && ends.contains(&SERVER)
    });
    let found = ours.unwrap_or_else(|| panic!("not tracked: {entries:?}")).1;
    assert_eq!(found.state, State::Established as u8, "{found:?}");
    assert!(found.packets.iter().all(|packets| *packets >= 2), "both directions: {found:?}");
    assert!(found.syn_ns > 0 && found.syn_ack_ns > found.syn_ns, "the handshake was measured: {found:?}");
    found
}

#[test]
fn a_tun_without_ethernet_header_is_tracked() {
    let line = Line::new("tun");
    let _tunnel = tun::join([(&line.client, CLIENT), (&line.server, SERVER)]);
    let mut kernel = kernel();
    let _attached = observe(&mut kernel, &line.client, tun::NAME);
    let _open = talk(&line);
    tracked(&kernel);
}

#[test]
#[ignore = "needs ipip devices: Debian's kernels have them, see `cargo xtask vm`"]
fn an_ipip_tunnel_is_tracked_inside_and_outside() {
    let line = Line::new("ipip");
    line.bridge();
    for (netns, local, remote, inner) in
        [(&line.client, "10.9.0.1", "10.9.0.2", CLIENT), (&line.server, "10.9.0.2", "10.9.0.1", SERVER)]
    {
        let device = format!("link add tunnel type ipip local {local} remote {remote}");
        ip(netns, &format!("{device}\n addr add {inner}/24 dev tunnel\n link set tunnel up"));
    }
    let mut kernel = kernel();
    if KernelVersion::current().unwrap() < KernelVersion::new(5, 14, 0) {
        let refused = within(&line.client, || {
            attach::first(&mut kernel, &links::named("tunnel").unwrap(), Hook::Ingress, None).unwrap_err()
        });
        assert!(matches!(refused, AttachError::Unsupported(Unsupported::OuterHeaders)), "{refused}");
        return;
    }
    let _attached = observe(&mut kernel, &line.client, "tunnel");
    let _outside = observe(&mut kernel, &line.client, "eth0");
    let _open = talk(&line);
    tracked(&kernel);
    let table = kernel.table_v4().unwrap();
    // IPPROTO_IPIP.
    assert!(table.iter().any(|entry| entry.unwrap().0.protocol == 4), "the tunnel itself is a flow of eth0");
}

#[test]
#[ignore = "needs VLAN devices: Debian's kernels have them, see `cargo xtask vm`"]
fn a_vlan_is_tracked_with_its_tag_beside_the_packet_and_on_its_own_interface() {
    let line = Line::new("vlan");
    line.bridge();
    for (netns, address) in [(&line.client, CLIENT), (&line.server, SERVER)] {
        let device = "link add link eth0 name eth0.7 type vlan id 7";
        ip(netns, &format!("{device}\n addr add {address}/24 dev eth0.7\n link set eth0.7 up"));
    }
    let mut kernel = kernel();
    // veth hands tags over beside the packet, in both directions.
    let on_wire = observe(&mut kernel, &line.wire, "c");
    let open = talk(&line);
    tracked(&kernel);
    drop((on_wire, open));
    for key in kernel.table_v4().unwrap().keys().collect::<Result<Vec<_>, _>>().unwrap() {
        kernel.table_v4().unwrap().remove(&key).unwrap();
    }

    // bpffs allows no dots in names.
    let pins = Pins::new("vlan");
    let attached = within(&line.client, || {
        let vlan = links::named("eth0.7").unwrap();
        Hook::ALL.map(|hook| attach::first(&mut kernel, &vlan, hook, Some(&pins.0)).map(|done| done.mechanism()))
    });
    let links = std::fs::read_dir(&pins.0).unwrap().map(|pin| pin.unwrap().file_name().into_string().unwrap());
    let pinned = links.filter(|name| name.starts_with("link-")).count();
    let open = talk(&line);
    drop(pins);
    tracked(&kernel);
    drop(open);
    let tcx = attached.map(|done| usize::from(done.unwrap() == attach::Mechanism::Tcx));
    assert_eq!(pinned, tcx.into_iter().sum::<usize>());
}

#[test]
#[ignore = "needs netkit devices: kernel 6.7 and newer, see `cargo xtask vm`"]
fn a_netkit_device_is_refused_by_name() {
    let line = Line::new("netkit");
    let mut make = std::process::Command::new("ip");
    make.args(["-n", &line.client, "link", "add", "pod", "type", "netkit"]);
    if !make.output().unwrap().status.success() {
        assert!(KernelVersion::current().unwrap() < KernelVersion::new(6, 7, 0), "this kernel has netkit devices");
        return;
    }
    let pod = within(&line.client, || links::named("pod").unwrap());
    assert_eq!(Framing::of(&pod, KernelVersion::current().unwrap()), Err(Unsupported::Netkit), "{pod:?}");
}
