//! What is written for subscribers is what the definitions say: `BLESS=1 cargo test -p synscope-bus --test events`
//! rewrites it.

#![allow(clippy::unwrap_used, reason = "clippy takes helpers of a test file for no test")]

use std::fs;
use std::path::Path;

use synscope_bus::events;

fn check(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, text).unwrap();
    }
    assert!(fs::read_to_string(&file).unwrap() == text, "docs/{name} is not what the definitions say: BLESS=1?");
}

#[test]
fn the_document_for_machines_is_up_to_date() {
    check("asyncapi.json", &(serde_json::to_string_pretty(&events::document()).unwrap() + "\n"));
}

#[test]
fn the_page_for_people_is_up_to_date() {
    check("events.md", &events::page().unwrap());
}
