//! What has expired is taken out.

use etherparse::PacketBuilder;
use synscope_abi::counter::Counter;
use synscope_abi::event::EventKind;
use synscope_abi::timeout::Timeouts;
use synscope_datapath::events;
use synscope_datapath::kernel::{Kernel, Options};

use crate::wire::{small, wait_for};
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
