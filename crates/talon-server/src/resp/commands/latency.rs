//! `LATENCY …`: long batches, and how long the batches of each command took.

use std::fmt::Write;

use bytes::Bytes;
use talon_core::{Flag, Group, Refusal, Reply};

use super::{help, text};
use crate::resp::histogram::Histogram;
use crate::resp::latency::Sample;
use crate::resp::session::Context;
use crate::resp::table::{Action, ServerCommand, facts, now};

const ADMIN: &[Flag] = &[Flag::Admin, Flag::Noscript, Flag::Loading, Flag::Stale];

/// The rows of this family.
pub(super) static ROWS: &[ServerCommand] = &[ServerCommand {
    facts: facts("latency", -2, &[], Group::Server, "2.8.13", "A container for commands about latency."),
    action: Action::Container { rows: SUBCOMMANDS, bare: None },
}];

static SUBCOMMANDS: &[ServerCommand] = &[
    now(facts("latency|latest", 2, ADMIN, Group::Server, "2.8.13", "Answers the latest long batches."), latest),
    now(facts("latency|history", 3, ADMIN, Group::Server, "2.8.13", "Answers the samples of an event."), history),
    now(
        facts("latency|reset", -2, ADMIN, Group::Server, "2.8.13", "Forgets the samples of events."),
        |context, args| Ok(Reply::Integer(context.shared.latency.reset(&args[1..]) as i64)),
    ),
    now(facts("latency|doctor", 2, ADMIN, Group::Server, "2.8.13", "Tells in words what was long."), doctor),
    now(
        facts(
            "latency|histogram",
            -2,
            ADMIN,
            Group::Server,
            "7.0.0",
            "Answers for each command how many of its batches took at most so long.",
        ),
        histogram,
    ),
    now(
        facts("latency|help", 2, &[Flag::Loading, Flag::Stale], Group::Server, "2.8.13", "Lists the subcommands."),
        |_, _| Ok(help("LATENCY", SUBCOMMANDS)),
    ),
];

fn latest(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    let events = context.shared.latency.all();
    let events = events.into_iter().filter_map(|(event, series)| {
        let last = series.samples.back()?;
        Some(Reply::Array(vec![
            Reply::bulk(event.name()),
            Reply::Integer(last.unix_s as i64),
            Reply::Integer(last.ms as i64),
            Reply::Integer(series.max_ms as i64),
        ]))
    });
    Ok(Reply::Array(events.collect()))
}

fn history(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let samples = context.shared.latency.named(&args[1]).map(|(_, series)| series.samples).unwrap_or_default();
    let pair = |Sample { unix_s, ms }| Reply::Array(vec![Reply::Integer(unix_s as i64), Reply::Integer(ms as i64)]);
    Ok(Reply::Array(samples.into_iter().map(pair).collect()))
}

fn doctor(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Refusal> {
    let Some(threshold) = context.shared.tunables.latency_from() else {
        return Ok(text(
            "Latency is not watched. \"CONFIG SET latency-monitor-threshold <milliseconds>\" begins to watch it.\n",
        ));
    };
    let events = context.shared.latency.all();
    if events.is_empty() {
        return Ok(text(format!("No batch of commands took {} ms or longer.\n", threshold.as_millis())));
    }
    let mut out = format!("Batches of commands that took {} ms or longer:\n", threshold.as_millis());
    for (event, series) in events {
        let sum: u64 = series.samples.iter().map(|sample| sample.ms).sum();
        let count = series.samples.len().max(1) as u64;
        // Writing to a string cannot fail.
        let _ = writeln!(
            out,
            "- {}: in {count} seconds; the longest of a second took {} ms on average, and the longest of all {} ms.",
            event.name(),
            sum / count,
            series.max_ms
        );
    }
    out.push_str(
        "SLOWLOG GET shows which commands they were; on a leader a write also waits for the disks of a majority.\n",
    );
    Ok(text(out))
}

fn histogram(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Refusal> {
    let wanted = &args[1..];
    let is_wanted = |name: &str| {
        wanted.is_empty()
            || wanted.iter().any(|wanted| {
                let container = name.split_once('|').map_or("", |(container, _)| container);
                wanted.eq_ignore_ascii_case(name.as_bytes()) || wanted.eq_ignore_ascii_case(container.as_bytes())
            })
    };
    let histograms =
        context.shared.metrics.latencies().filter(|(name, histogram)| is_wanted(name) && histogram.count() > 0);
    Ok(Reply::Map(histograms.map(|(name, histogram)| (Reply::bulk(name), described(histogram))).collect()))
}

fn described(histogram: &Histogram) -> Reply {
    let pair = |(usec, count)| (Reply::Integer(usec as i64), Reply::Integer(count as i64));
    Reply::Map(vec![
        (Reply::bulk("calls"), Reply::Integer(histogram.count() as i64)),
        (Reply::bulk("histogram_usec"), Reply::Map(histogram.cumulative().into_iter().map(pair).collect())),
    ])
}
