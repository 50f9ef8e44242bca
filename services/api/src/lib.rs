//! The API service: what the others found out, over HTTP.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod access;
pub mod app;
pub mod feed;
pub mod kubernetes;
pub mod openapi;
pub mod problem;
pub mod query;
pub mod route;
pub mod routes;
pub mod services;
pub mod settings;
pub mod store;
pub mod tracers;
