//! The instructions of small scripts, so that one more is seen. `BLESS=1` writes them anew.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

mod scripts;

use synscope_btf::{Kernel, Named};
use synscope_tracer::lower::lower;
use synscope_tracer::{Environment, check, parse};

/// The offset of a thread's name is this kernel's own.
fn without_offsets(listing: &str) -> String {
    let kernel = Kernel::running().unwrap();
    let task = kernel.find(Named::Struct, "task_struct").unwrap();
    let comm = task.btf.field(task.id, "comm").unwrap().bit_offset / 8;
    listing.replace(&format!("+{comm})"), "+comm)").replace(&format!("+{})", comm + 8), "+comm+8)")
}

#[test]
fn small_scripts_become_few_instructions() {
    let scripts = scripts::folder("listings");
    assert!(scripts.len() >= 6, "{} scripts", scripts.len());
    let bless = std::env::var_os("BLESS").is_some();
    let mut differences = Vec::new();
    for script in scripts {
        let program = parse(&script.source).program.unwrap();
        let checked = check(&program, &Environment::default());
        let lowered = lower(&checked.script.unwrap()).unwrap();
        let listing: String = lowered.programs.iter().map(synscope_tracer::code::Code::listing).collect();
        let listing = without_offsets(&listing);
        let expected = script.path.with_extension("asm");
        if bless {
            std::fs::write(&expected, &listing).unwrap();
        } else if std::fs::read_to_string(&expected).unwrap_or_default() != listing {
            differences.push(format!("{}:\n{listing}", script.source.name()));
        }
    }
    assert!(differences.is_empty(), "other instructions (BLESS=1 accepts them):\n{}", differences.join("\n"));
}
