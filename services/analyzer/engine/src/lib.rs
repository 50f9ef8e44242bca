//! From edges and signals to incidents: what recurs, why, why not something else, and what to do.
//!
//! All of it is a function of what was read and of the time that is given: no clocks, no network.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod anomalies;
mod bucket;
pub mod case;
pub mod causes;
mod edge;
pub mod engine;
pub mod fix;
mod history;
pub mod incident;
pub mod nodes;
mod normal;
mod picture;
pub mod probe;
pub mod random;
pub mod recording;
pub mod recurrence;
mod said;
pub mod scale;
pub mod series;
mod signals;
pub mod spikes;
mod track;
mod usual;
mod words;
