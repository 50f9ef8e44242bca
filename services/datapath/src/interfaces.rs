//! The interfaces that programs are on: those whose names match, also when they appear later.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use glob::Pattern;
use synscope_bus::command::datapath::HookStatus;
use synscope_bus::reasons::reasons;

use crate::attach::{self, AttachError, Attached, Hook, Mechanism, Place};
use crate::kernel::Kernel;
use crate::netlink::links::{self, Link};
use crate::xdp::Passing;

/// One interface as it was found: a name may come back as another interface.
#[derive(Debug)]
struct Interface {
    link: Link,
    hooks: [On; 2],
}

/// One direction of it.
#[derive(Debug)]
struct On {
    hook: Hook,
    /// None until it was tried.
    attached: Option<Result<Attached, AttachError>>,
    /// None where the kernel does not tell.
    place: Option<Place>,
}

/// Whether the XDP program goes along.
#[derive(Debug)]
pub enum Xdp {
    /// Nobody asked for it.
    Off,
    /// It does.
    On(Passing),
    /// It was asked for, and this kernel cannot.
    Impossible {
        /// Why.
        why: String,
    },
}

impl Xdp {
    /// Loads the program where it is wanted. Where it cannot be, the rest goes on without it.
    pub fn load(wanted: bool) -> Self {
        if !wanted {
            return Self::Off;
        }
        match Passing::load() {
            Ok(passing) => Self::On(passing),
            Err(error) => Self::Impossible { why: reasons(&error) },
        }
    }
}

/// Keeps programs on all matching interfaces of the calling thread's network namespace.
#[derive(Debug)]
pub struct Interfaces {
    patterns: Vec<Pattern>,
    pins: PathBuf,
    known: BTreeMap<String, Interface>,
    xdp: Xdp,
}

impl Interfaces {
    /// None yet.
    pub fn new(patterns: Vec<Pattern>, pins: PathBuf, xdp: Xdp) -> Self {
        Self { patterns, pins, known: BTreeMap::new(), xdp }
    }

    /// Looks what is there: attaches to what is new, forgets what is gone, tries again where it failed, and asks who else
    /// is there.
    pub fn scan(&mut self, kernel: &mut Kernel) -> io::Result<()> {
        let mut present = BTreeMap::new();
        for link in links::all()? {
            if self.patterns.iter().any(|pattern| pattern.matches(&link.name)) {
                present.insert(link.name.clone(), link);
            }
        }
        let gone =
            |name: &String, known: &Interface| present.get(name).is_none_or(|link| link.index != known.link.index);
        for (name, interface) in self.known.extract_if(.., |name, known| gone(name, known)).collect::<Vec<_>>() {
            tracing::info!(interface = name, "is gone");
            if let Err(error) = attach::forget_interface(interface.link.index, &self.pins) {
                tracing::warn!(interface = name, %error, "what was noted of it cannot be removed");
            }
            if let Xdp::On(xdp) = &mut self.xdp {
                xdp.forget(&name);
            }
            for hook in Hook::ALL {
                self.forget(&name, hook);
            }
        }
        for (name, link) in present {
            let mut hooks = match self.known.remove(&name) {
                Some(known) => known.hooks,
                None => Hook::ALL.map(|hook| On { hook, attached: None, place: None }),
            };
            for on in &mut hooks {
                self.look_after(kernel, &link, on);
            }
            self.known.insert(name, Interface { link, hooks });
        }
        if let Xdp::On(xdp) = &mut self.xdp {
            xdp.keep_on(self.known.values().map(|interface| &interface.link));
        }
        Ok(())
    }

    /// Where programs are, and where they are not.
    pub fn status(&self) -> Vec<HookStatus> {
        let ours = self.known.iter().flat_map(|(name, interface)| interface.hooks.iter().map(|on| on.status(name)));
        let mut hooks: Vec<_> = ours.collect();
        match &self.xdp {
            Xdp::Off => {}
            Xdp::On(passing) => hooks.extend(passing.status()),
            Xdp::Impossible { why } => hooks.extend(self.known.keys().map(|name| HookStatus {
                interface: name.clone(),
                hook: "xdp".into(),
                why: Some(why.clone()),
                ..HookStatus::default()
            })),
        }
        hooks
    }

    fn look_after(&self, kernel: &mut Kernel, link: &Link, on: &mut On) {
        let name = link.name.as_str();
        if let Some(Ok(attached)) = &on.attached {
            match attached.place(link, on.hook) {
                Ok(Some(place)) => return on.place = Some(place),
                Ok(None) => {
                    tracing::warn!(interface = name, hook = on.hook.name(), "somebody took our program off: again");
                    self.forget(name, on.hook);
                    on.attached = None;
                }
                Err(error) => {
                    tracing::debug!(interface = name, error = reasons(&error), "the order is not known");
                    return on.place = None;
                }
            }
        }
        let attached = self.attach(kernel, link, on.hook);
        match &attached {
            Ok(attached) => {
                tracing::info!(interface = name, hook = on.hook.name(), "attached");
                on.place = attached.place(link, on.hook).ok().flatten();
            }
            Err(error) => {
                tracing::debug!(interface = name, hook = on.hook.name(), error = reasons(error), "not attached");
                on.place = None;
            }
        }
        on.attached = Some(attached);
    }

    fn attach(&self, kernel: &mut Kernel, link: &Link, hook: Hook) -> Result<Attached, AttachError> {
        match attach::first(kernel, link, hook, Some(&self.pins)) {
            // The pin may be of an interface that had this name before.
            Err(AttachError::Attach { .. } | AttachError::Link { .. }) => {
                self.forget(&link.name, hook);
                attach::first(kernel, link, hook, Some(&self.pins))
            }
            other => other,
        }
    }

    fn forget(&self, name: &str, hook: Hook) {
        if let Err(error) = attach::forget(name, hook, &self.pins) {
            tracing::warn!(interface = name, hook = hook.name(), %error, "its pin cannot be removed");
        }
    }
}

impl On {
    fn status(&self, interface: &str) -> HookStatus {
        let status =
            HookStatus { interface: interface.to_owned(), hook: self.hook.name().into(), ..HookStatus::default() };
        let attached = match &self.attached {
            Some(Ok(attached)) => attached,
            Some(Err(error)) => return HookStatus { why: Some(reasons(error)), ..status },
            None => return status,
        };
        let mechanism = attached.mechanism();
        let place = self.place.clone().unwrap_or_default();
        let number = |count| u32::try_from(count).ok().filter(|_| self.place.is_some());
        HookStatus {
            attached: true,
            mechanism: mechanism.to_string(),
            position: number(place.position),
            programs: number(place.programs),
            why: why_not_better(&mechanism, &place.before),
            before: place.before,
            ..status
        }
    }
}

/// What is lost where a program is, and what to do about it; none where nothing is.
fn why_not_better(mechanism: &Mechanism, before: &[String]) -> Option<String> {
    let hidden = format!("what {} redirects or drops is not observed", before.join(" and "));
    match (mechanism, before) {
        (Mechanism::Tcx, []) => None,
        (Mechanism::Tcx, _) => Some(format!("{hidden}: it asked to be first after us; attach it without that")),
        (Mechanism::Clsact { why }, []) => Some(why.clone()),
        (Mechanism::Clsact { why }, _) => Some(format!(
            "{hidden}: give it a priority of 2 or above (Cilium: bpf-filter-priority=2). Ours cannot be before it: {why}"
        )),
    }
}
