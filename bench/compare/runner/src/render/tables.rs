//! Tables of the text.

use std::collections::{BTreeMap, BTreeSet};

use crate::metric::Metric;
use crate::minimal::BARE;
use crate::peers::{FLOOR, OURS, is_other};
use crate::table::{Key, Table, is_ours};
use crate::targets::{self, Outcome, Target};

/// What stands behind a figure that another peer betters.
const LOSES: &str = "▼";

/// What stands where there is no figure.
const NONE: &str = "–";

/// Peers by sockets, for one metric: median, spread, ratio to the floor; and below how this project stands. Nothing without figures.
pub(super) fn comparison(table: &Table<'_>, keys: &[Key], metric: Metric) -> Option<String> {
    let has_figure = |key: &Key| {
        table
            .peers(*key)
            .iter()
            .any(|peer| table.summary(*key, peer, metric).is_some())
    };
    let keys: Vec<Key> = keys.iter().copied().filter(has_figure).collect();
    let first = *keys.first()?;
    let mut rows: Vec<String> = Vec::new();
    let mut seen = BTreeSet::new();
    let all_peers = keys.iter().flat_map(|key| table.peers(*key));
    let mut peers: Vec<String> = all_peers.filter(|peer| seen.insert(peer.clone())).collect();
    // Columns may differ in who is in them; the order of the first is that of all.
    peers.sort_by_key(|peer| {
        table
            .peers(first)
            .iter()
            .position(|name| name == peer)
            .unwrap_or(usize::MAX)
    });
    for peer in &peers {
        let mut figures: Vec<String> = keys.iter().map(|key| figure(table, *key, peer, metric)).collect();
        // Who does none of it says why, in the first place where there is room.
        if let Some(reason) = table
            .absent(first, peer)
            .filter(|_| figures.iter().all(|figure| figure == NONE))
        {
            figures[0] = format!("{NONE} {reason}");
        }
        let name = if is_ours(peer) {
            format!("**{peer}**")
        } else {
            peer.clone()
        };
        rows.push(format!("| {name} | {} |\n", figures.join(" | ")));
    }
    let stands: Vec<String> = keys.iter().map(|key| standing(table, *key, metric)).collect();
    rows.push(format!("| *ours ÷ best other* | {} |\n", stands.join(" | ")));
    let columns: Vec<String> = keys.iter().map(|key| key.column()).collect();
    let better = if metric.more_is_better() {
        "more is better"
    } else {
        "less is better"
    };
    let floor = match metric.has_floor()
        && keys
            .iter()
            .any(|key| table.median(*key, floor(*key), metric).is_some())
    {
        true => format!("; after · the ratio to {}", floor(first)),
        false => String::new(),
    };
    Some(format!(
        "{} ({better}{floor})\n\n| | {} |\n|---|{}\n{}",
        metric.title(),
        columns.join(" | "),
        "---|".repeat(columns.len()),
        rows.concat()
    ))
}

fn floor(key: Key) -> &'static str {
    if key == Key::Build { BARE } else { FLOOR }
}

/// A peer's ratio to the floor, where there is a sense in comparing with it.
fn to_floor(table: &Table<'_>, key: Key, peer: &str, metric: Metric) -> Option<f64> {
    if peer == floor(key) || !metric.has_floor() {
        return None;
    }
    table.ratio(key, peer, floor(key), metric)
}

fn figure(table: &Table<'_>, key: Key, peer: &str, metric: Metric) -> String {
    let Some(summary) = table.summary(key, peer, metric) else {
        return NONE.to_owned();
    };
    let [median, min, max] = [summary.median, summary.min, summary.max].map(|value| metric.write(value));
    let mut text = median;
    if min != max {
        text += &format!(" [{min}–{max}]");
    }
    if let Some(to_floor) = to_floor(table, key, peer, metric) {
        text += &format!(" · {to_floor:.2}");
    }
    if peer == OURS && is_behind(table, key, metric) {
        text += &format!(" {LOSES}");
    }
    text
}

fn is_behind(table: &Table<'_>, key: Key, metric: Metric) -> bool {
    let ours = table.median(key, OURS, metric);
    let best = table.best_other(key, metric);
    ours.zip(best)
        .is_some_and(|(ours, (_, best))| metric.is_better(best.median, ours))
}

fn standing(table: &Table<'_>, key: Key, metric: Metric) -> String {
    let best = table.best_other(key, metric);
    best.and_then(|(peer, _)| Some(format!("{:.2} ({peer})", table.ratio(key, OURS, &peer, metric)?)))
        .unwrap_or_else(|| NONE.to_owned())
}

/// A target that no cell of a run measures.
const SCALING: &str = "| scaling | calls/s per core from one core to two; p99 of small calls beside a slow or huge one on other connections | flat; ≤ 1.1 | | see the notes |\n";

/// Every target, and whether it is reached.
pub(super) fn targets(table: &Table<'_>) -> String {
    let targets = targets::targets(table);
    let count = |outcome| {
        targets
            .iter()
            .filter(|target| target.outcome() == outcome)
            .count()
    };
    let mut text = format!(
        "Of {} figures {} reach their target, {} do not (in bold), {} were not measured in this run. Ratios are medians of those within a repetition. What stands in the way of those that do not is in the notes below.\n\n| | | target | measured | |\n|---|---|---|---|---|\n",
        targets.len(),
        count(Outcome::Reached),
        count(Outcome::NotReached),
        count(Outcome::NotMeasured)
    );
    let mut rows: Vec<Vec<&Target>> = Vec::new();
    for target in &targets {
        match rows.iter_mut().find(|row| belong_together(row[0], target)) {
            Some(row) => row.push(target),
            None => rows.push(vec![target]),
        }
    }
    text.extend(rows.iter().map(|row| target_row(row)));
    text + SCALING
}

/// Whether the same is asked of both, over different sockets.
fn belong_together(one: &Target, other: &Target) -> bool {
    one.key.subject() == other.key.subject() && one.what == other.what && one.limit == other.limit
}

fn target_row(row: &[&Target]) -> String {
    let outcomes: Vec<Outcome> = row.iter().map(|target| target.outcome()).collect();
    let outcome = match (
        outcomes.contains(&Outcome::Reached),
        outcomes.contains(&Outcome::NotReached),
    ) {
        (true, false) => "reached",
        (true, true) => "in part",
        (false, true) => "**not reached**",
        (false, false) => "not measured",
    };
    let figures: Vec<String> = row.iter().filter_map(|target| target_figure(target)).collect();
    let first = row[0];
    format!(
        "| {} | {} | {} | {} | {outcome} |\n",
        first.key.subject(),
        first.what,
        first.limit,
        figures.join(", ")
    )
}

fn target_figure(target: &Target) -> Option<String> {
    let best = target
        .best
        .as_ref()
        .map_or_else(String::new, |peer| format!(" ({peer})"));
    let figure = format!("{:.2}{best}", target.value?);
    let figure = if target.outcome() == Outcome::Reached {
        figure
    } else {
        format!("**{figure}**")
    };
    Some(match target.key {
        Key::Run { .. } => format!("{} {figure}", target.key.column()),
        Key::Build => figure,
    })
}

/// Every figure in which another peer is ahead.
pub(super) fn losses(table: &Table<'_>) -> String {
    const METRICS: [Metric; 10] = [
        Metric::P50,
        Metric::P99,
        Metric::P999,
        Metric::Rate,
        Metric::CpuPerMillion,
        Metric::GibPerSecond,
        Metric::IdleKib,
        Metric::Allocations,
        Metric::BuildSeconds,
        Metric::Crates,
    ];
    let mut rows = String::new();
    for key in table.keys() {
        for metric in METRICS
            .into_iter()
            .filter(|metric| is_behind(table, key, *metric))
        {
            rows += &loss(table, key, metric).unwrap_or_default();
        }
    }
    if rows.is_empty() {
        return "In none of the figures of this run is another framework ahead.\n".to_owned();
    }
    format!(
        "Every figure in which another framework is ahead; {LOSES} marks them in the tables.\n\n| | | this project | ahead |\n|---|---|---|---|\n{rows}"
    )
}

fn loss(table: &Table<'_>, key: Key, metric: Metric) -> Option<String> {
    let ours = table.median(key, OURS, metric)?;
    let (peer, best) = table.best_other(key, metric)?;
    Some(format!(
        "| {} | {} | {} | {} ({peer}) |\n",
        key.name(),
        metric.title(),
        metric.write(ours),
        metric.write(best.median)
    ))
}

/// Who was not built, who does not do what, and what went wrong.
pub(super) fn left_out(table: &Table<'_>) -> String {
    let mut lines = BTreeSet::new();
    for left_out in &table.results.left_out {
        lines.insert(format!("- {}: {}; left out\n", left_out.peer, left_out.reason));
    }
    let mut absent: BTreeMap<(&str, &str), BTreeSet<String>> = BTreeMap::new();
    for report in table.reports() {
        if let Some(reason) = &report.absent {
            let places = absent.entry((&report.peer, reason)).or_default();
            places.insert(format!("{} {}", report.workload, report.runtime));
        }
    }
    for ((peer, reason), places) in absent {
        let places: Vec<String> = places.into_iter().collect();
        lines.insert(format!("- {peer}, {}: {reason}\n", places.join(", ")));
    }
    for failed in &table.results.failures {
        lines.insert(format!(
            "- {}, {}: failed: {}\n",
            failed.peer, failed.cell, failed.error
        ));
    }
    if lines.is_empty() {
        return "Nobody and nothing.\n".to_owned();
    }
    lines.into_iter().collect()
}

/// What the programs say about how they were set.
pub(super) fn settings(table: &Table<'_>) -> String {
    let mut notes: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for report in table.reports() {
        if let Some(note) = &report.note {
            notes
                .entry((&report.peer, note))
                .or_default()
                .insert(report.workload.name());
        }
    }
    let line = |((peer, note), workloads): ((&str, &str), BTreeSet<&str>)| {
        let workloads: Vec<&str> = workloads.into_iter().collect();
        format!("- {peer} ({}): {note}\n", workloads.join(", "))
    };
    let lines: String = notes.into_iter().map(line).collect();
    format!(
        "Each is tuned as its own documentation advises; where that is, is in the sources in [bench/compare/peers](bench/compare/peers). What is not named here is at its default.\n\n{lines}"
    )
}

/// Peers that a chart shows: this project without its variants, floors, others.
pub(super) fn shown(table: &Table<'_>, key: Key) -> Vec<String> {
    let peers = table.peers(key).into_iter();
    peers
        .filter(|peer| peer == OURS || !is_ours(peer) || is_other(peer))
        .collect()
}

#[cfg(test)]
mod tests {
    use harness::{RuntimeKind, Transport, Workload};

    use super::*;
    use crate::results::tests::{report, results};

    const KEY: Key = Key::run(Workload::W5s, Transport::Unix, RuntimeKind::Ct);

    fn with_gib(peer: &str, gib: f64) -> harness::Report {
        let mut report = report(peer, Workload::W5s, Transport::Unix, RuntimeKind::Ct);
        report.bytes_per_second = Some(gib * f64::from(1 << 30));
        report
    }

    #[test]
    fn a_row_where_this_project_loses_is_there_and_marked() {
        let results = results(vec![
            with_gib(OURS, 2.0),
            with_gib(OURS, 3.0),
            with_gib(FLOOR, 5.0),
            with_gib(FLOOR, 5.0),
            with_gib("volo", 4.0),
            with_gib("volo", 4.0),
        ]);
        let table = Table::new(&results);
        let text = comparison(&table, &[KEY], Metric::GibPerSecond).unwrap();
        assert!(
            text.contains("| **ours** | 2.50 [2.00–3.00] · 0.50 ▼ |"),
            "{text}"
        );
        assert!(text.contains("| volo | 4.00 · 0.80 |"), "{text}");
        assert!(text.contains("| *ours ÷ best other* | 0.62 (volo) |"), "{text}");
        assert!(losses(&table).contains("| W5s Unix ct | GiB/s | 2.50 | 4.00 (volo) |"));
        assert_eq!(comparison(&table, &[KEY], Metric::P50), None);
    }

    #[test]
    fn a_target_is_one_row_for_all_sockets() {
        let unix = |peer, gib| {
            let mut report = with_gib(peer, gib);
            report.workload = Workload::W5l;
            report
        };
        let tcp = |peer, gib| {
            let mut report = unix(peer, gib);
            report.transport = Transport::Tcp;
            report
        };
        let results = results(vec![
            unix(OURS, 2.0),
            unix("vox", 0.4),
            unix("tarpc", 0.2),
            tcp(OURS, 2.0),
            tcp("vox", 0.5),
        ]);
        let text = targets(&Table::new(&results));
        let row =
            "| W5l | GiB/s ÷ best other | ≥ 4.5 | TCP ct **4.00 (vox)**, Unix ct 5.00 (vox) | in part |";
        assert!(text.contains(row), "{text}");
        assert!(text.contains("1 reach their target, 1 do not"), "{text}");
    }

    #[test]
    fn who_does_not_do_it_says_so_in_its_row() {
        let mut absent = with_gib("vox", 0.0);
        absent.bytes_per_second = None;
        absent.absent = Some("refuses it".into());
        let results = results(vec![with_gib(OURS, 2.0), absent]);
        let text = comparison(&Table::new(&results), &[KEY], Metric::GibPerSecond).unwrap();
        assert!(text.contains("| vox | – refuses it |"), "{text}");
        assert!(!text.contains("the ratio to"), "{text}");
    }

    #[test]
    fn reasons_are_told_once() {
        let mut absent = report("volo", Workload::W5l, Transport::Tcp, RuntimeKind::Ct);
        absent.absent = Some("refuses bodies above 16 MiB".into());
        let results = results(vec![absent.clone(), absent]);
        let text = left_out(&Table::new(&results));
        assert_eq!(text, "- volo, W5l ct: refuses bodies above 16 MiB\n");
    }
}
