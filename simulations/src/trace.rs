//! The trace: everything that any part of the simulation says through `tracing`, with its time, as one hash. Two runs with the same hash did the
//! same.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use xxhash_rust::xxh3::Xxh3;

use crate::ambient::elapsed_us;

/// A hash of all that was said so far. Clones share it.
#[derive(Clone, Default)]
pub struct Trace {
    hash: Arc<Mutex<Xxh3>>,
    events: Arc<AtomicU64>,
    with_spans: bool,
}

impl Trace {
    /// One beside which another layer shows what was said, and where: that takes spans, which cost a tenth of a run.
    pub fn beside_another() -> Trace {
        Trace { with_spans: true, ..Trace::default() }
    }

    /// Takes in something that was said otherwise.
    pub fn add(&self, bytes: &[u8]) {
        self.hash.lock().unwrap_or_else(PoisonError::into_inner).update(bytes);
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    /// The hash.
    pub fn hash(&self) -> u64 {
        self.hash.lock().unwrap_or_else(PoisonError::into_inner).digest()
    }

    /// How many events are in it.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Of a message on the wire: all its bytes, in hex. Who sent it to whom, and when, is enough.
        if field.name() == "protocol" {
            return;
        }
        // Writing to a string does not fail.
        let _ = write!(self.0, " {}={value:?}", field.name());
    }
}

impl<S: Subscriber> Layer<S> for Trace {
    /// Not what libraries say to their own developers: that is most of it by far, and costs more than all the rest of the run.
    fn enabled(&self, metadata: &Metadata<'_>, _context: Context<'_, S>) -> bool {
        if metadata.is_span() {
            return self.with_spans;
        }
        let target = metadata.target();
        *metadata.level() <= Level::INFO || target.starts_with("talon") || target == "turmoil"
    }

    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let metadata = event.metadata();
        let mut text = Text(String::with_capacity(256));
        // Writing to a string does not fail.
        let _ = write!(text.0, "{} {} {}", elapsed_us(), metadata.target(), metadata.level());
        event.record(&mut text);
        text.0.push('\n');
        self.add(text.0.as_bytes());
    }
}
