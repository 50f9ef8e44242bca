//! The kernel and its loaded modules together.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::error::near;
use crate::{Btf, BtfError, Function, Named, Pattern, TypeId};

/// Where the kernel shows its types.
pub const FOLDER: &str = "/sys/kernel/btf";
/// The file of the kernel's own types.
pub(crate) const VMLINUX: &str = "vmlinux";

/// The kernel's types, and those of the modules that were loaded when this was made; a module's file is read when it is
/// first needed.
#[derive(Debug)]
pub struct Kernel {
    folder: PathBuf,
    vmlinux: Arc<Btf>,
    modules: Vec<Module>,
}

#[derive(Debug)]
struct Module {
    name: String,
    btf: OnceLock<Result<Arc<Btf>, BtfError>>,
}

/// A type, and which types it is of: [`Btf::module_name`] tells the module.
#[derive(Debug, Clone)]
pub struct Found {
    /// The types.
    pub btf: Arc<Btf>,
    /// The type among them.
    pub id: TypeId,
}

impl Kernel {
    /// The running kernel.
    pub fn running() -> Result<Self, BtfError> {
        Self::on(Arc::new(Btf::vmlinux()?), Path::new(FOLDER))
    }

    /// Types that were read before, and the modules that a folder now has: vmlinux does not change while the kernel
    /// runs, modules come and go.
    pub fn on(vmlinux: Arc<Btf>, folder: &Path) -> Result<Self, BtfError> {
        let names = Self::module_names(folder)?;
        let modules = names.into_iter().map(|name| Module { name, btf: OnceLock::new() }).collect();
        Ok(Self { folder: folder.to_owned(), vmlinux, modules })
    }

    /// The kernel's own types.
    pub fn vmlinux(&self) -> &Arc<Btf> {
        &self.vmlinux
    }

    /// Names of the modules that have types.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.modules.iter().map(|module| module.name.as_str())
    }

    /// A module's types.
    pub fn module(&self, name: &str) -> Result<Arc<Btf>, BtfError> {
        if let Some(module) = self.modules.iter().find(|module| module.name == name)
            && let Ok(btf) = self.opened(module)
        {
            return Ok(Arc::clone(btf));
        }
        // Loaded since; or why it can't be read, or which names are near.
        Btf::module_in(&self.vmlinux, &self.folder, name).map(Arc::new)
    }

    /// Modules that were needed and could not be read, and why: what they have was not searched.
    pub fn unread(&self) -> impl Iterator<Item = (&str, &BtfError)> {
        self.modules.iter().filter_map(|module| match module.btf.get() {
            Some(Err(error)) => Some((module.name.as_str(), error)),
            _ => None,
        })
    }

    /// The type or function of this name: vmlinux' own, else that of the first module that has one.
    pub fn find(&self, named: Named, name: &str) -> Result<Found, BtfError> {
        if let Some(id) = self.vmlinux.lookup(named, name) {
            return Ok(Found { btf: Arc::clone(&self.vmlinux), id });
        }
        for btf in self.opened_modules() {
            if let Some(id) = btf.own(named, name).next() {
                return Ok(Found { btf: Arc::clone(btf), id });
            }
        }
        let near = near(name, self.all().flat_map(|btf| btf.own_names(named)));
        Err(BtfError::Missing { named, name: name.to_owned(), near })
    }

    /// The value of a constant, and the enumeration that has it.
    pub fn constant(&self, name: &str) -> Result<(i128, Found), BtfError> {
        for btf in self.all() {
            if let Some(constant) = btf.own_constants(name).next() {
                return Ok((constant.value, Found { btf: Arc::clone(btf), id: constant.of }));
            }
        }
        let near = near(name, self.all().flat_map(|btf| btf.own_constant_names()));
        Err(BtfError::NoConstant { name: name.to_owned(), near })
    }

    /// All functions whose names are like a pattern, vmlinux' first, with the types they are of.
    pub fn functions(&self, names: &Pattern) -> impl Iterator<Item = (&Arc<Btf>, Function<'_>)> {
        self.all().flat_map(|btf| btf.functions(names).map(move |function| (btf, function)))
    }

    /// vmlinux, and then every module.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Btf>> {
        std::iter::once(&self.vmlinux).chain(self.opened_modules())
    }

    fn opened_modules(&self) -> impl Iterator<Item = &Arc<Btf>> {
        self.modules.iter().filter_map(|module| self.opened(module).as_ref().ok())
    }

    fn opened<'a>(&'a self, module: &'a Module) -> &'a Result<Arc<Btf>, BtfError> {
        module.btf.get_or_init(|| {
            let read = Btf::module_in(&self.vmlinux, &self.folder, &module.name).map(Arc::new);
            if let Err(error) = &read {
                tracing::warn!(module = module.name, %error, "a module's types cannot be read");
            }
            read
        })
    }

    /// Names of the modules with types in a folder, in order.
    pub(crate) fn module_names(folder: &Path) -> Result<Vec<String>, BtfError> {
        let unread = |source| BtfError::Read { path: folder.to_owned(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(folder).map_err(unread)? {
            let name = entry.map_err(unread)?.file_name();
            names.extend(name.to_str().filter(|name| *name != VMLINUX).map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }
}
