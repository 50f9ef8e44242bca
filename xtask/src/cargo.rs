//! Cargo, started by a program that cargo started.

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// What `cargo run` tells a program about its own package.
const OF_OUR_PACKAGE: [&str; 2] = ["CARGO_MANIFEST_", "CARGO_PKG_"];

/// The workspace's root.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// At the workspace's root, as someone calls it by hand. With what `cargo run` tells us, build scripts that ask for that of
/// their own package run again (ring's does), and all that depends on theirs is built again, each time that a person and
/// we take turns.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    within(root(), arguments)
}

/// The same in another folder.
pub(crate) fn within(folder: &Path, arguments: &[&str]) -> Command {
    let mut cargo = Command::new("cargo");
    for (name, _value) in env::vars_os().filter(|(name, _value)| is_of_our_package(name)) {
        cargo.env_remove(name);
    }
    cargo.args(arguments).current_dir(folder);
    cargo
}

fn is_of_our_package(variable: &OsStr) -> bool {
    OF_OUR_PACKAGE.iter().any(|start| variable.to_string_lossy().starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apt::output;

    #[test]
    fn nothing_of_our_package_reaches_it() {
        let mut told = Command::new("env");
        for (name, value) in cargo(&[]).get_envs() {
            assert_eq!(value, None);
            told.env_remove(name);
        }
        let told = output(&mut told).unwrap();
        assert!(told.contains("PATH=") && !told.contains("CARGO_MANIFEST_") && !told.contains("CARGO_PKG_"), "{told}");
        // How cargo is to build is not ours to change.
        assert!(!is_of_our_package("CARGO_INCREMENTAL".as_ref()) && is_of_our_package("CARGO_MANIFEST_DIR".as_ref()));
    }
}
