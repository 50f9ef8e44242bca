//! What tests of the loaded programs have in common.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use synscope_datapath::attach::{self, Hook};
use synscope_datapath::kernel::{Kernel, Options};
use synscope_datapath::netlink::links;

use crate::netns::{Line, within};

/// Until what must happen has not.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// Tables of this many entries.
pub(crate) fn small(entries: u32) -> Options<'static> {
    Options { entries, ..Options::default() }
}

pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn listen(line: &Line, port: u16) -> TcpListener {
    listen_on(line, ([10, 9, 0, 2], port))
}

pub(crate) fn listen_on(line: &Line, server: impl Into<SocketAddr>) -> TcpListener {
    let server = server.into();
    within(&line.server, || TcpListener::bind(server).unwrap())
}

pub(crate) fn connect(line: &Line, port: u16, limit: Duration) -> std::io::Result<TcpStream> {
    connect_to(line, ([10, 9, 0, 2], port), limit)
}

pub(crate) fn connect_to(line: &Line, server: impl Into<SocketAddr>, limit: Duration) -> std::io::Result<TcpStream> {
    let server = server.into();
    within(&line.client, || TcpStream::connect_timeout(&server, limit))
}

pub(crate) fn observe_on_wire(kernel: &mut Kernel, line: &Line) -> Vec<attach::Attached> {
    observe_interface(kernel, line, "c")
}

pub(crate) fn observe_interface(kernel: &mut Kernel, line: &Line, interface: &str) -> Vec<attach::Attached> {
    within(&line.wire, || {
        let interface = links::named(interface).unwrap();
        Hook::ALL.map(|hook| attach::first(kernel, &interface, hook, None).unwrap()).into()
    })
}
