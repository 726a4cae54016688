//! All reports, by what they are of: what the renderer and the targets look things up in.

use std::collections::{BTreeMap, BTreeSet};

use harness::{Report, RuntimeKind, Transport, Workload};

use crate::metric::Metric;
use crate::peers::{OURS, PEERS, is_other};
use crate::results::{Build, Results, Run};
use crate::stats::{Summary, ratio};

/// What figures have to agree in to be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// Of a peer's program.
    Run {
        workload: Workload,
        transport: Transport,
        runtime: RuntimeKind,
        pinned: bool,
        blocking: bool,
    },
    /// Of its smallest service.
    Build,
}

impl Key {
    /// Of a workload without particulars.
    pub(crate) const fn run(workload: Workload, transport: Transport, runtime: RuntimeKind) -> Self {
        Self::Run {
            workload,
            transport,
            runtime,
            pinned: matches!(workload, Workload::W8),
            blocking: false,
        }
    }

    /// Of W1 on one core.
    pub(crate) const fn pinned(transport: Transport, runtime: RuntimeKind, blocking: bool) -> Self {
        Self::Run {
            workload: Workload::W1,
            transport,
            runtime,
            pinned: true,
            blocking,
        }
    }

    fn of(report: &Report) -> Self {
        Self::Run {
            workload: report.workload,
            transport: report.transport,
            runtime: report.runtime,
            // Where there is one core only, everything is pinned; elsewhere these are.
            pinned: report.pinned && matches!(report.workload, Workload::W1 | Workload::W8),
            blocking: report.blocking,
        }
    }

    /// Its socket and its runtime.
    pub(crate) fn column(self) -> String {
        match self {
            Self::Run {
                transport, runtime, ..
            } => {
                let transport = match transport {
                    Transport::Tcp => "TCP",
                    Transport::Unix => "Unix",
                };
                format!("{transport} {runtime}")
            }
            Self::Build => "clean release build".to_owned(),
        }
    }

    /// Its workload, and how that was called.
    pub(crate) fn subject(self) -> String {
        let Self::Run {
            workload,
            pinned,
            blocking,
            ..
        } = self
        else {
            return "W9".to_owned();
        };
        let pinned = if pinned && workload == Workload::W1 {
            " pinned"
        } else {
            ""
        };
        let blocking = if blocking { " blocking" } else { "" };
        format!("{workload}{pinned}{blocking}")
    }

    /// All of it.
    pub(crate) fn name(self) -> String {
        match self {
            Self::Run { .. } => format!("{} {}", self.subject(), self.column()),
            Self::Build => self.subject(),
        }
    }
}

/// Reports of all repetitions, by key and peer.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    pub(crate) results: &'a Results,
    runs: BTreeMap<Key, BTreeMap<String, Vec<&'a Run>>>,
}

impl<'a> Table<'a> {
    /// Sorts reports by what they are of.
    pub(crate) fn new(results: &'a Results) -> Self {
        let mut runs: BTreeMap<Key, BTreeMap<String, Vec<&'a Run>>> = BTreeMap::new();
        for run in &results.runs {
            let of_key = runs.entry(Key::of(&run.report)).or_default();
            of_key.entry(name(&run.report)).or_default().push(run);
        }
        Self { results, runs }
    }

    /// What a peer reaches.
    pub(crate) fn summary(&self, key: Key, peer: &str, metric: Metric) -> Option<Summary> {
        Summary::of(self.values(key, peer, metric).into_values())
    }

    /// The median of what a peer reaches ÷ what another reaches in the same repetition. What others leave of a shared machine is much the same for both then,
    /// while a median of one may be of a good time and that of the other of a bad one.
    pub(crate) fn ratio(&self, key: Key, peer: &str, other: &str, metric: Metric) -> Option<f64> {
        let others = self.values(key, other, metric);
        let ours = self.values(key, peer, metric).into_iter();
        let ratios = ours.filter_map(|(repetition, value)| ratio(value, *others.get(&repetition)?));
        Summary::of(ratios).map(|summary| summary.median)
    }

    /// What a peer reaches, by repetition.
    fn values(&self, key: Key, peer: &str, metric: Metric) -> BTreeMap<u32, f64> {
        if key == Key::Build {
            let of_peer = self.results.builds.iter().filter(|build| build.peer == peer);
            let value = |build: &Build| match metric {
                Metric::Crates => Some(build.crates as f64),
                Metric::BuildSeconds => build.seconds,
                _ => None,
            };
            return of_peer
                .filter_map(|build| Some((build.repetition, value(build)?)))
                .collect();
        }
        let runs = self.runs.get(&key).and_then(|of_key| of_key.get(peer));
        let runs = runs.into_iter().flatten();
        runs.filter_map(|run| Some((run.repetition, metric.of(&run.report)?)))
            .collect()
    }

    /// The median of what a peer reaches.
    pub(crate) fn median(&self, key: Key, peer: &str, metric: Metric) -> Option<f64> {
        self.summary(key, peer, metric).map(|summary| summary.median)
    }

    /// The peer that is neither this project nor a floor and reaches most.
    pub(crate) fn best_other(&self, key: Key, metric: Metric) -> Option<(String, Summary)> {
        let others = self.peers(key).into_iter().filter(|peer| is_other(peer));
        let reached = others.filter_map(|peer| Some((self.summary(key, &peer, metric)?, peer)));
        reached
            .reduce(|best, next| {
                if metric.is_better(next.0.median, best.0.median) {
                    next
                } else {
                    best
                }
            })
            .map(|(summary, peer)| (peer, summary))
    }

    /// Who has a report here, in the order in which they are shown; variants of a peer behind it.
    pub(crate) fn peers(&self, key: Key) -> Vec<String> {
        let names: BTreeSet<String> = match key {
            Key::Build => self
                .results
                .builds
                .iter()
                .map(|build| build.peer.clone())
                .collect(),
            Key::Run { .. } => self
                .runs
                .get(&key)
                .into_iter()
                .flat_map(|of_key| of_key.keys().cloned())
                .collect(),
        };
        let mut names: Vec<String> = names.into_iter().collect();
        names.sort_by_key(|name| place(name));
        names
    }

    /// Keys that this project has reports of.
    pub(crate) fn keys(&self) -> impl Iterator<Item = Key> {
        self.runs.keys().copied().chain([Key::Build])
    }

    /// Why a peer has no figure here, if it says so.
    pub(crate) fn absent(&self, key: Key, peer: &str) -> Option<&'a str> {
        self.runs
            .get(&key)?
            .get(peer)?
            .iter()
            .find_map(|run| run.report.absent.as_deref())
    }

    /// All reports.
    pub(crate) fn reports(&self) -> impl Iterator<Item = &'a Report> {
        self.results.runs.iter().map(|run| &run.report)
    }
}

/// A peer's name; a variant of it has its options behind. A floor's flavour is in its name already.
fn name(report: &Report) -> String {
    let options = report.extra.iter().filter(|(option, _)| *option != "flavour");
    let options: String = options
        .map(|(option, value)| format!(", {option} {value}"))
        .collect();
    format!("{}{options}", report.peer)
}

fn place(name: &str) -> usize {
    let peer = name.split(',').next().unwrap_or(name);
    match PEERS.iter().position(|known| known.name == peer) {
        Some(place) => place + 1,
        // The floor of builds comes first.
        None => 0,
    }
}

/// Whether it is this project, in whatever variant.
pub(crate) fn is_ours(name: &str) -> bool {
    name.split(',').next() == Some(OURS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{report, results};

    const KEY: Key = Key::run(Workload::W2, Transport::Tcp, RuntimeKind::Ct);

    fn with_rate(peer: &str, rate: f64) -> Report {
        let mut report = report(peer, Workload::W2, Transport::Tcp, RuntimeKind::Ct);
        report.per_second = Some(rate);
        report
    }

    #[test]
    fn the_best_other_is_no_floor_and_not_this_project() {
        let results = results(vec![
            with_rate("ours", 5.0),
            with_rate("raw-tokio", 9.0),
            with_rate("tarpc", 2.0),
            with_rate("tarpc", 4.0),
            with_rate("tonic", 1.0),
        ]);
        let table = Table::new(&results);
        let (peer, summary) = table.best_other(KEY, Metric::Rate).unwrap();
        assert_eq!((peer.as_str(), summary.median), ("tarpc", 3.0));
        assert_eq!(table.best_other(KEY, Metric::P50), None);
        assert_eq!(table.peers(KEY), ["raw-tokio", "ours", "tarpc", "tonic"]);
    }

    #[test]
    fn a_ratio_is_of_figures_of_the_same_repetition() {
        let machine = [1.0, 1.0, 0.5, 0.5];
        let mut reports: Vec<Report> = machine.map(|speed| with_rate("ours", 6.0 * speed)).into();
        reports.extend(machine.map(|speed| with_rate("tarpc", 2.0 * speed)));
        reports.push(with_rate("tonic", 1.0));
        let mut results = results(reports);
        let table = Table::new(&results);
        let over = |other| table.ratio(KEY, "ours", other, Metric::Rate);
        assert_eq!(
            (over("tarpc"), over("tonic"), over("volo")),
            (Some(3.0), Some(6.0), None)
        );
        // The good half of one and the bad half of the other say nothing of each other.
        results
            .runs
            .retain(|run| (run.report.peer == "ours") == (run.repetition < 2));
        assert_eq!(
            Table::new(&results).ratio(KEY, "ours", "tarpc", Metric::Rate),
            None
        );
    }

    #[test]
    fn a_build_has_figures_of_builds_only() {
        let mut results = results(vec![]);
        results.builds.push(Build {
            peer: "ours".into(),
            repetition: 0,
            seconds: Some(20.0),
            crates: 31,
        });
        let table = Table::new(&results);
        let of = |metric| table.median(Key::Build, "ours", metric);
        assert_eq!(
            (of(Metric::BuildSeconds), of(Metric::Crates)),
            (Some(20.0), Some(31.0))
        );
        assert_eq!(of(Metric::Rate), None);
    }

    #[test]
    fn variants_are_not_mixed_with_their_peer() {
        let mut variant = with_rate("ours", 7.0);
        variant.extra.insert("server-mode".into(), "threads".into());
        let results = results(vec![with_rate("ours", 5.0), variant]);
        let table = Table::new(&results);
        assert_eq!(table.median(KEY, "ours", Metric::Rate), Some(5.0));
        assert_eq!(
            table.median(KEY, "ours, server-mode threads", Metric::Rate),
            Some(7.0)
        );
        assert!(is_ours("ours, server-mode threads") && !is_ours("tarpc"));
    }
}
