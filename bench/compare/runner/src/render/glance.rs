//! The one table for those who read only one: the floor, this project, and the best of the others.

use harness::{RuntimeKind, Transport, Workload};

use crate::metric::Metric;
use crate::minimal::BARE;
use crate::peers::{FLOOR, OURS};
use crate::table::{Key, Table};

use RuntimeKind::{Ct, Mt2};
use Transport::{Tcp, Unix};

struct Row {
    title: &'static str,
    key: Key,
    metric: Metric,
    /// Under which name this project was measured.
    ours: &'static str,
}

const ROWS: &[Row] = &[
    row(
        "One call at a time, TCP, one core (W1): p50, µs",
        Key::pinned(Tcp, Ct, false),
        Metric::P50,
    ),
    row(
        "The same over a Unix socket",
        Key::pinned(Unix, Ct, false),
        Metric::P50,
    ),
    row(
        "The same on all cores",
        Key::run(Workload::W1, Unix, Ct),
        Metric::P50,
    ),
    Row {
        ours: "ours, busy-poll 50",
        ..row(
            "The same with `busy_poll(50 µs)`",
            Key::run(Workload::W1, Unix, Ct),
            Metric::P50,
        )
    },
    row(
        "256 calls in flight (W2): calls/s",
        Key::run(Workload::W2, Tcp, Ct),
        Metric::Rate,
    ),
    row(
        "The same on multi-thread runtimes",
        Key::run(Workload::W2, Tcp, Mt2),
        Metric::Rate,
    ),
    row(
        "64 connections × 16 calls (W3): calls/s",
        Key::run(Workload::W3, Tcp, Ct),
        Metric::Rate,
    ),
    row(
        "1,000 records back (W4): calls/s",
        Key::run(Workload::W4, Tcp, Ct),
        Metric::Rate,
    ),
    row(
        "1 MiB back (W5s): GiB/s",
        Key::run(Workload::W5s, Tcp, Ct),
        Metric::GibPerSecond,
    ),
    row(
        "64 MiB back (W5l): GiB/s",
        Key::run(Workload::W5l, Tcp, Ct),
        Metric::GibPerSecond,
    ),
    row(
        "Stream of 64-byte items (W6): items/s",
        Key::run(Workload::W6, Tcp, Ct),
        Metric::Rate,
    ),
    row(
        "Idle connection (W7): KiB of the server",
        Key::run(Workload::W7, Tcp, Ct),
        Metric::IdleKib,
    ),
    row(
        "Allocations per call, both sides (W8)",
        Key::run(Workload::W8, Tcp, Ct),
        Metric::Allocations,
    ),
    row(
        "Clean build of the smallest service (W9): s",
        Key::Build,
        Metric::BuildSeconds,
    ),
    row("Its crates", Key::Build, Metric::Crates),
];

const fn row(title: &'static str, key: Key, metric: Metric) -> Row {
    Row {
        title,
        key,
        metric,
        ours: OURS,
    }
}

/// The table; its rows are of TCP and of current-thread runtimes, unless they say otherwise.
pub(crate) fn glance(table: &Table<'_>) -> String {
    let mut text = String::from("| | raw-tokio (floor) | this project | best other |\n|---|---|---|---|\n");
    // What only this project has is no row of a run in which it was not measured.
    let is_there = |row: &&Row| row.ours == OURS || table.median(row.key, row.ours, row.metric).is_some();
    for row in ROWS.iter().filter(is_there) {
        let floor = if row.key == Key::Build { BARE } else { FLOOR };
        let written = |peer| {
            let median = table.median(row.key, peer, row.metric);
            median.map_or_else(|| "–".to_owned(), |median| row.metric.write(median))
        };
        let best = table.best_other(row.key, row.metric);
        let ours = table.median(row.key, row.ours, row.metric);
        let best_is_ahead = best
            .as_ref()
            .zip(ours)
            .is_some_and(|((_, best), ours)| row.metric.is_better(best.median, ours));
        let best = best.map_or_else(
            || "–".to_owned(),
            |(peer, summary)| format!("{} ({peer})", row.metric.write(summary.median)),
        );
        let (ours, best) = match ours {
            None => (written(row.ours), best),
            Some(_) if best_is_ahead => (written(row.ours), format!("**{best}**")),
            Some(_) => (format!("**{}**", written(row.ours)), best),
        };
        text += &format!("| {} | {} | {ours} | {best} |\n", row.title, written(floor));
    }
    text + "\nTCP and current-thread runtimes on both sides unless a row says otherwise; the floor of builds is a program of tokio and rkyv alone. Bold: the best that is no floor.\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::cells;
    use crate::results::tests::{report, results};

    #[test]
    fn who_is_ahead_is_bold() {
        let with_rate = |peer, workload, rate| {
            let mut report = report(peer, workload, Tcp, Ct);
            report.per_second = Some(rate);
            report
        };
        let results = results(vec![
            with_rate(FLOOR, Workload::W2, 3e6),
            with_rate(OURS, Workload::W2, 2e6),
            with_rate("tarpc", Workload::W2, 7e5),
            with_rate(OURS, Workload::W6, 2e6),
            with_rate("tonic", Workload::W6, 1.6e7),
        ]);
        let text = glance(&Table::new(&results));
        assert!(
            text.contains("(W2): calls/s | 3.00 M | **2.00 M** | 700 k (tarpc) |"),
            "{text}"
        );
        assert!(
            text.contains("(W6): items/s | – | 2.00 M | **16.0 M (tonic)** |"),
            "{text}"
        );
        // Not measured, and only this project has it.
        assert!(!text.contains("busy_poll"), "{text}");
    }

    #[test]
    fn what_only_this_project_has_is_measured_and_shown() {
        let mut busy = report(OURS, Workload::W1, Unix, Ct);
        busy.extra.insert("busy-poll".into(), "50".into());
        busy.p50_us = Some(8.0);
        let text = glance(&Table::new(&results(vec![busy])));
        assert!(text.contains("`busy_poll(50 µs)` | – | **8.00** | – |"), "{text}");
        for row in ROWS.iter().filter(|row| row.ours != OURS) {
            let options = row.ours.trim_start_matches("ours, ");
            let mut cells = cells(false, &Workload::ALL).into_iter();
            assert!(cells.any(|cell| cell.to_string().ends_with(options)), "{options}");
        }
    }
}
