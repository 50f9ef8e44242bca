//! Where a program of ours is among those of its hook: asked, because others may come before it at any time.

use std::io;

use aya::programs::{ProgramInfo, SchedClassifier};

use super::{AttachError, Attached, Hook, Mechanism};
use crate::netlink::filters;
use crate::netlink::links::Link;

/// A program's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// 1 for the first.
    pub position: usize,
    /// How many programs are there, with ours.
    pub programs: usize,
    /// Those that see packets before ours. What they redirect or drop we do not see.
    pub before: Vec<String>,
}

impl Place {
    /// Finds ours, by the kernel's id, among programs in their order.
    fn find(ours: u32, programs: impl IntoIterator<Item = (Option<u32>, String)>) -> Option<Self> {
        let mut programs: Vec<_> = programs.into_iter().collect();
        let index = programs.iter().position(|(id, _)| *id == Some(ours))?;
        let count = programs.len();
        let before = programs.drain(..index).map(|(_, name)| name).collect();
        Some(Self { position: index + 1, programs: count, before })
    }
}

impl Attached {
    /// Its place among the programs of this hook; none when somebody took it off.
    pub fn place(&self, interface: &Link, hook: Hook) -> Result<Option<Place>, AttachError> {
        let wrong = |source| AttachError::Order { interface: interface.name.clone(), source };
        let programs: Vec<_> = match self.mechanism() {
            Mechanism::Tcx => {
                let query = SchedClassifier::query_tcx(&interface.name, hook.attach_type());
                let (_revision, programs) = query.map_err(|source| wrong(io::Error::other(source)))?;
                programs.iter().map(tcx_program).collect()
            }
            Mechanism::Clsact { .. } => {
                let filters = filters::all(interface.index, hook == Hook::Ingress).map_err(wrong)?;
                filters.iter().map(|filter| (filter.program, filter_name(filter))).collect()
            }
        };
        Ok(Place::find(self.program, programs))
    }
}

fn tcx_program(program: &ProgramInfo) -> (Option<u32>, String) {
    let name = String::from_utf8_lossy(program.name());
    (Some(program.id()), format!("{name} (program {})", program.id()))
}

fn filter_name(filter: &filters::Filter) -> String {
    let filters::Filter { priority, handle, kind, name, .. } = filter;
    let name = name.as_deref().map(|name| format!(" {name}")).unwrap_or_default();
    format!("{kind}{name} (priority {priority}, handle {handle:#x})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_names_who_is_before() {
        let programs = || [(Some(7), "a".to_owned()), (None, "flower".to_owned()), (Some(9), "ours".to_owned())];
        let place = Place::find(9, programs()).unwrap();
        assert_eq!((place.position, place.programs, place.before), (3, 3, vec!["a".to_owned(), "flower".to_owned()]));
        assert_eq!(Place::find(8, programs()), None);
    }
}
