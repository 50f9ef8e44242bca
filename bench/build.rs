//! Tells the bench where the floor programs are: the datapath's build script built them beside its own.

use std::env;
use std::path::PathBuf;

fn main() -> Result<(), String> {
    let objects = env::var_os("DEP_SYNSCOPE_EBPF_OBJECTS").ok_or("the datapath's build script tells its objects")?;
    let floor = PathBuf::from(objects).join("floor");
    println!("cargo::rerun-if-changed={}", floor.display());
    println!("cargo::rustc-env=BENCH_EBPF_FLOOR={}", floor.display());
    Ok(())
}
