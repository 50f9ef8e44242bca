//! `config = { … }`.

use super::{Parser, Result};
use crate::ast::{Config, ConfigEntry, ConfigValue, Name};
use crate::diagnostic::Diagnostic;
use crate::lex::TokenKind;
use crate::words::{SETTINGS, nearest};

impl Parser<'_> {
    pub(super) fn config(&mut self) -> Result<Config> {
        let start = self.bump().span;
        self.expect("=", "behind `config`")?;
        let opened = self.expect("{", "before the settings")?;
        let mut entries: Vec<ConfigEntry> = Vec::new();
        while !self.at("}") {
            let entry = self.setting()?;
            if let Some(first) = entries.iter().find(|other| other.key.text == entry.key.text) {
                let message = format!("`{}` is set twice", entry.key.text);
                let error = Diagnostic::error("duplicate-setting", message, entry.key.span);
                self.diagnostics.push(error.label(first.key.span, "it is set here already"));
            }
            entries.push(entry);
            if !self.eat(";") {
                break;
            }
        }
        self.expect_closing("}", opened)?;
        Ok(Config { span: self.since(start), entries })
    }

    fn setting(&mut self) -> Result<ConfigEntry> {
        let written = self.name("a setting")?;
        let lower = written.text.to_ascii_lowercase();
        let key = lower.strip_prefix("bpftrace_").unwrap_or(&lower).to_owned();
        if !SETTINGS.contains(&key.as_str()) {
            let message = format!("there is no setting `{}`", written.text);
            let error = Diagnostic::error("unknown-setting", message, written.span);
            self.diagnostics.push(match nearest(&key, SETTINGS.iter().copied()) {
                Some(near) => error.suggest(written.span, near, "a setting has a similar name"),
                None => error,
            });
        }
        self.expect("=", "behind the name of a setting")?;
        let token = self.peek().clone();
        let value = match token.kind {
            TokenKind::Int(value) => ConfigValue::Int(value),
            TokenKind::Word(word) if word == "true" || word == "false" => ConfigValue::Bool(word == "true"),
            TokenKind::Word(word) => ConfigValue::Text(word),
            TokenKind::Text(bytes) => ConfigValue::Text(String::from_utf8_lossy(&bytes).into_owned()),
            _ => return self.unexpected("a number, a word or a string"),
        };
        self.bump();
        Ok(ConfigEntry { key: Name { text: key, span: written.span }, value, value_span: token.span })
    }
}
