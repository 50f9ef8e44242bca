//! The interfaces that programs are on: those whose names match, also when they appear later.

use std::collections::BTreeMap;
use std::path::PathBuf;

use glob::Pattern;
use nix::net::if_::if_nameindex;
use synscope_bus::command::datapath::HookStatus;

use crate::attach::{self, AttachError, Attached, Hook, Mechanism};
use crate::kernel::Kernel;
use crate::xdp::Passing;

/// One interface as it was found: a name may come back as another interface.
#[derive(Debug)]
struct Interface {
    index: u32,
    hooks: Vec<(Hook, Result<Attached, AttachError>)>,
}

/// Keeps programs on all matching interfaces of the calling thread's network namespace.
#[derive(Debug)]
pub struct Interfaces {
    patterns: Vec<Pattern>,
    pins: PathBuf,
    known: BTreeMap<String, Interface>,
    xdp: Option<Passing>,
}

impl Interfaces {
    /// None yet.
    pub fn new(patterns: Vec<Pattern>, pins: PathBuf, xdp: Option<Passing>) -> Self {
        Self { patterns, pins, known: BTreeMap::new(), xdp }
    }

    /// Looks what is there: attaches to what is new, forgets what is gone, tries again where it failed.
    pub fn scan(&mut self, kernel: &mut Kernel) -> Result<(), nix::errno::Errno> {
        let mut present = BTreeMap::new();
        for interface in &if_nameindex()? {
            let name = interface.name().to_string_lossy().into_owned();
            if self.patterns.iter().any(|pattern| pattern.matches(&name)) {
                present.insert(name, interface.index());
            }
        }
        let gone = |name: &String, known: &Interface| present.get(name) != Some(&known.index);
        let names: Vec<_> =
            self.known.iter().filter(|(name, known)| gone(name, known)).map(|(name, _)| name.clone()).collect();
        for name in names {
            tracing::info!(interface = name, "is gone");
            self.known.remove(&name);
            if let Some(xdp) = &mut self.xdp {
                xdp.forget(&name);
            }
            for hook in Hook::ALL {
                self.forget(&name, hook);
            }
        }
        for (name, index) in present {
            let healthy = |known: &Interface| known.hooks.iter().all(|(_, attached)| attached.is_ok());
            if self.known.get(&name).is_some_and(healthy) {
                continue;
            }
            let hooks: Vec<_> = Hook::ALL.into_iter().map(|hook| (hook, self.attach(kernel, &name, hook))).collect();
            for (hook, attached) in &hooks {
                match attached {
                    Ok(_) => tracing::info!(interface = name, hook = hook.program(), "attached"),
                    Err(error) => {
                        let error = error as &dyn std::error::Error;
                        tracing::debug!(interface = name, hook = hook.program(), error, "not attached");
                    }
                }
            }
            self.known.insert(name, Interface { index, hooks });
        }
        if let Some(xdp) = &mut self.xdp {
            xdp.keep_on(self.known.keys());
        }
        Ok(())
    }

    /// Where programs are, and where they are not.
    pub fn status(&self) -> Vec<HookStatus> {
        let each = |(name, interface): (&String, &Interface)| {
            let status = |(hook, attached): &(Hook, Result<Attached, AttachError>)| HookStatus {
                interface: name.clone(),
                hook: hook.program().to_owned(),
                attached: attached.is_ok(),
                mechanism: match attached.as_ref().map(Attached::mechanism) {
                    Ok(Mechanism::TcxFirst) => "tcx, first in order".to_owned(),
                    Ok(Mechanism::Clsact { .. }) => "clsact".to_owned(),
                    Err(_) => String::new(),
                },
                why: match attached {
                    Ok(attached) => match attached.mechanism() {
                        Mechanism::TcxFirst => None,
                        Mechanism::Clsact { why } => Some(why),
                    },
                    Err(error) => Some(reasons(error)),
                },
            };
            interface.hooks.iter().map(status).collect::<Vec<_>>()
        };
        let xdp = self.xdp.iter().flat_map(Passing::status);
        self.known.iter().flat_map(each).chain(xdp).collect()
    }

    fn attach(&self, kernel: &mut Kernel, name: &str, hook: Hook) -> Result<Attached, AttachError> {
        match attach::first(kernel, name, hook, Some(&self.pins)) {
            // The pin may be of an interface that had this name before.
            Err(AttachError::Attach { .. } | AttachError::Link { .. }) => {
                self.forget(name, hook);
                attach::first(kernel, name, hook, Some(&self.pins))
            }
            other => other,
        }
    }

    fn forget(&self, name: &str, hook: Hook) {
        if let Err(error) = attach::forget(name, hook, &self.pins) {
            tracing::warn!(interface = name, hook = hook.program(), %error, "its pin cannot be removed");
        }
    }
}

/// An error with all its causes.
pub fn reasons(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
