//! What nats-server is told: an account of our own, its users with what they may do, and TLS.

use std::fmt::Write;
use std::path::Path;

use synscope_bus::permissions::{Identity, Permissions};

use crate::{CERTIFICATE, KEY};

/// A text to be included in the server's configuration.
pub(crate) fn configuration(folder: &Path, users: &[(&Identity, String)]) -> String {
    let file = |name: &str| quoted(&folder.join(name).to_string_lossy());
    let mut text = format!(
        "# Made by synscope: what each program may say and hear. The keys beside it are secret.\n\
         tls {{\n  cert_file: {}\n  key_file: {}\n}}\n\
         accounts {{\n  SYNSCOPE {{\n    jetstream: enabled\n    users: [\n",
        file(CERTIFICATE),
        file(KEY),
    );
    for (identity, key) in users {
        let Permissions { publish, subscribe, answer } = identity.permissions();
        let allowed = |subjects: &[String]| {
            let subjects: Vec<_> = subjects.iter().map(|subject| quoted(subject)).collect();
            // An empty list would be no limit.
            if subjects.is_empty() {
                "{ deny: \">\" }".to_owned()
            } else {
                format!("{{ allow: [{}] }}", subjects.join(", "))
            }
        };
        let answers = if answer { "\n        allow_responses: true" } else { "" };
        // Writing to a string does not fail.
        let _always = write!(
            text,
            "      # {identity}\n      {{ nkey: {key}, permissions: {{\n        publish: {}\n        subscribe: {}{answers}\n      }} }}\n",
            allowed(&publish),
            allowed(&subscribe),
        );
    }
    text + "    ]\n  }\n}\n"
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
