//! The trace language: bpftrace's scripts, read and made ready for checking.
//!
//! [`parse()`] turns a script into a tree ([`ast`]) and says what is wrong with it ([`diagnostic`]), as text for people
//! ([`render`]) or as JSON ([`diagnostic::Diagnostic::located`]). Types and the kernel come later.
//!
//! The language is that of bpftrace 0.23. Read as well: from 0.24 booleans, durations, ranges, `&$x`, probes in lower
//! case, `interval:1s`, `tseries`, `rawtracepoint:module:event`; and of C `typedef`, macros with parameters, `#if`, types of
//! several words such as `unsigned long`. Refused: functions of a script's own (`fn`), and calls that change what they
//! watch ([`words::Function::refusal`]).
#![deny(unsafe_code)]
#![deny(missing_docs)]

pub mod ast;
pub mod attach;
pub mod check;
pub mod code;
pub mod counters;
mod cpus;
pub mod diagnostic;
pub mod format;
mod functions;
mod helper;
pub mod info;
pub mod lex;
pub mod list;
pub mod load;
mod lockdown;
pub mod lower;
pub mod parse;
pub mod plan;
pub mod preprocess;
pub mod print;
mod registers;
pub mod render;
pub mod run;
pub mod service;
pub mod settings;
pub mod source;
pub mod target;
pub mod tracefs;
pub mod typed;
pub mod types;
mod untold;
pub mod words;

pub use check::{Checked, Environment, check};
pub use parse::{Parsed, parse};
