//! Types of modules, which go on from the kernel's.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use synscope_btf::{Btf, BtfError, Kernel, Named, Pattern, Type};

use crate::build::*;

fn vmlinux() -> Build {
    let mut build = Build::new();
    let int = build.int("int", 4);
    build.composite("sock", STRUCT, 4, &[("family", int, 0)]);
    build.function("tcp_connect", int, &[("sk", int)]);
    build.enumeration("state", ENUM, &[("ESTABLISHED", 1)]);
    build
}

fn module(vmlinux: &Build, function: &str) -> Build {
    let mut build = Build::on(vmlinux);
    let sock = synscope_btf::TypeId::new(2);
    let pointer = build.to("", POINTER, sock);
    build.composite("nf_conn", STRUCT, 12, &[("sk", pointer, 0), ("family", sock, 64)]);
    build.function(function, sock, &[("conn", pointer)]);
    build.enumeration("", ENUM, &[("CONFIRMED", 3)]);
    build
}

/// The kernel's folder, with vmlinux and two modules.
fn folder() -> (tempfile::TempDir, Build) {
    let folder = tempfile::tempdir().unwrap();
    let base = vmlinux();
    fs::write(folder.path().join("vmlinux"), base.file()).unwrap();
    for (name, function) in [("nf_conntrack", "nf_conntrack_in"), ("nf_nat", "nf_nat_setup")] {
        fs::write(folder.path().join(name), module(&base, function).file()).unwrap();
    }
    (folder, base)
}

fn kernel(folder: &Path) -> Kernel {
    let vmlinux = Btf::read(&folder.join("vmlinux")).unwrap();
    Kernel::on(Arc::new(vmlinux), folder).unwrap()
}

#[test]
fn a_modules_types_go_on_from_the_kernels() {
    let base = vmlinux();
    let vmlinux = Arc::new(base.btf());
    let module = module(&base, "nf_conntrack_in").split(&vmlinux);
    assert_eq!(module.offset_of("nf_conn", "family.family").unwrap(), 8);
    let function = module.find_function("nf_conntrack_in").unwrap();
    assert_eq!(module.declaration(function).unwrap(), "struct sock nf_conntrack_in(struct sock *conn)");
    assert_eq!(module.find_struct("sock").unwrap(), vmlinux.find_struct("sock").unwrap());
    assert_eq!(module.constant("ESTABLISHED").unwrap().value, 1);
    assert!(module.find_function("nf_conntrack_out").unwrap_err().to_string().contains("nf_conntrack_in"));
    assert!(vmlinux.find_struct("nf_conn").is_err());
    assert_eq!(module.ids().next().unwrap().number(), u32::try_from(vmlinux.len()).unwrap() + 1);
    assert!(matches!(Btf::parse(Build::on(&base).file()), Err(BtfError::Damaged { .. })), "a base must have names");
}

#[test]
fn what_is_looked_for_is_found_in_the_kernel_first_and_then_in_modules() {
    let (folder, _) = folder();
    let kernel = kernel(folder.path());
    assert_eq!(kernel.modules().collect::<Vec<_>>(), ["nf_conntrack", "nf_nat"]);
    assert_eq!(kernel.find(Named::Function, "tcp_connect").unwrap().btf.module_name(), None);
    let found = kernel.find(Named::Function, "nf_nat_setup").unwrap();
    assert_eq!(found.btf.module_name(), Some("nf_nat"));
    assert!(matches!(found.btf.type_of(found.id), Ok(Type::Function(found)) if found.name == "nf_nat_setup"));
    let found = kernel.find(Named::Struct, "nf_conn").unwrap();
    assert_eq!(found.btf.module_name(), Some("nf_conntrack"), "the first that has one");
    let (value, found) = kernel.constant("CONFIRMED").unwrap();
    assert_eq!((value, found.btf.module_name()), (3, Some("nf_conntrack")));
    let names = Pattern::new("*_*t*");
    let functions = kernel.functions(&names).map(|(btf, function)| (btf.module_name(), function.name));
    let wanted = [(None, "tcp_connect"), (Some("nf_conntrack"), "nf_conntrack_in"), (Some("nf_nat"), "nf_nat_setup")];
    assert_eq!(functions.collect::<Vec<_>>(), wanted);
    let error = kernel.find(Named::Function, "nf_nat_setupp").unwrap_err().to_string();
    assert_eq!(error, "this kernel has no function `nf_nat_setupp`; did you mean `nf_nat_setup`?");
    assert!(kernel.constant("CONFIRMD").unwrap_err().to_string().contains("CONFIRMED"));
}

#[test]
fn a_module_that_cannot_be_read_is_told_and_the_others_are_searched() {
    let (folder, _) = folder();
    fs::write(folder.path().join("nf_conntrack"), b"no types").unwrap();
    let kernel = kernel(folder.path());
    assert_eq!(kernel.unread().count(), 0, "none was needed yet");
    assert_eq!(kernel.find(Named::Struct, "nf_conn").unwrap().btf.module_name(), Some("nf_nat"));
    assert_eq!(kernel.unread().map(|(name, _)| name).collect::<Vec<_>>(), ["nf_conntrack"]);
    assert!(matches!(kernel.module("nf_conntrack"), Err(BtfError::Damaged { .. })));
}

#[test]
fn a_modules_name_is_looked_for_in_the_folder_only() {
    let (folder, base) = folder();
    let kernel = kernel(folder.path());
    assert_eq!(kernel.module("nf_nat").unwrap().module_name(), Some("nf_nat"));
    fs::write(folder.path().join("loaded_later"), module(&base, "f").file()).unwrap();
    assert!(kernel.module("loaded_later").unwrap().find_function("f").is_ok());
    for name in ["../btf/vmlinux", "vmlinux", "", ".", "/etc/passwd"] {
        assert!(matches!(kernel.module(name), Err(BtfError::NoModule { .. })), "{name}");
    }
    let Err(error) = kernel.module("nf_natt") else { panic!("there is none") };
    assert_eq!(error.to_string(), "no module `nf_natt` with types is loaded; did you mean `nf_nat`?");
}
