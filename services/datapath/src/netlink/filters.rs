//! The clsact queueing discipline of an interface, and the filters on it.

use std::io;

use nix::libc::{RTM_DELQDISC, RTM_GETTFILTER, TCA_KIND};

use super::{array, attribute, change, list, text};

/// Bytes of `struct tcmsg`.
const HEADER: usize = 20;
// include/uapi/linux/pkt_sched.h
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
// include/uapi/linux/rtnetlink.h and pkt_cls.h
const TCA_OPTIONS: u16 = 2;
const TCA_CHAIN: u16 = 11;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_ID: u16 = 11;

/// One filter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The lowest runs first.
    pub priority: u16,
    /// Its number among those of the same priority.
    pub handle: u32,
    /// `bpf`, `flower` and so on.
    pub kind: String,
    /// Name of its BPF program.
    pub name: Option<String>,
    /// The kernel's id of that program.
    pub program: Option<u32>,
}

impl Filter {
    /// None for what only announces filters, and for those of chains that packets reach by a jump.
    fn read(body: &[u8]) -> Option<Self> {
        let attributes = body.get(HEADER..)?;
        let number = |value: &[u8]| array(value, 0).map(u32::from_ne_bytes);
        let handle = u32::from_ne_bytes(array(body, 8)?);
        if handle == 0 || attribute(attributes, TCA_CHAIN).and_then(number).is_some_and(|chain| chain != 0) {
            return None;
        }
        let info = u32::from_ne_bytes(array(body, 16)?);
        let options = attribute(attributes, TCA_OPTIONS).unwrap_or_default();
        let [_, _, low, high] = info.to_le_bytes();
        Some(Self {
            priority: u16::from_le_bytes([low, high]),
            handle,
            kind: text(attribute(attributes, TCA_KIND)?),
            name: attribute(options, TCA_BPF_NAME).map(text),
            program: attribute(options, TCA_BPF_ID).and_then(number),
        })
    }
}

/// The filters of an interface's ingress or egress, in the order in which packets meet them.
pub fn all(index: u32, ingress: bool) -> io::Result<Vec<Filter>> {
    let answers = list(RTM_GETTFILTER, &about(index, 0, if ingress { INGRESS } else { EGRESS }))?;
    let mut filters: Vec<_> = answers.iter().filter_map(|body| Filter::read(body)).collect();
    // The kernel lists those of one priority in their order.
    filters.sort_by_key(|filter| filter.priority);
    Ok(filters)
}

/// Whether there are any on an interface, also of chains that packets reach by a jump.
pub fn any(index: u32) -> io::Result<bool> {
    for parent in [INGRESS, EGRESS] {
        if !list(RTM_GETTFILTER, &about(index, 0, parent))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes the clsact queueing discipline of an interface.
pub fn remove_clsact(index: u32) -> io::Result<()> {
    change(RTM_DELQDISC, &about(index, CLSACT_HANDLE, CLSACT))
}

fn about(index: u32, handle: u32, parent: u32) -> Vec<u8> {
    // Family and padding; the last word is priority and protocol.
    [0, index, handle, parent, 0].into_iter().flat_map(u32::to_ne_bytes).collect()
}
