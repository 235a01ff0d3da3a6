//! A Rust client for Talon. It finds the leader among the endpoints it is given and follows it when it changes.
//!
//! *Enters*: calls of a program. *Leaves*: gRPC requests of `proto/talon/v1/kv.proto`. *Must never know*: how the server carries
//! them out.
//!
//! # What is sent again
//!
//! A read is sent again, to another node if need be, until its deadline. A write is sent again only when it was **certainly not
//! carried out**: the node said so (it does not lead, nobody leads, it does not serve yet), or it could not even be
//! connected to. Whenever a write may have been carried out (the connection broke after it was sent, the deadline passed,
//! leadership was lost while it was on its way), the answer is [`Error::InDoubt`], and it is the program that has to decide, for
//! instance by reading.
//!
//! ```no_run
//! # async fn run() -> Result<(), talon_client::Error> {
//! use std::time::Duration;
//!
//! use talon_client::{Client, Error, Options};
//!
//! let endpoints = ["http://127.0.0.1:7380", "http://127.0.0.1:7381", "http://127.0.0.1:7382"];
//! let client = Client::connect(endpoints, Options::default()).await?;
//! client.set("greeting", "hello").await?;
//! client.set_for("session", "7f", Duration::from_secs(30)).await?;
//! assert_eq!(client.get("greeting").await?.as_deref(), Some(&b"hello"[..]));
//!
//! match client.incrby("hits", 1).await {
//!     Ok(hits) => println!("{hits} hits"),
//!     Err(Error::InDoubt(_)) => println!("counted, or not: sending it again might count it twice"),
//!     Err(other) => return Err(other),
//! }
//!
//! let mut scan = client.scan_prefix("user:", 0, 0).await?;
//! while let Some(pair) = scan.next().await? {
//!     println!("{:?}", pair.key);
//! }
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod client;
mod error;
mod methods;
mod nodes;
mod options;
mod reply;
mod scan;
mod snapshot;

pub use client::Client;
pub use error::Error;
pub use methods::{KeyType, TimeLeft, Write};
pub use options::{Consistency, Options, ReadPreference};
pub use reply::Reply;
pub use scan::{KeyScan, Pair, PairScan};
pub use snapshot::Snapshot;
