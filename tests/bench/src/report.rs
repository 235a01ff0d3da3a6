//! From what was measured to tables.

use comfy_table::presets::{ASCII_MARKDOWN, UTF8_FULL_CONDENSED};
use comfy_table::{CellAlignment, Table, TableStyle};

use crate::load::Measured;
use crate::system::System;

/// A load: a test and how many requests are under way on each connection; or the closed loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// `redis-benchmark -t … -P …`.
    Benchmark(&'static str, u64),
    /// One client that waits for each reply to its SET.
    ClosedLoop,
}

impl Load {
    /// For a row's head.
    pub fn title(self) -> String {
        match self {
            Load::Benchmark(test, pipeline) => format!("{} -P {pipeline}", test.to_uppercase()),
            Load::ClosedLoop => "SET, one client".into(),
        }
    }
}

/// One load on one system in one round.
#[derive(Clone, Debug)]
pub struct Cell {
    /// What was measured.
    pub system: System,
    /// With what.
    pub load: Load,
    /// The client's figures.
    pub measured: Measured,
    /// Processor time for each request on the leader.
    pub leader_us: f64,
    /// Processor time for each request on all others together.
    pub followers_us: f64,
    /// The share of the machine that others used meanwhile.
    pub others_share: f64,
}

/// All cells of all rounds.
#[derive(Debug, Default)]
pub struct Report {
    cells: Vec<Cell>,
}

impl Report {
    /// Takes one more.
    pub fn add(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    /// The figures of one load on one system, sorted.
    fn sorted(&self, system: System, load: Load, figure: impl Fn(&Cell) -> f64) -> Vec<f64> {
        let cells = self.cells.iter().filter(|cell| cell.system == system && cell.load == load);
        let mut figures: Vec<f64> = cells.map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures
    }

    fn median(&self, system: System, load: Load, figure: impl Fn(&Cell) -> f64) -> Option<f64> {
        median(&self.sorted(system, load, figure))
    }

    /// What was measured, in the order it first was.
    fn loads(&self) -> Vec<Load> {
        let mut loads = Vec::new();
        for cell in &self.cells {
            if !loads.contains(&cell.load) {
                loads.push(cell.load);
            }
        }
        loads
    }

    /// Everything about every cell, for a terminal.
    pub fn details(&self, systems: &[System]) -> Table {
        let mut table = new_table(UTF8_FULL_CONDENSED);
        table.set_header([
            "load",
            "system",
            "requests/s",
            "least",
            "most",
            "p50 ms",
            "p99 ms",
            "CPU µs leader",
            "others",
            "else %",
        ]);
        for load in self.loads() {
            for &system in systems {
                let rates = self.sorted(system, load, |cell| cell.measured.requests_per_s);
                let (Some(rate), Some(least), Some(most)) = (median(&rates), rates.first(), rates.last()) else {
                    continue;
                };
                let figure = |figure: fn(&Cell) -> f64| self.median(system, load, figure).unwrap_or(f64::NAN);
                table.add_row([
                    load.title(),
                    system.title().to_owned(),
                    thousands(rate),
                    thousands(*least),
                    thousands(*most),
                    format!("{:.2}", figure(|cell| cell.measured.p50_ms)),
                    format!("{:.2}", figure(|cell| cell.measured.p99_ms)),
                    format!("{:.1}", figure(|cell| cell.leader_us)),
                    format!("{:.1}", figure(|cell| cell.followers_us)),
                    format!("{:.0}", figure(|cell| cell.others_share * 100.0)),
                ]);
            }
        }
        align_right(&mut table, 2);
        table
    }

    /// Medians and how Talon compares, in Markdown.
    pub fn markdown(&self, systems: &[System]) -> String {
        let mut rates = new_table(ASCII_MARKDOWN);
        let ratio_of = [System::Talon, System::Redis];
        let with_ratio = ratio_of.iter().all(|system| systems.contains(system));
        let mut header = vec!["requests/s".to_owned()];
        header.extend(systems.iter().map(|system| system.title().to_owned()));
        header.extend(with_ratio.then(|| "Talon : replicated Redis".to_owned()));
        rates.set_header(header);
        let mut latencies = new_table(ASCII_MARKDOWN);
        latencies.set_header(["one client, SET after SET", "p50 ms", "p99 ms", "requests/s"]);
        for load in self.loads() {
            let rate = |system| self.median(system, load, |cell| cell.measured.requests_per_s);
            if load == Load::ClosedLoop {
                for &system in systems {
                    let figure = |figure: fn(&Cell) -> f64| self.median(system, load, figure).unwrap_or(f64::NAN);
                    latencies.add_row([
                        system.title().to_owned(),
                        format!("{:.2}", figure(|cell| cell.measured.p50_ms)),
                        format!("{:.2}", figure(|cell| cell.measured.p99_ms)),
                        rate(system).map_or("–".into(), thousands),
                    ]);
                }
                continue;
            }
            let mut row = vec![load.title()];
            row.extend(systems.iter().map(|&system| rate(system).map_or("–".into(), thousands)));
            if with_ratio {
                let ratio = rate(System::Talon).zip(rate(System::Redis)).map(|(talon, redis)| talon / redis);
                row.push(ratio.map_or("–".into(), |ratio| format!("{ratio:.2}")));
            }
            rates.add_row(row);
        }
        let tables = [rates, latencies].into_iter().filter(|table| !table.is_empty());
        tables
            .map(|mut table| {
                align_right(&mut table, 1);
                format!("{}\n", table.trim_fmt())
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The share of the machine that others used: its median over all cells, and the most in one.
    pub fn others_share(&self) -> (f64, f64) {
        let mut shares: Vec<f64> = self.cells.iter().map(|cell| cell.others_share).collect();
        shares.sort_by(f64::total_cmp);
        (median(&shares).unwrap_or(f64::NAN), shares.last().copied().unwrap_or(f64::NAN))
    }
}

fn new_table(style: TableStyle) -> Table {
    let mut table = Table::new();
    table.load_style(style);
    table
}

fn align_right(table: &mut Table, from: usize) {
    for place in from..table.column_count() {
        if let Some(column) = table.column_mut(place) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// The middle of sorted figures; between the two middle ones if there is an even number of them.
fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 { Some(upper) } else { Some((sorted[sorted.len() / 2 - 1] + upper) / 2.0) }
}

/// `12,345`
fn thousands(number: f64) -> String {
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

    fn cell(system: System, load: Load, requests_per_s: f64) -> Cell {
        let measured = Measured { requests_per_s, p50_ms: 0.5, p99_ms: 2.0 };
        Cell { system, load, measured, leader_us: 7.0, followers_us: 12.0, others_share: 0.25 }
    }

    #[test]
    fn medians_and_ratios() {
        let mut report = Report::default();
        let set = Load::Benchmark("set", 16);
        for (talon, redis) in [(100_000.0, 50_000.0), (900_000.0, 40_000.0), (110_000.0, 55_000.0)] {
            report.add(cell(System::Talon, set, talon));
            report.add(cell(System::Redis, set, redis));
        }
        report.add(cell(System::Talon, Load::ClosedLoop, 900.0));
        let markdown = report.markdown(&[System::Talon, System::Redis]);
        let words = |line: &str| line.split('|').map(|word| word.trim().to_owned()).collect::<Vec<_>>();
        let lines: Vec<Vec<String>> = markdown.lines().map(words).collect();
        assert_eq!(lines[2], ["", "SET -P 16", "110,000", "50,000", "2.20", ""], "{markdown}");
        assert!(lines.contains(&words("|Talon, 3 nodes|0.50|2.00|900|")), "{markdown}");
        assert!(report.details(&[System::Talon]).to_string().contains("900,000"), "the most is shown");
        assert_eq!(report.others_share(), (0.25, 0.25));
    }

    #[test]
    fn the_middle_of_few() {
        assert_eq!((median(&[]), median(&[1.0]), median(&[1.0, 3.0])), (None, Some(1.0), Some(2.0)));
        assert_eq!(
            (thousands(999.6), thousands(1_234_567.0), thousands(12.0)),
            ("1,000".into(), "1,234,567".into(), "12".into())
        );
    }
}
