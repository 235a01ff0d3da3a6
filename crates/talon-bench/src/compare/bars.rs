//! What Talon is to reach beside its peers, and whether it does.

use std::path::Path;

use serde::Serialize;

use super::cells::Cell;
use super::systems::System;
use super::{Entry, Options, median_of};
use crate::Outcome;
use crate::machine::Machine;
use crate::picture::{self, Bar};
use crate::report::thousands;

/// The head of the table.
pub const HEAD: [&str; 7] = ["", "Talon", "peer", "ratio", "at least", "aim", ""];
const P999_MS_MAX: f64 = 25.0;
const P999_MS_AIM: f64 = 10.0;

/// Which figure of a cell.
#[derive(Clone, Copy, PartialEq)]
enum Figure {
    /// Requests a second: more is better.
    Rate,
    /// The median latency: less is better.
    P50,
}

/// One row of the table.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    name: String,
    peer: String,
    unit: &'static str,
    talon: Option<f64>,
    of_peer: Option<f64>,
    /// How many times better than the peer.
    ratio: Option<f64>,
    least: Option<f64>,
    aim: Option<f64>,
    /// Whether the least is reached; none if something was not measured.
    passes: Option<bool>,
}

impl Verdict {
    /// Its cells in the table.
    pub fn cells(&self) -> Vec<String> {
        let number = |figure: Option<f64>| match figure {
            None => "–".to_owned(),
            Some(figure) if self.unit == "ms" => format!("{figure:.2} ms"),
            Some(figure) => thousands(figure),
        };
        let times = |figure: Option<f64>| figure.map_or(String::new(), |figure| format!("{figure:.2}"));
        vec![
            format!("{}, beside {}", self.name, self.peer),
            number(self.talon),
            number(self.of_peer),
            times(self.ratio),
            times(self.least),
            times(self.aim),
            self.passes.map_or("not measured", |passes| if passes { "pass" } else { "short" }).to_owned(),
        ]
    }
}

/// Judges what was measured.
pub fn judge(entries: &[Entry], pipelines: &[u64]) -> Vec<Verdict> {
    let beside = |cell: Cell, peer: System, figure: Figure, least: Option<f64>, aim: Option<f64>| {
        let of = |system| {
            median_of(entries, system, cell, |entry| {
                Some(if figure == Figure::Rate { entry.sample.requests_per_s } else { entry.sample.p50_ms })
            })
        };
        let (talon, of_peer) = (of(System::Talon), of(peer));
        let ratio =
            talon.zip(of_peer).map(|(talon, peer)| if figure == Figure::Rate { talon / peer } else { peer / talon });
        Verdict {
            name: if figure == Figure::Rate { cell.title() } else { format!("{}, p50", cell.title()) },
            peer: peer.title().to_owned(),
            unit: if figure == Figure::Rate { "requests/s" } else { "ms" },
            talon,
            of_peer,
            ratio,
            least,
            aim,
            passes: ratio.zip(least.or(aim)).map(|(ratio, least)| ratio >= least),
        }
    };
    let replicas = System::RedisReplicas;
    let mut rows = Vec::new();
    for test in ["set", "incr"] {
        rows.extend(
            pipelines
                .iter()
                .map(|&pipeline| beside(Cell::Benchmark(test, pipeline), replicas, Figure::Rate, Some(1.0), Some(1.5))),
        );
    }
    rows.push(beside(Cell::ManyClients, System::Etcd, Figure::Rate, Some(4.0), Some(10.0)));
    let shared = pipelines.iter().filter(|&&pipeline| pipeline > 1);
    rows.extend(
        pipelines
            .iter()
            .map(|&pipeline| Cell::Benchmark("get", pipeline))
            .chain(shared.map(|&pipeline| Cell::InTurn(pipeline)))
            .map(|cell| beside(cell, replicas, Figure::Rate, Some(0.8), Some(1.0))),
    );
    rows.extend(
        pipelines.iter().map(|&pipeline| beside(Cell::Follower(pipeline), replicas, Figure::Rate, Some(1.0), None)),
    );
    rows.push(beside(Cell::OneClient, System::Etcd, Figure::P50, Some(2.0), None));
    rows.push(beside(Cell::OneClient, replicas, Figure::P50, None, Some(1.0)));
    let p999 = median_of(entries, System::Talon, Cell::HalfRate, |entry| entry.sample.p999_ms);
    rows.push(Verdict {
        name: format!("{}, p99.9", Cell::HalfRate.title()),
        peer: format!("a bound of {P999_MS_MAX} ms"),
        unit: "ms",
        talon: p999,
        of_peer: Some(P999_MS_MAX),
        ratio: p999.map(|ms| P999_MS_MAX / ms),
        least: Some(1.0),
        aim: Some(P999_MS_MAX / P999_MS_AIM),
        passes: p999.map(|ms| ms <= P999_MS_MAX),
    });
    rows
}

/// Draws the rates beside the replicated Redis's.
///
/// # Errors
/// If the file cannot be written.
pub fn draw(path: &Path, options: &Options, machine: &Machine, entries: &[Entry]) -> Outcome<()> {
    let systems: Vec<System> = options.systems.iter().copied().filter(|system| *system != System::Etcd).collect();
    let tests = ["set", "incr", "get"];
    let cells = tests.into_iter().flat_map(|test| options.pipelines.iter().map(move |&pipeline| (test, pipeline)));
    let groups: Vec<(String, Vec<Option<Bar>>)> = cells
        .map(|(test, pipeline)| {
            let cell = Cell::Benchmark(test, pipeline);
            let rate = |system| median_of(entries, system, cell, |entry| Some(entry.sample.requests_per_s));
            let one = rate(System::RedisReplicas).or_else(|| rate(System::Talon)).unwrap_or(1.0);
            let bar = |system| {
                rate(system)
                    .map(|rate| Bar { ratio: rate / one, label: format!("{} ({:.2}×)", thousands(rate), rate / one) })
            };
            (cell.title(), systems.iter().map(|&system| bar(system)).collect())
        })
        .collect();
    let names: Vec<String> = systems.iter().map(|system| system.title().to_owned()).collect();
    let title = "redis-benchmark -c 50 -d 64: requests a second; the line: Redis with two replicas, all fsync always";
    picture::bars(path, title, &machine.to_string(), &names, &groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Sample;

    fn entry(system: System, cell: Cell, requests_per_s: f64, p50_ms: f64) -> Entry {
        let sample = Sample { requests_per_s, p50_ms, ..Sample::default() };
        let zero = 0.0;
        Entry {
            round: 1,
            system,
            name: cell.title(),
            cell,
            sample,
            leader_us: zero,
            followers_us: zero,
            client_us: zero,
            others_share: zero,
        }
    }

    #[test]
    fn medians_are_judged() {
        let set = Cell::Benchmark("set", 16);
        let mut entries = Vec::new();
        for (talon, redis) in [(100.0, 50.0), (900.0, 40.0), (110.0, 120.0)] {
            entries.push(entry(System::Talon, set, talon, 1.0));
            entries.push(entry(System::RedisReplicas, set, redis, 1.0));
        }
        entries.push(entry(System::Talon, Cell::OneClient, 1000.0, 1.0));
        entries.push(entry(System::Etcd, Cell::OneClient, 500.0, 1.9));
        let verdicts = judge(&entries, &[16]);
        assert_eq!(verdicts[0].cells()[1..], ["110", "50", "2.20", "1.00", "1.50", "pass"]);
        let one = verdicts.iter().find(|verdict| verdict.peer.contains("etcd") && verdict.unit == "ms").unwrap();
        assert_eq!((one.ratio, one.passes), (Some(1.9), Some(false)), "less is better");
        assert_eq!(verdicts.iter().find(|verdict| verdict.name.contains("follower")).unwrap().passes, None);
    }
}
