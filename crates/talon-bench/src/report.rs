//! From what was measured to tables and JSON.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table, TableStyle};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::Outcome;
use crate::load::{Counts, Kind, Measured};
use crate::machine::{Machine, load_average};

/// Where results go beside the terminal.
#[derive(Clone, Debug, Default, Args)]
pub struct Outputs {
    /// Write everything that was measured to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,

    /// Draw a picture of it into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
}

/// What a JSON file holds.
#[derive(Debug, Serialize)]
pub struct Document<R> {
    command: &'static str,
    arguments: Vec<String>,
    machine: Machine,
    load_average_before: f64,
    load_average_after: f64,
    /// What the part of this name measured.
    results: R,
}

/// Gathers what every document has.
pub struct Header {
    command: &'static str,
    machine: Machine,
    load_before: f64,
}

impl Header {
    /// Looks at the machine and shows it.
    ///
    /// # Errors
    /// If the machine cannot be looked at.
    pub fn begin(command: &'static str) -> Outcome<Header> {
        let machine = Machine::look(&std::env::temp_dir())?;
        let load_before = load_average();
        println!("{machine}\nload average before: {load_before:.1}");
        if machine.has_no_disk() {
            eprintln!("Warning: the folder for temporary files is not on a disk; name one that is in TMPDIR.");
        }
        Ok(Header { command, machine, load_before })
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Writes the document, if a file is named.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn end<R: Serialize>(self, outputs: &Outputs, results: R) -> Outcome<()> {
        let after = load_average();
        println!("load average after: {after:.1}");
        let document = Document {
            command: self.command,
            arguments: std::env::args().skip(1).collect(),
            machine: self.machine,
            load_average_before: self.load_before,
            load_average_after: after,
            results,
        };
        outputs.json.as_deref().map_or(Ok(()), |path| write_json(path, &document))
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Outcome<()> {
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let mut file = BufWriter::new(File::create(path).map_err(|error| failed(&error))?);
    serde_json::to_writer_pretty(&mut file, value).map_err(|error| failed(&error))?;
    file.write_all(b"\n").and_then(|()| file.flush()).map_err(|error| failed(&error))?;
    Ok(())
}

/// How long requests took, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    /// How many there were.
    pub count: u64,
    /// On average.
    pub mean_ms: f64,
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// 999 of 1000 took no longer.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Latency {
    /// Of nanoseconds.
    pub fn of(histogram: &Histogram<u64>) -> Latency {
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
        Latency {
            count: histogram.len(),
            mean_ms: histogram.mean() / 1e6,
            p50_ms: at(0.50),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1e6,
        }
    }

    /// Its cells in a table: p50, p99, p99.9, max.
    pub fn cells(&self) -> [String; 4] {
        [self.p50_ms, self.p99_ms, self.p999_ms, self.max_ms].map(|ms| format!("{ms:.3}"))
    }
}

/// One load's figures.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// Requests that were answered.
    pub requests: u64,
    /// From the first request to the last reply.
    pub seconds: f64,
    /// Requests a second.
    pub requests_per_s: f64,
    /// Which share of the GETs found their key; null without GETs.
    pub hit_rate: Option<f64>,
    /// What became of them.
    #[serde(flatten)]
    pub counts: Counts,
    /// By kind.
    pub latency: BTreeMap<Kind, Latency>,
}

impl Figures {
    /// Of what was measured.
    pub fn of(measured: &Measured) -> Figures {
        Figures {
            requests: measured.requests(),
            seconds: measured.elapsed.as_secs_f64(),
            requests_per_s: measured.rate(),
            hit_rate: measured.counts.hit_rate(),
            counts: measured.counts.clone(),
            latency: measured.latencies.iter().map(|(kind, histogram)| (*kind, Latency::of(histogram))).collect(),
        }
    }

    /// The latency of a kind; of nothing if there were none.
    pub fn latency_of(&self, kind: Kind) -> Latency {
        self.latency.get(&kind).copied().unwrap_or_default()
    }
}

/// A table for a terminal, with numbers from this column on.
pub fn terminal_table(header: &[&str], numbers_from: usize, rows: Vec<Vec<String>>) -> Table {
    table(UTF8_FULL_CONDENSED, header, numbers_from, rows)
}

/// A table in Markdown, with numbers from this column on.
pub fn markdown_table(header: &[&str], numbers_from: usize, rows: Vec<Vec<String>>) -> String {
    table(ASCII_MARKDOWN, header, numbers_from, rows).trim_fmt()
}

fn table(style: TableStyle, header: &[&str], numbers_from: usize, rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(style);
    table.set_header(header.to_vec());
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    for place in numbers_from..table.column_count() {
        if let Some(column) = table.column_mut(place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The middle of figures; between the two middle ones if there is an even number of them. None of none.
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0) }
}

/// `12,345`
pub fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_few() {
        assert_eq!((median(&[]), median(&[1.0]), median(&[3.0, 1.0])), (None, Some(1.0), Some(2.0)));
        assert_eq!(
            (thousands(999.6), thousands(1_234_567.0), thousands(12.0)),
            ("1,000".into(), "1,234,567".into(), "12".into())
        );
    }

    #[test]
    fn latencies_are_in_milliseconds() {
        let mut histogram = Histogram::new(3).unwrap();
        (1..=1000_u64).for_each(|number| histogram.record(number * 1_000_000).unwrap());
        let latency = Latency::of(&histogram);
        assert_eq!((latency.p50_ms.round(), latency.p99_ms.round(), latency.count), (500.0, 990.0, 1000));
        assert!((latency.p999_ms - 999.0).abs() < 2.0 && latency.max_ms >= 1000.0, "{latency:?}");
    }

    #[test]
    fn markdown_is_a_table() {
        let text = markdown_table(&["a", "b"], 1, vec![vec!["x".into(), "1".into()]]);
        assert!(text.lines().count() == 3 && text.lines().all(|line| line.starts_with('|')), "{text}");
    }
}
