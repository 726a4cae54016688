//! The table that the tour prints.

use std::time::Duration;

use crate::client::{LINES, Run};
use crate::corpus::Corpus;

pub fn print(corpus: &Corpus, runs: &[Run], server_copied: u64) {
    println!(
        "sent     {} text files, {} over each transport",
        corpus.files.len(),
        bytes(corpus.bytes() as u64)
    );
    let Corpus {
        binary,
        too_large,
        unreadable,
        ..
    } = corpus;
    println!("left out {binary} binary, {too_large} too large, {unreadable} unreadable\n");
    if let Some(run) = runs.first() {
        for (word, count, first) in &run.found {
            let more = if *count >= LINES as usize { "or more " } else { "" };
            println!(
                "found    {count:>4} {more}lines with {word:?}, the first at {}",
                first.as_deref().unwrap_or("-")
            );
        }
    }
    println!(
        "\n{:<6} {:<21} {:>8} {:>11} {:>10} {:>10} {:>12}",
        "", "call", "calls", "calls/s", "p50", "p99", "bytes"
    );
    for run in runs {
        for stage in &run.stages {
            let mut times = stage.times.clone();
            times.sort();
            println!(
                "{:<6} {:<21} {:>8} {:>11.0} {:>10} {:>10} {:>12}",
                run.transport,
                stage.name,
                times.len(),
                times.len() as f64 / stage.took.as_secs_f64().max(1e-9),
                micros(percentile(&times, 50)),
                micros(percentile(&times, 99)),
                bytes(stage.bytes as u64),
            );
        }
    }
    let received: usize = runs
        .iter()
        .flat_map(|run| &run.stages)
        .map(|stage| stage.bytes)
        .sum();
    let client_copied: u64 = runs.iter().map(|run| run.copied).sum();
    println!(
        "\ncopied by the framework, between its own buffers, of {} that crossed the wire:",
        bytes(received as u64)
    );
    println!(
        "  {} in the client, {} in the server",
        bytes(client_copied),
        bytes(server_copied)
    );
    println!("  (small frames gathered into one write; beginnings of frames that a read had cut)");
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).copied().unwrap_or_default()
}

fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

fn bytes(count: u64) -> String {
    match count {
        0..10_000 => format!("{count} B"),
        10_000..10_000_000 => format!("{:.1} KiB", count as f64 / 1024.0),
        _ => format!("{:.1} MiB", count as f64 / 1_048_576.0),
    }
}
