//! What has expired is taken out.

use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use etherparse::PacketBuilder;
use synscope_abi::counter::Counter;
use synscope_abi::event::EventKind;
use synscope_abi::flow::{Flow, FlowKey};
use synscope_abi::tcp::State;
use synscope_abi::timeout::Timeouts;
use synscope_datapath::events;
use synscope_datapath::kernel::{Kernel, Options};

use crate::netns::{Line, within};
use crate::wire::{DEADLINE, observe_on_wire, small, wait_for};
use crate::{run, syn};

#[test]
fn the_kernel_sweeps_what_has_expired_and_nothing_else() {
    let timeouts = Timeouts { handshake: 0, other: 1000, ..Timeouts::SECONDS };
    let mut kernel = Kernel::load(&Options { timeouts, ..small(4096) }).unwrap();
    for port in 1..=2000 {
        run(&mut kernel, &syn(port, 7));
    }
    let mut datagram = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv6([1; 16], [2; 16], 64)
        .udp(9, 53)
        .write(&mut datagram, b"query")
        .unwrap();
    run(&mut kernel, &datagram);

    wait_for("all SYNs expire", || {
        kernel.sweep().unwrap();
        (kernel.counter(Counter::Expired).unwrap() == 2000).then_some(())
    });
    assert_eq!(kernel.table_v4().unwrap().keys().count(), 0);
    assert_eq!(kernel.table_v6().unwrap().keys().count(), 1, "a datagram may stay silent for 1000 s");
    let [v4, v6] = kernel.fill().unwrap();
    assert_eq!([(v4.live, v4.max), (v6.live, v6.max)], [(0, 4096), (1, 4096)]);
    let mut expired = 0;
    events::drain(&mut kernel.take_events().unwrap(), |event| {
        expired += u32::from(event.kind == EventKind::Expired as u8);
    });
    assert_eq!(expired, 2000, "each SYN without an answer is an event");
}

/// A packet that interrupts a sweep counts on the same CPU's counters: neither takes the other's increment with it.
#[test]
fn what_sweeps_and_packets_count_at_once_is_counted_twice() {
    const ENTRIES: u16 = 10_000;
    let line = Line::new("at-once");
    line.bridge();
    // Packets come in on the first CPU by an interrupt, whichever CPU has sent them.
    let steer = "echo 1 > /sys/class/net/c/queues/rx-0/rps_cpus";
    let steered = Command::new("ip").args(["netns", "exec", &line.wire, "sh", "-c", steer]).status().unwrap();
    assert!(steered.success());
    let timeouts = Timeouts { handshake: 0, other: 0, ..Timeouts::SECONDS };
    let mut kernel = Kernel::load(&Options { timeouts, ..small(200_000) }).unwrap();
    let mut ring = kernel.take_events().unwrap();
    let _attached = observe_on_wire(&mut kernel, &line);

    let (stop, mut read, mut opened) = (AtomicBool::new(false), 0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            within(&line.client, || {
                let start = Instant::now();
                for port in (1024..=u16::MAX).cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    assert!(start.elapsed() < DEADLINE, "nobody stopped the packets");
                    // Each source port is a flow of its own.
                    let Ok(socket) = UdpSocket::bind(("10.9.0.1", port)) else { continue };
                    let _lost_or_not = socket.send_to(b"x", "10.9.0.2:9");
                }
            });
        });
        on_first_cpu();
        let mut table = kernel.table_v4().unwrap();
        let old = Flow { state: State::SynSent as u8, ..Flow::default() };
        let start = Instant::now();
        while start.elapsed() < DEADLINE / 3 {
            for port in 0..ENTRIES {
                let (key, _) = FlowKey::canonical([10, 1, 0, 1], [10, 1, 0, 2], port.to_be_bytes(), [0, 80], 6);
                table.insert(key, old, 0).unwrap();
            }
            kernel.sweep().unwrap();
            read += events::drain(&mut ring, |event| opened += u32::from(event.kind == EventKind::Opened as u8)).events;
        }
        stop.store(true, Ordering::Relaxed);
    });
    read += events::drain(&mut ring, |_| {}).events;
    assert!(opened > 1000, "there were no packets to interrupt anything: {opened}");
    assert_eq!(kernel.counter(Counter::EventsSubmitted).unwrap(), read);
}

fn on_first_cpu() {
    let mut first = nix::sched::CpuSet::new();
    first.set(0).unwrap();
    nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &first).unwrap();
}
