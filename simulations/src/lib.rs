//! Talon in simulated time: the real node on machines, networks and clocks that fail, and a judge that sees everything.
//!
//! *Enters*: a seed. *Leaves*: a report: what was done, what went wrong around it, what was checked how often, and what was violated.
//! *Must never know*: a real clock, a real thread, a random number that does not come from the seed.

pub mod ambient;
pub mod children;
pub mod client;
pub mod faults;
pub mod host;
pub mod invariants;
pub mod ledger;
pub mod machine;
pub mod panics;
pub mod plan;
pub mod planted;
pub mod replay;
pub mod report;
pub mod run;
pub mod sweep;
pub mod three_clocks;
pub mod trace;
pub mod truth;
pub mod verdict;
pub mod workloads;
pub mod world;
