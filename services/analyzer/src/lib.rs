//! The service around the engine, which is a crate of its own: what is pure is replayed by the hour in tests, and built for
//! that.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod service;
