//! The loaded kernel programs: through `BPF_PROG_TEST_RUN`, and on real traffic between network namespaces.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod netns;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use aya::programs::tc::{self, NlOptions, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType, TestRun, TestRunOptions};
use aya::{Ebpf, maps::Array};
use etherparse::PacketBuilder;
use netns::{Line, ip, within};
use synscope_abi::counter::Counter;
use synscope_abi::event::{Event, EventKind, Verdict};
use synscope_abi::flow::FlowKey;
use synscope_abi::packet::{self, Addresses};
use synscope_abi::settings::EXEMPT_PORTS;
use synscope_abi::tcp::State;
use synscope_abi::timeout::Timeouts;
use synscope_datapath::attach::{self, Hook, Mechanism};
use synscope_datapath::events;
use synscope_datapath::kernel::{Kernel, KernelError, Mode, Options};

static BEHIND: &[u8] = aya::include_bytes_aligned!(env!("DATAPATH_EBPF_BEHIND"));

const DEADLINE: Duration = Duration::from_secs(15);

fn small(entries: u32) -> Options<'static> {
    Options { entries, ..Options::default() }
}

fn run(kernel: &mut Kernel, frame: &[u8]) -> i32 {
    let program: &SchedClassifier = kernel.classifier("ingress").unwrap();
    let mut out = vec![0; frame.len() + 64];
    let options = TestRunOptions { data_in: Some(frame), data_out: Some(&mut out), ..TestRunOptions::new() };
    let answer = program.test_run(options).unwrap();
    assert_eq!(&out[..answer.data_size_out as usize], frame, "the packet must come out as it went in");
    answer.return_value.cast_signed()
}

fn syn(source_port: u16, sequence: u32) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 9, 0, 1], [10, 9, 0, 2], 64)
        .tcp(source_port, 80, sequence, 1024)
        .syn()
        .write(&mut frame, &[])
        .unwrap();
    frame
}

fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(start.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_full_inner_table_refuses_and_a_new_one_in_its_place_accepts() {
    let mut kernel = Kernel::load(&small(64)).unwrap();
    for port in 1..=100 {
        assert_eq!(run(&mut kernel, &syn(port, 7)), -1, "observe mode always answers `next program`");
    }
    let inserted = kernel.counter(Counter::Inserted).unwrap();
    let refused = kernel.counter(Counter::InsertFull).unwrap();
    assert_eq!((inserted, refused), (64, 36));
    assert_eq!(kernel.counter(Counter::PendingStored).unwrap(), 36);
    assert_eq!(kernel.table_v4().unwrap().keys().count(), 64, "what we count is what the kernel holds");

    let resized = kernel.resize_v4(128).unwrap();
    assert_eq!((resized.moved, resized.left), (64, 0));
    for port in 1..=100 {
        run(&mut kernel, &syn(port, 7));
    }
    assert_eq!(kernel.counter(Counter::Inserted).unwrap(), 100, "64 were still known, 36 are new");
    assert_eq!(kernel.counter(Counter::PendingAdopted).unwrap(), 36);
}

#[test]
fn the_kernel_sweeps_what_has_expired_and_nothing_else() {
    let timeouts = Timeouts { handshake: 0, established: 1000, closing: 1000, closed: 1000, other: 1000 };
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

/// A resize under load: packets of known and of new connections keep coming while the tables change places, ten times.
#[test]
fn a_resize_under_load_loses_no_connection() {
    const KNOWN: u16 = 20_000;
    let mut kernel = Kernel::load(&small(50_000)).unwrap();
    for port in 1..=KNOWN {
        run(&mut kernel, &syn(port, 7));
    }
    let id = kernel.classifier("ingress").unwrap().info().unwrap().id();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let packets = std::thread::scope(|scope| {
        let load = scope.spawn(|| {
            let program = SchedClassifier::from_program_info(
                aya::programs::loaded_programs().flatten().find(|info| info.id() == id).unwrap(),
                "ingress".into(),
            )
            .unwrap();
            let mut packets = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for port in (1..=KNOWN).step_by(7) {
                    let frame = syn(port, 7);
                    let options = TestRunOptions { data_in: Some(&frame), ..TestRunOptions::new() };
                    assert_eq!(program.test_run(options).unwrap().return_value.cast_signed(), -1);
                    packets += 1;
                }
            }
            packets
        });
        for round in 0..10 {
            let resized = kernel.resize_v4(50_000 + round * 10_000).unwrap();
            assert_eq!(resized.left, 0);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        load.join().unwrap()
    });
    assert!(packets > 0);
    assert_eq!(kernel.table_v4().unwrap().keys().count(), usize::from(KNOWN));
    assert_eq!(kernel.counter(Counter::Inserted).unwrap(), u64::from(KNOWN), "none was made anew");
    assert_eq!(kernel.counter(Counter::MoveFailed).unwrap(), 0);
}

#[test]
fn a_resize_below_what_is_there_is_refused_and_changes_nothing() {
    let mut kernel = Kernel::load(&small(64)).unwrap();
    for port in 1..=20 {
        run(&mut kernel, &syn(port, 7));
    }
    assert!(matches!(kernel.resize_v4(19), Err(KernelError::TooSmall { live: 20, .. })));
    assert!(matches!(kernel.resize_v4(0), Err(KernelError::TooSmall { .. })));
    assert!(matches!(kernel.resize_v4(u32::MAX), Err(KernelError::Capacity { .. })));
    assert_eq!(kernel.table_v4().unwrap().keys().count(), 20);
}

#[test]
fn enforce_drops_on_a_full_table_but_not_for_exempt_ports() {
    let mut exempt_ports = [0; EXEMPT_PORTS];
    let mut options = Options { mode: Mode::EnforceDrop { exempt_ports }, ..small(1) };
    let mut kernel = Kernel::load(&options).unwrap();
    assert_eq!(run(&mut kernel, &syn(1, 7)), -1);
    assert_eq!(run(&mut kernel, &syn(2, 7)), 2, "TC_ACT_SHOT");
    assert_eq!(run(&mut kernel, &syn(1, 7)), -1, "who has an entry is never dropped");

    exempt_ports[0] = 80;
    options.mode = Mode::EnforceDrop { exempt_ports };
    kernel.configure(&options).unwrap();
    assert_eq!(run(&mut kernel, &syn(3, 7)), -1);
    assert_eq!(kernel.counter(Counter::DroppedFull).unwrap(), 1);
}

/// Frames of all kinds, then the same with one byte changed or cut short: what the kernel counted and stored must be
/// what the host's parser says.
#[test]
fn the_loaded_parser_agrees_with_the_host() {
    let mut kernel = Kernel::load(&small(65_536)).unwrap();
    let mut seeds = vec![syn(4000, 1)];
    let mut tagged = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .single_vlan(7.try_into().unwrap())
        .ipv6([3; 16], [4; 16], 9)
        .tcp(5, 6, 7, 8)
        .ack(1)
        .write(&mut tagged, b"x")
        .unwrap();
    seeds.push(tagged);
    let mut echo = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 1], [10, 0, 0, 9], 64)
        .icmpv4_echo_request(77, 1)
        .write(&mut echo, b"ping")
        .unwrap();
    seeds.push(echo);

    let mut frames = 0;
    for seed in &seeds {
        // The kernel's test run refuses frames without a whole Ethernet header, and drops tagged ones it can't strip.
        for at in 14..seed.len() {
            for value in [0, 1, 6, 0x44, 0x4f, 0x60, 0x81, 0xff] {
                let mut frame = seed.clone();
                frame[at] = value;
                check(&mut kernel, &frame);
                frames += 1;
            }
            check(&mut kernel, &seed[..at.max(34)]);
        }
    }
    assert!(frames > 1000);
}

fn check(kernel: &mut Kernel, frame: &[u8]) {
    let expected = packet::ethernet(frame).and_then(|(kind, at)| packet::network(frame, kind, at));
    let before: Vec<u64> = Counter::ALL.iter().map(|counter| kernel.counter(*counter).unwrap()).collect();
    assert_eq!(run(kernel, frame), -1);
    match expected {
        Err(reason) => {
            let after = kernel.counter(reason).unwrap();
            assert_eq!(after, before[reason as usize] + 1, "{} for {frame:02x?}", reason.name());
        }
        Ok(parsed) => {
            let (from, to) = (parsed.source_port, parsed.destination_port);
            let found = match parsed.addresses {
                Addresses::V4(a, b) => {
                    kernel.table_v4().unwrap().get(&FlowKey::canonical(a, b, from, to, parsed.protocol).0, 0).is_ok()
                }
                Addresses::V6(a, b) => {
                    kernel.table_v6().unwrap().get(&FlowKey::canonical(a, b, from, to, parsed.protocol).0, 0).is_ok()
                }
            };
            assert!(found, "no entry for {parsed:?} of {frame:02x?}");
        }
    }
}

fn listen(line: &Line, port: u16) -> TcpListener {
    within(&line.server, || TcpListener::bind(("10.9.0.2", port)).unwrap())
}

fn connect(line: &Line, port: u16, limit: Duration) -> std::io::Result<TcpStream> {
    within(&line.client, || TcpStream::connect_timeout(&SocketAddr::from(([10, 9, 0, 2], port)), limit))
}

fn observe_on_wire(kernel: &mut Kernel, line: &Line) -> Vec<attach::Attached> {
    within(&line.wire, || {
        [Hook::Ingress, Hook::Egress].map(|hook| attach::first(kernel, "c", hook, None).unwrap()).into()
    })
}

fn drain(ring: &mut aya::maps::RingBuf<aya::maps::MapData>, into: &mut Vec<Event>) {
    assert_eq!(events::drain(ring, |event| into.push(*event)).foreign, 0);
}

#[test]
fn a_handshake_between_namespaces_is_measured() {
    let line = Line::new("shake");
    line.bridge();
    let mut kernel = Kernel::load(&small(1024)).unwrap();
    let mut ring = kernel.take_events().unwrap();
    let _attached = observe_on_wire(&mut kernel, &line);
    let listener = listen(&line, 8080);
    let mut client = connect(&line, 8080, DEADLINE).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"order").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    drop((client, server));

    let mut seen = Vec::new();
    let closed = wait_for("the connection closes", || {
        drain(&mut ring, &mut seen);
        seen.iter().find(|event| event.kind == EventKind::Closed as u8 && event.server_port == [0x1f, 0x90]).copied()
    });
    assert_eq!((&closed.client[..4], &closed.server[..4]), (&[10, 9, 0, 1][..], &[10, 9, 0, 2][..]));
    assert!(closed.syn_ns < closed.syn_ack_ns && closed.syn_ack_ns < closed.established_ns, "{closed:?}");
    assert!(closed.established_ns - closed.syn_ns < 500_000_000, "no delay was made: {closed:?}");
    assert_eq!((closed.syn_retries, closed.refused_syns), (0, 0));
    assert!(closed.packets[0] >= 4 && closed.packets[1] >= 3, "{closed:?}");
}

/// The main job in small: a refused SYN has no entry, and yet the connection's true latency and retries are known.
#[test]
fn a_connection_whose_first_syn_was_refused_shows_its_true_latency() {
    let line = Line::new("full");
    line.bridge();
    let mode = Mode::EnforceDrop { exempt_ports: [0; EXEMPT_PORTS] };
    let mut kernel = Kernel::load(&Options { mode, ..small(1) }).unwrap();
    run(&mut kernel, &syn(1, 7));
    let mut ring = kernel.take_events().unwrap();
    let _attached = observe_on_wire(&mut kernel, &line);
    let _listener = listen(&line, 8080);

    let mut seen = Vec::new();
    let client = std::thread::scope(|scope| {
        let connecting = scope.spawn(|| connect(&line, 8080, DEADLINE));
        wait_for("the first SYN is refused", || (kernel.counter(Counter::DroppedFull).unwrap() > 0).then_some(()));
        kernel.resize_v4(64).unwrap();
        connecting.join().unwrap()
    });
    client.unwrap();
    let established = wait_for("the connection is established", || {
        drain(&mut ring, &mut seen);
        seen.iter().find(|event| event.kind == EventKind::Established as u8).copied()
    });
    let dropped = seen.iter().find(|event| event.kind == EventKind::Dropped as u8 && event.server_port == [0x1f, 0x90]);
    let dropped = dropped.expect("the refusal is an event");
    assert_eq!(dropped.verdict, Verdict::Dropped as u8);
    assert_eq!((established.refused_syns, established.syn_retries), (1, 1));
    assert_eq!(established.syn_ns, dropped.syn_ns, "measured from the SYN that was refused");
    let latency_ns = established.established_ns - established.syn_ns;
    assert!((950_000_000..1_500_000_000).contains(&latency_ns), "one SYN time-out of 1 s (RFC 6298): {latency_ns}");
}

/// Puts a program on an interface's ingress: by tcx in this order, and where there is none by a filter of this priority.
fn put(program: &mut SchedClassifier, line: &Line, interface: &str, order: LinkOrder, priority: u16) {
    if program.fd().is_err() {
        program.load().unwrap();
    }
    within(&line.wire, || {
        if program.attach_with_options(interface, TcAttachType::Ingress, TcAttachOptions::TcxOrder(order)).is_err() {
            // It may have a clsact already.
            drop(tc::qdisc_add_clsact(interface));
            let filter = TcAttachOptions::Netlink(NlOptions { priority, ..NlOptions::default() });
            program.attach_with_options(interface, TcAttachType::Ingress, filter).unwrap();
        }
    });
}

/// Ids of the programs on an interface's ingress, in their order.
fn programs_on(line: &Line, interface: &str) -> Vec<u32> {
    match within(&line.wire, || SchedClassifier::query_tcx(interface, TcAttachType::Ingress)) {
        Ok((_, programs)) => programs.iter().map(aya::programs::ProgramInfo::id).collect(),
        // No tcx: filters, which `tc` lists.
        Err(_) => {
            let arguments = ["-n", &line.wire, "filter", "show", "dev", interface, "ingress"];
            let output = Command::new("tc").args(arguments).output().expect("`tc` of iproute2");
            let text = String::from_utf8(output.stdout).unwrap();
            let words: Vec<&str> = text.split_whitespace().collect();
            words.windows(2).filter(|pair| pair[0] == "id").map(|pair| pair[1].parse().unwrap()).collect()
        }
    }
}

#[test]
fn programs_behind_ours_redirect_and_drop_as_if_we_were_not_there() {
    let line = Line::new("behind");
    let mut behind = Ebpf::load(BEHIND).unwrap();
    let index = |name: &str| within(&line.wire, || nix::net::if_::if_nametoindex(name).unwrap());
    let (c, s) = (index("c"), index("s"));
    {
        let mut wire: Array<_, u32> = behind.map_mut("WIRE").unwrap().try_into().unwrap();
        wire.set(c, s, 0).unwrap();
        wire.set(s, c, 0).unwrap();
    }
    let redirect: &mut SchedClassifier = behind.program_mut("redirect").unwrap().try_into().unwrap();
    put(redirect, &line, "c", LinkOrder::default(), 3);
    put(redirect, &line, "s", LinkOrder::default(), 3);
    let mut kernel = Kernel::load(&small(1024)).unwrap();
    let _attached = observe_on_wire(&mut kernel, &line);

    let listener = listen(&line, 8080);
    let mut client = connect(&line, 8080, DEADLINE).expect("the redirecting program is the only way through");
    let (mut server, _) = listener.accept().unwrap();
    client.write_all(b"through").unwrap();
    server.read_exact(&mut [0; 7]).unwrap();
    let established = |kernel: &Kernel| {
        let table = kernel.table_v4().unwrap();
        table
            .iter()
            .filter(|entry| entry.as_ref().is_ok_and(|(_, flow)| flow.state == State::Established as u8))
            .count()
    };
    assert_eq!(established(&kernel), 1, "and we saw the connection");

    // Before the redirect, behind ours: `first` would put it before us, which is what a test of ours must not do.
    let program: &mut SchedClassifier = behind.program_mut("drop_all").unwrap().try_into().unwrap();
    let order = LinkOrder::after_program(&*kernel.classifier("ingress").unwrap()).unwrap();
    put(program, &line, "c", order, 2);
    let before = kernel.counter(Counter::Inserted).unwrap();
    assert!(connect(&line, 8080, Duration::from_millis(300)).is_err(), "the dropping program decides");
    assert!(kernel.counter(Counter::Inserted).unwrap() > before, "and we still see what it drops");
}

#[test]
fn ours_is_first_in_order_whoever_came_before() {
    let line = Line::new("order");
    let mut behind = Ebpf::load(BEHIND).unwrap();
    let program: &mut SchedClassifier = behind.program_mut("redirect").unwrap().try_into().unwrap();
    put(program, &line, "c", LinkOrder::default(), 1);
    let mut kernel = Kernel::load(&small(16)).unwrap();
    let attached = observe_on_wire(&mut kernel, &line);
    let ours = kernel.classifier("ingress").unwrap().info().unwrap().id();
    let ids = programs_on(&line, "c");
    assert_eq!((ids.len(), ids[0]), (2, ours), "{ids:?}");
    drop(attached);
    assert_eq!(programs_on(&line, "c"), ids[1..], "what ends with this process is gone, the other stays");
}

#[test]
fn what_is_lost_on_an_old_kernel_is_said() {
    let line = Line::new("lost");
    let mut kernel = Kernel::load(&small(16)).unwrap();
    let attached = observe_on_wire(&mut kernel, &line);
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let version: Vec<u32> = release.split(['.', '-']).take(2).map(|number| number.parse().unwrap()).collect();
    let walks = version >= vec![5, 13];
    assert_eq!(kernel.degradations().is_empty(), walks, "{release}: {:?}", kernel.degradations());
    for attached in &attached {
        match attached.mechanism() {
            Mechanism::TcxFirst => assert!(version >= vec![6, 6], "{release}"),
            Mechanism::Clsact { why } => assert!(version < vec![6, 6] && why.contains("6.6"), "{release}: {why}"),
        }
    }
}

/// A folder on bpffs that is emptied and removed, also when the test fails.
struct Pins(PathBuf);

impl Pins {
    fn new(name: &str) -> Self {
        Self(PathBuf::from(format!("/sys/fs/bpf/synscope-test-{name}-{}", std::process::id())))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

#[test]
fn a_new_process_adopts_pinned_maps_and_links_of_a_killed_one() {
    let line = Line::new("adopt");
    line.bridge();
    let pins = Pins::new("adopt");
    let hold = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("examples/hold");
    let mut holder = Command::new(&hold)
        .args([&line.wire, "c"])
        .arg(&pins.0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", hold.display()));
    let mut ready = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    assert_eq!(ready, "ready\n", "the holder did not start");

    let listener = listen(&line, 8080);
    let mut client = connect(&line, 8080, DEADLINE).unwrap();
    let (mut server, _) = listener.accept().unwrap();
    holder.kill().unwrap();
    holder.wait().unwrap();
    // Nobody runs, and yet packets pass and are booked.
    client.write_all(b"alone").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();

    let mut kernel = Kernel::load(&Options { pins: Some(&pins.0), ..small(16) }).unwrap();
    let packets = |kernel: &Kernel| {
        let table = kernel.table_v4().unwrap();
        let flows: Vec<_> = table.iter().map(|entry| entry.unwrap().1).collect();
        flows.iter().find(|flow| flow.state == State::Established as u8).map(|flow| flow.packets[0])
    };
    let before = packets(&kernel).expect("the connection of the killed process is in the adopted table");
    let old = programs_on(&line, "c");
    let links = within(&line.wire, || {
        [Hook::Ingress, Hook::Egress].map(|hook| attach::first(&mut kernel, "c", hook, Some(&pins.0)).unwrap())
    });
    let new = programs_on(&line, "c");
    assert_eq!((old.len(), new.len()), (1, 1), "replaced in place, not attached beside");
    assert_ne!(old, new);

    client.write_all(b"again").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    wait_for("the same entry goes on counting", || (packets(&kernel)? > before).then_some(()));

    let filters = within(&line.wire, || attach::remove_filters().unwrap());
    assert_eq!(filters, links.iter().filter(|link| matches!(link, attach::Attached::Filter(_))).count());
    drop(links);
    std::fs::remove_dir_all(&pins.0).unwrap();
    wait_for("nothing is left", || programs_on(&line, "c").is_empty().then_some(()));
    std::fs::create_dir(&pins.0).unwrap();
}

#[test]
fn pins_of_another_abi_version_are_refused_by_name() {
    let pins = Pins::new("abi");
    let kernel = Kernel::load(&Options { pins: Some(&pins.0), ..small(16) }).unwrap();
    drop(kernel);
    let map = aya::maps::Map::Array(aya::maps::MapData::from_pin(pins.0.join("SETTINGS")).unwrap());
    let mut settings = Array::<_, synscope_abi::settings::Settings>::try_from(map).unwrap();
    let mut foreign = settings.get(&0, 0).unwrap();
    foreign.abi_version = 999;
    settings.set(0, foreign, 0).unwrap();
    let refused = Kernel::load(&Options { pins: Some(&pins.0), ..small(16) });
    let error = match refused {
        Err(KernelError::Pin(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(error.contains("999") && error.contains("remove that folder"), "{error}");
}

#[test]
fn the_wire_of_these_tests_joins_nothing_by_itself() {
    let line = Line::new("plain");
    let _listener = listen(&line, 8080);
    ip(&format!("-n {} link show c", line.wire));
    assert!(connect(&line, 8080, Duration::from_millis(200)).is_err(), "else the redirect test would prove nothing");
}
