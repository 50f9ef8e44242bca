//! Dropped packets by the kernel's reason, network namespace and interface: a program on the raw tracepoint `kfree_skb`.
//!
//! Reads: the program's counts, bounded by [`DROP_KEYS`]. Cost: one hash update per dropped packet, and two system calls
//! per key and reading. Unit: packets since the agent started; packets that found no room to be counted by key are told
//! under [`NO_ROOM`]. Kernels: 5.17 (reasons), with BTF. Not observed: no BTF, or a kernel without reasons.

use std::collections::{BTreeMap, HashMap as StdHashMap};

use aya::maps::{Array, MapError, PerCpuArray, PerCpuHashMap};
use aya::programs::{ProgramError, RawTracePoint};
use aya::{Ebpf, EbpfError, include_bytes_aligned};
use synscope_abi::drops::{DROP_KEYS, DropKey, DropOffsets};
use synscope_btf::{Btf, BtfError};
use synscope_bus::message::signal::Drops;

use super::netns::Reading;

static OBJECT: &[u8] = include_bytes_aligned!(env!("DATAPATH_EBPF_DROPS"));

const PREFIX: &str = "SKB_DROP_REASON_";
/// Packets that were used up and not dropped.
const NO_DROPS: [&str; 2] = ["SKB_NOT_DROPPED_YET", "SKB_CONSUMED"];
/// No reason of the kernel's: drops whose key found no room.
const NO_ROOM: &str = "SYNSCOPE_NO_ROOM";
/// With more keys than these, those of namespaces that are not watched, or no more, make room.
const KEYS_KEPT: usize = DROP_KEYS / 2;

/// Why drops are not counted.
#[derive(Debug, thiserror::Error)]
pub enum DropsError {
    /// The kernel's types.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The kernel drops without saying why.
    #[error("drops have no reasons here, kernel 5.17 has them")]
    Reasons(#[source] BtfError),
    /// Loading.
    #[error("the program on kfree_skb cannot be loaded")]
    Load(#[from] EbpfError),
    /// Attaching.
    #[error("the program on kfree_skb cannot be attached")]
    Program(#[from] ProgramError),
    /// Reading.
    #[error("the counts cannot be read")]
    Map(#[from] MapError),
    /// An object of other sources.
    #[error("the object has no {0}")]
    Missing(&'static str),
}

/// A program that counts until this is dropped.
#[derive(Debug)]
pub struct Counting {
    ebpf: Ebpf,
    reasons: StdHashMap<u32, String>,
}

impl Counting {
    /// Loads and attaches.
    pub fn start() -> Result<Self, DropsError> {
        let btf = Btf::vmlinux()?;
        let reasons = reasons(&btf).map_err(DropsError::Reasons)?;
        let offsets = DropOffsets {
            skb_dev: btf.offset_of("sk_buff", "dev")?,
            skb_sk: btf.offset_of("sk_buff", "sk")?,
            dev_ifindex: btf.offset_of("net_device", "ifindex")?,
            dev_net: btf.offset_of("net_device", "nd_net.net")?,
            sk_net: btf.offset_of("sock", "__sk_common.skc_net.net")?,
            net_inode: btf.offset_of("net", "ns.inum")?,
        };
        let mut ebpf = Ebpf::load(OBJECT)?;
        let map = ebpf.map_mut("OFFSETS").ok_or(DropsError::Missing("OFFSETS"))?;
        Array::<_, DropOffsets>::try_from(map)?.set(0, offsets, 0)?;
        let program = ebpf.program_mut("kfree_skb").ok_or(DropsError::Missing("kfree_skb"))?;
        let program: &mut RawTracePoint = program.try_into()?;
        program.load()?;
        program.attach("kfree_skb")?;
        Ok(Self { ebpf, reasons })
    }

    /// The counts of these namespaces, and of packets that belong to none.
    pub fn read(&mut self, namespaces: &[Reading]) -> Result<Vec<Drops>, DropsError> {
        let known: BTreeMap<u64, &Reading> = namespaces.iter().map(|reading| (reading.netns, reading)).collect();
        let map = self.ebpf.map("DROPS").ok_or(DropsError::Missing("DROPS"))?;
        let counts = PerCpuHashMap::<_, DropKey, u64>::try_from(map)?;
        let mut drops = Vec::new();
        let mut others = Vec::new();
        let mut keys = 0;
        for entry in &counts {
            let (key, per_cpu) = entry?;
            keys += 1;
            let reading = known.get(&u64::from(key.netns));
            if key.netns != 0 && reading.is_none() {
                others.push(key);
                continue;
            }
            let Some(reason) = self.reason(key.reason) else { continue };
            drops.push(Drops {
                reason,
                netns: (key.netns != 0).then(|| key.netns.into()),
                interface: reading.and_then(|reading| reading.interfaces.get(&key.ifindex)).cloned(),
                packets: per_cpu.iter().sum(),
            });
        }
        if keys > KEYS_KEPT {
            self.forget(&others)?;
        }
        let refused = self.refused()?;
        if refused > 0 {
            drops.push(Drops { reason: NO_ROOM.to_owned(), netns: None, interface: None, packets: refused });
        }
        drops.sort_by(|a, b| (&a.reason, a.netns, &a.interface).cmp(&(&b.reason, b.netns, &b.interface)));
        Ok(drops)
    }

    fn forget(&mut self, keys: &[DropKey]) -> Result<(), DropsError> {
        let map = self.ebpf.map_mut("DROPS").ok_or(DropsError::Missing("DROPS"))?;
        let mut counts = PerCpuHashMap::<_, DropKey, u64>::try_from(map)?;
        for key in keys {
            match counts.remove(key) {
                Ok(()) | Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Drops that found no room to be counted by key.
    fn refused(&self) -> Result<u64, DropsError> {
        let map = self.ebpf.map("REFUSED").ok_or(DropsError::Missing("REFUSED"))?;
        Ok(PerCpuArray::<_, u64>::try_from(map)?.get(&0, 0)?.iter().sum())
    }

    /// The reason's name; none for what is no drop. Reasons of subsystems have numbers of their own.
    fn reason(&self, number: u32) -> Option<String> {
        let Some(name) = self.reasons.get(&number) else { return Some(format!("SUBSYSTEM_{number:#x}")) };
        (!NO_DROPS.contains(&name.as_str())).then(|| name.strip_prefix(PREFIX).unwrap_or(name).to_owned())
    }
}

/// The kernel's reasons by their numbers.
fn reasons(btf: &Btf) -> Result<StdHashMap<u32, String>, BtfError> {
    let values = btf.enum_values(btf.find_enum("skb_drop_reason")?)?;
    Ok(values.filter_map(|reason| Some((u32::try_from(reason.value).ok()?, reason.name.to_owned()))).collect())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::{Duration, Instant};

    use super::super::netns::Namespaces;
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// Drops a packet here until the counts are as wanted.
    fn read_until(counting: &mut Counting, wanted: impl Fn(&Drops) -> bool) -> Drops {
        let here = Namespaces::default().read().unwrap();
        let start = Instant::now();
        loop {
            assert!(TcpStream::connect("127.0.0.1:1").is_err(), "nobody listens there");
            let drops = counting.read(&here).unwrap();
            if let Some(found) = drops.iter().find(|drops| wanted(drops)) {
                return found.clone();
            }
            assert!(start.elapsed() < DEADLINE, "{drops:?}");
        }
    }

    #[test]
    fn namespaces_that_are_gone_make_room_and_what_found_none_is_told() {
        let mut counting = Counting::start().unwrap();
        {
            let map = counting.ebpf.map_mut("DROPS").unwrap();
            let mut counts = PerCpuHashMap::<_, DropKey, u64>::try_from(map).unwrap();
            let cpus = aya::util::nr_cpus().unwrap();
            for ifindex in 0.. {
                let one = aya::maps::PerCpuValues::try_from(vec![1; cpus]).unwrap();
                if counts.insert(DropKey { reason: 2, netns: 1, ifindex }, one, 0).is_err() {
                    break;
                }
            }
            assert_eq!(counts.keys().count(), DROP_KEYS);
        }
        let no_room = read_until(&mut counting, |drops| drops.reason == NO_ROOM);
        assert!(no_room.packets > 0 && no_room.netns.is_none());
        let counted = read_until(&mut counting, |drops| drops.reason == "NO_SOCKET");
        assert_eq!(counted.interface.as_deref(), Some("lo"));
    }
}
