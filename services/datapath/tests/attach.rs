//! How programs come onto interfaces, in which order, and what outlives a process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod netns;
mod pins;
mod wire;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use aya::Ebpf;
use aya::maps::{Array, HashMap, PerCpuArray};
use aya::programs::tc::{self, NlOptions, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use netns::{Line, within};
use nix::libc;
use pins::Pins;
use synscope_abi::counter::Counter;
use synscope_abi::tcp::State;
use synscope_bus::command::datapath::HookStatus;
use synscope_datapath::attach::{self, Hook, Mechanism, Removed};
use synscope_datapath::interfaces::{Interfaces, Xdp};
use synscope_datapath::kernel::{Kernel, KernelError, Options};
use synscope_datapath::netlink::links;
use synscope_datapath::pins::PinError;
use wire::{DEADLINE, connect, listen, observe_on_wire, small, wait_for};

static BEHIND: &[u8] = aya::include_bytes_aligned!(env!("DATAPATH_EBPF_BEHIND"));

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
    if let Ok((_, programs)) = within(&line.wire, || SchedClassifier::query_tcx(interface, TcAttachType::Ingress)) {
        return programs.iter().map(aya::programs::ProgramInfo::id).collect();
    }
    // No tcx: filters, which `tc` lists.
    let arguments = ["-n", &line.wire, "filter", "show", "dev", interface, "ingress"];
    let output = Command::new("tc").args(arguments).output().expect("`tc` of iproute2");
    let text = String::from_utf8(output.stdout).unwrap();
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).filter(|pair| pair[0] == "id").map(|pair| pair[1].parse().unwrap()).collect()
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

/// What the status says of the ingress of the wire's interface `c`, once it says so.
fn status(line: &Line, interfaces: &mut Interfaces, kernel: &mut Kernel) -> HookStatus {
    within(&line.wire, || interfaces.scan(kernel).unwrap());
    let hooks = interfaces.status();
    hooks.into_iter().find(|hook| (hook.interface.as_str(), hook.hook.as_str()) == ("c", "ingress")).unwrap()
}

#[test]
fn the_order_is_told_as_it_is_with_others_behind_and_before() {
    let line = Line::new("told");
    let pins = Pins::new("told");
    let mut behind = Ebpf::load(BEHIND).unwrap();
    let mut kernel = Kernel::load(&Options { pins: Some(&pins.0), ..small(16) }).unwrap();
    let mut interfaces = Interfaces::new(vec![glob::Pattern::new("c").unwrap()], pins.0.clone(), Xdp::Off);
    let alone = status(&line, &mut interfaces, &mut kernel);
    assert_eq!((alone.position, alone.programs, alone.before.len()), (Some(1), Some(1), 0), "{alone:?}");

    let program: &mut SchedClassifier = behind.program_mut("redirect").unwrap().try_into().unwrap();
    put(program, &line, "c", LinkOrder::last(), 3);
    let first = status(&line, &mut interfaces, &mut kernel);
    assert_eq!((first.position, first.programs, first.before.len()), (Some(1), Some(2), 0), "{first:?}");
    assert_eq!(first.why.is_some(), first.mechanism != "tcx", "{first:?}");

    let program: &mut SchedClassifier = behind.program_mut("drop_all").unwrap().try_into().unwrap();
    put(program, &line, "c", LinkOrder::first(), 1);
    let second = status(&line, &mut interfaces, &mut kernel);
    assert_eq!((second.position, second.programs), (Some(2), Some(3)), "{second:?}");
    let ([before], Some(why)) = (second.before.as_slice(), &second.why) else { panic!("{second:?}") };
    assert!(before.contains("drop_all") && why.contains("drop_all"), "{second:?}");
    if second.mechanism == "tcx" {
        assert!(why.contains("is not observed"), "{why}");
    } else {
        assert_eq!(second.mechanism, "clsact, priority 1, handle 0x7379");
        assert!(before.contains("priority 1, handle 0x1") && why.contains("bpf-filter-priority=2"), "{second:?}");
    }

    within(&line.wire, || drop(behind));
    let again = status(&line, &mut interfaces, &mut kernel);
    assert_eq!((again.position, again.programs), (Some(1), Some(1)), "what came before is gone: {again:?}");
    within(&line.wire, || attach::remove(&pins.0).unwrap());
}

/// As `bpftool link detach` does: the pin stays, and holds a link to nothing.
fn detach(pin: &std::path::Path) {
    const OBJ_GET: i32 = 7;
    const LINK_DETACH: i32 = 34;
    let bpf = |command: i32, attributes: &mut [u64; 2]| {
        // SAFETY: the attributes live through the call, and a path they name does, too.
        let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of::<[u64; 2]>()) };
        assert!(answer >= 0, "{}", std::io::Error::last_os_error());
        u64::try_from(answer).unwrap()
    };
    let path = std::ffi::CString::new(pin.to_str().unwrap()).unwrap();
    let link = bpf(OBJ_GET, &mut [path.as_ptr().expose_provenance() as u64, 0]);
    bpf(LINK_DETACH, &mut [link, 0]);
}

#[test]
fn a_program_that_somebody_took_off_is_put_back() {
    let line = Line::new("off");
    let pins = Pins::new("off");
    let mut kernel = Kernel::load(&Options { pins: Some(&pins.0), ..small(16) }).unwrap();
    let mut interfaces = Interfaces::new(vec![glob::Pattern::new("c").unwrap()], pins.0.clone(), Xdp::Off);
    let there = status(&line, &mut interfaces, &mut kernel);
    let ours = programs_on(&line, "c");
    if there.mechanism == "tcx" {
        detach(&pins.0.join("link-c-ingress"));
    } else {
        let removed = within(&line.wire, || Command::new("tc").args(["qdisc", "del", "dev", "c", "clsact"]).status());
        assert!(removed.unwrap().success());
    }
    let again = status(&line, &mut interfaces, &mut kernel);
    assert_eq!((again.attached, again.position), (true, Some(1)), "{again:?}");
    assert_eq!(programs_on(&line, "c"), ours);
    within(&line.wire, || attach::remove(&pins.0).unwrap());
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
            Mechanism::Tcx => assert!(version >= vec![6, 6], "{release}"),
            Mechanism::Clsact { why } => assert!(version < vec![6, 6] && why.contains("6.6"), "{release}: {why}"),
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
        let interface = links::named("c").unwrap();
        Hook::ALL.map(|hook| attach::first(&mut kernel, &interface, hook, Some(&pins.0)).unwrap())
    });
    let new = programs_on(&line, "c");
    assert_eq!((old.len(), new.len()), (1, 1), "replaced in place, not attached beside");
    assert_ne!(old, new);

    client.write_all(b"again").unwrap();
    server.read_exact(&mut [0; 5]).unwrap();
    wait_for("the same entry goes on counting", || (packets(&kernel)? > before).then_some(()));

    let removed = within(&line.wire, || attach::remove(&pins.0).unwrap());
    assert_eq!(
        removed.filters,
        links.iter().filter(|link| matches!(link.mechanism(), Mechanism::Clsact { .. })).count()
    );
    drop(links);
    std::fs::remove_dir_all(&pins.0).unwrap();
    wait_for("nothing is left", || programs_on(&line, "c").is_empty().then_some(()));
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
fn pins_of_an_older_abi_version_are_refused_by_name_though_their_settings_are_shorter() {
    let pins = Pins::new("old-abi");
    let mut settings = Array::<_, [u32; 18]>::create(1, 0).unwrap();
    settings.set(0, [1; 18], 0).unwrap();
    settings.pin(pins.0.join("SETTINGS")).unwrap();
    let error = Kernel::load(&Options { pins: Some(&pins.0), ..small(16) }).unwrap_err().to_string();
    assert!(error.contains("ABI version 1,"), "{error}");
}

#[test]
fn a_foreign_map_in_the_place_of_ours_is_refused_by_what_differs() {
    let pins = Pins::new("foreign");
    let refused = |name: &str, pin: &dyn Fn(&std::path::Path)| {
        let path = pins.0.join(name);
        pin(&path);
        let refused = Kernel::load(&Options { pins: Some(&pins.0), ..small(16) });
        std::fs::remove_file(&path).unwrap();
        match refused {
            Err(KernelError::Pin(error @ PinError::Foreign { .. })) => error.to_string(),
            other => panic!("{name}: {other:?}"),
        }
    };
    let hash = |path: &std::path::Path| HashMap::<_, u32, u32>::create(4, 0).unwrap().pin(path).unwrap();
    for name in ["SETTINGS", "FLOWS_V4", "FLOWS_V6", "PENDING_V4", "PENDING_V6", "COUNTS", "EVENTS"] {
        let why = refused(name, &hash);
        let differs =
            if name.starts_with("PENDING") { "its key size is 4, expected" } else { "its type is 1, expected" };
        assert!(why.contains(name) && why.contains(differs), "{why}");
    }
    // Right but for one property; the kernel would take the first two.
    let why = refused("SETTINGS", &|path| Array::<_, u64>::create(1, 0).unwrap().pin(path).unwrap());
    assert!(why.contains("its value size is 8"), "{why}");
    let why = refused("COUNTS", &|path| PerCpuArray::<_, u64>::create(2, 0).unwrap().pin(path).unwrap());
    assert!(why.contains("its number of entries is 2"), "{why}");
}

fn has_clsact(line: &Line, interface: &str) -> bool {
    let shown = Command::new("tc").args(["-n", &line.wire, "qdisc", "show", "dev", interface]).output().unwrap();
    assert!(shown.status.success(), "{shown:?}");
    String::from_utf8(shown.stdout).unwrap().contains("clsact")
}

#[test]
fn only_queueing_disciplines_of_ours_that_nobody_uses_are_removed() {
    let line = Line::new("qdisc");
    let pins = Pins::new("qdisc");
    netns::ip(&line.wire, "link add jump type veth peer name foreign");
    let mut behind = Ebpf::load(BEHIND).unwrap();
    let program: &mut SchedClassifier = behind.program_mut("drop_all").unwrap().try_into().unwrap();
    program.load().unwrap();
    within(&line.wire, || {
        for interface in ["c", "s", "jump", "foreign"] {
            tc::qdisc_add_clsact(interface).unwrap();
        }
        let filter = TcAttachOptions::Netlink(NlOptions::default());
        program.attach_with_options("s", TcAttachType::Egress, filter).unwrap();
        // In a chain that packets reach by a jump.
        let pin = pins.0.join("drop_all");
        program.pin(&pin).unwrap();
        let chain = format!("filter add dev jump ingress chain 5 bpf direct-action pinned {}", pin.display());
        let added = Command::new("tc").args(chain.split(' ')).output().unwrap();
        assert!(added.status.success(), "{added:?}");
        for interface in ["c", "s", "jump"] {
            let index = links::named(interface).unwrap().index;
            std::fs::create_dir(pins.0.join(format!("clsact-{index}"))).unwrap();
        }
        assert_eq!(attach::remove(&pins.0).unwrap(), Removed { filters: 0, qdiscs: 1 });
    });
    let left = ["c", "s", "jump", "foreign"].map(|interface| has_clsact(&line, interface));
    assert_eq!(left, [false, true, true, true], "ours, used by others, used in a chain, somebody else's");
    within(&line.wire, || drop(behind));
}

#[test]
fn nothing_is_left_on_an_interface_after_it_is_removed_and_a_foreign_discipline_stays() {
    let line = Line::new("gone");
    let pins = Pins::new("gone");
    let mut kernel = Kernel::load(&Options { pins: Some(&pins.0), ..small(16) }).unwrap();
    within(&line.wire, || {
        tc::qdisc_add_clsact("s").unwrap();
        for interface in ["c", "s"].map(|name| links::named(name).unwrap()) {
            for hook in Hook::ALL {
                attach::first(&mut kernel, &interface, hook, Some(&pins.0)).unwrap();
            }
        }
        let is_ours = has_clsact(&line, "c");
        let removed = Removed { filters: 4 * usize::from(is_ours), qdiscs: usize::from(is_ours) };
        assert_eq!(attach::remove(&pins.0).unwrap(), removed);
    });
    assert_eq!(["c", "s"].map(|interface| has_clsact(&line, interface)), [false, true]);
}
