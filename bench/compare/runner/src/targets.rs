//! Targets: ratios that this project set itself, and whether a run reaches them.

use std::fmt;

use harness::{RuntimeKind, Transport, Workload};

use crate::metric::Metric;
use crate::minimal::BARE;
use crate::peers::{FLOOR, OURS};
use crate::table::{Key, Table};

use RuntimeKind::{Ct, Mt2};
use Transport::{Tcp, Unix};

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};

/// What came of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Reached,
    NotReached,
    /// A figure is missing, this project's or the other's.
    NotMeasured,
}

/// With what this project's figure is compared.
#[derive(Clone, Copy, Debug)]
enum Reference {
    Peer(&'static str),
    /// The best of the other frameworks.
    BestOther,
    /// Nothing: the figure itself is limited.
    Itself,
}

/// One figure that should be something.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) key: Key,
    /// What is compared with what.
    pub(crate) what: String,
    pub(crate) limit: Limit,
    pub(crate) value: Option<f64>,
    /// Who the best other is, where it is compared with that one.
    pub(crate) best: Option<String>,
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            AtMost(limit) => value <= limit,
            AtLeast(limit) => value >= limit,
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AtMost(limit) => write!(f, "≤ {limit}"),
            AtLeast(limit) => write!(f, "≥ {limit}"),
        }
    }
}

impl Target {
    /// What came of it.
    pub(crate) fn outcome(&self) -> Outcome {
        match self.value.map(|value| self.limit.holds(value)) {
            Some(true) => Outcome::Reached,
            Some(false) => Outcome::NotReached,
            None => Outcome::NotMeasured,
        }
    }
}

/// Targets of one figure at one place.
struct Rule {
    metric: Metric,
    limits: &'static [(Reference, Limit)],
}

use Reference::{BestOther, Itself, Peer};

const FLOOR_OF: Reference = Peer(FLOOR);

const W1: &[Rule] = &[
    Rule {
        metric: Metric::P50,
        limits: &[
            (FLOOR_OF, AtMost(1.10)),
            (Peer("tarpc"), AtMost(0.65)),
            (Peer("tonic"), AtMost(0.30)),
        ],
    },
    Rule {
        metric: Metric::P999,
        limits: &[(FLOOR_OF, AtMost(1.3))],
    },
];

const W1_BLOCKING: &[Rule] = &[Rule {
    metric: Metric::P50,
    limits: &[(FLOOR_OF, AtMost(1.10))],
}];

const W2_CT: &[Rule] = &[
    Rule {
        metric: Metric::Rate,
        limits: &[
            (FLOOR_OF, AtLeast(0.70)),
            (Peer("tarpc"), AtLeast(3.0)),
            (Peer("tonic"), AtLeast(14.0)),
        ],
    },
    Rule {
        metric: Metric::CpuPerMillion,
        limits: &[(Itself, AtMost(0.5))],
    },
];

const W2_MT2: &[Rule] = &[Rule {
    metric: Metric::Rate,
    limits: &[
        (FLOOR_OF, AtLeast(0.60)),
        (Peer("tarpc"), AtLeast(7.0)),
        (Peer("tonic"), AtLeast(20.0)),
    ],
}];

const W3: &[Rule] = &[Rule {
    metric: Metric::Rate,
    limits: &[(FLOOR_OF, AtLeast(0.65)), (Peer("tarpc"), AtLeast(4.5))],
}];

const W4: &[Rule] = &[Rule {
    metric: Metric::Rate,
    limits: &[
        (FLOOR_OF, AtLeast(0.90)),
        (Peer("capnp"), AtLeast(1.5)),
        (Peer("tarpc"), AtLeast(5.5)),
        (Peer("tonic"), AtLeast(5.5)),
    ],
}];

const W5S_TCP: &[Rule] = &[Rule {
    metric: Metric::GibPerSecond,
    limits: &[
        (FLOOR_OF, AtLeast(0.95)),
        (Peer("volo"), AtLeast(1.3)),
        (Peer("tarpc"), AtLeast(3.0)),
        (Peer("tonic"), AtLeast(3.0)),
    ],
}];

/// Of a Unix socket more is asked than of its floor: that one has the kernel's buffers as they are.
const W5S_UNIX: &[Rule] = &[Rule {
    metric: Metric::GibPerSecond,
    limits: &[
        (FLOOR_OF, AtLeast(1.5)),
        (Peer("volo"), AtLeast(1.3)),
        (Peer("tarpc"), AtLeast(3.0)),
        (Peer("tonic"), AtLeast(3.0)),
    ],
}];

const W5L: &[Rule] = &[Rule {
    metric: Metric::GibPerSecond,
    limits: &[(FLOOR_OF, AtLeast(0.90)), (BestOther, AtLeast(4.5))],
}];

const W7: &[Rule] = &[Rule {
    metric: Metric::IdleKib,
    limits: &[(Itself, AtMost(4.0)), (BestOther, AtMost(0.25))],
}];

/// Once in a hundred calls is what grows once per run.
const W8: &[Rule] = &[
    Rule {
        metric: Metric::ClientAllocations,
        limits: &[(Itself, AtMost(0.01))],
    },
    Rule {
        metric: Metric::ServerAllocations,
        limits: &[(Itself, AtMost(0.01))],
    },
];

const W9: &[Rule] = &[
    Rule {
        metric: Metric::BuildSeconds,
        limits: &[
            (Peer(BARE), AtMost(1.4)),
            (Peer("tarpc"), AtMost(0.8)),
            (Peer("tonic"), AtMost(0.4)),
        ],
    },
    Rule {
        metric: Metric::Crates,
        limits: &[(Itself, AtMost(40.0))],
    },
];

/// All targets, with what a run says of them.
pub(crate) fn targets(table: &Table<'_>) -> Vec<Target> {
    let mut all = Targets {
        table,
        found: Vec::new(),
    };
    for transport in [Tcp, Unix] {
        all.add(Key::pinned(transport, Ct, false), W1);
        all.add(Key::pinned(transport, Ct, true), W1_BLOCKING);
    }
    for transport in [Tcp, Unix] {
        all.add(Key::run(Workload::W2, transport, Ct), W2_CT);
        all.add(Key::run(Workload::W2, transport, Mt2), W2_MT2);
    }
    all.add_everywhere(Workload::W3, |_| W3);
    all.add_everywhere(Workload::W4, |_| W4);
    all.add_everywhere(Workload::W5s, |transport| match transport {
        Tcp => W5S_TCP,
        Unix => W5S_UNIX,
    });
    all.add_everywhere(Workload::W5l, |_| W5L);
    for (transport, runtime) in SOCKETS {
        all.add_stream(Key::run(Workload::W6, transport, runtime));
    }
    for transport in [Tcp, Unix] {
        all.add(Key::run(Workload::W7, transport, Ct), W7);
    }
    for transport in [Tcp, Unix] {
        all.add(Key::run(Workload::W8, transport, Ct), W8);
    }
    all.add(Key::Build, W9);
    all.found
}

const SOCKETS: [(Transport, RuntimeKind); 4] = [(Tcp, Ct), (Unix, Ct), (Tcp, Mt2), (Unix, Mt2)];

struct Targets<'a> {
    table: &'a Table<'a>,
    found: Vec<Target>,
}

impl Targets<'_> {
    fn add_everywhere(&mut self, workload: Workload, rules: impl Fn(Transport) -> &'static [Rule]) {
        for (transport, runtime) in SOCKETS {
            self.add(Key::run(workload, transport, runtime), rules(transport));
        }
    }

    fn add(&mut self, key: Key, rules: &[Rule]) {
        for rule in rules {
            for &(reference, limit) in rule.limits {
                // Who has no such runtime has nothing to be compared with, and no line.
                if !self.is_without(key, reference) {
                    self.found.push(self.target(key, rule.metric, reference, limit));
                }
            }
        }
    }

    fn is_without(&self, key: Key, reference: Reference) -> bool {
        matches!(reference, Peer(peer) if self.table.absent(key, peer).is_some())
    }

    fn target(&self, key: Key, metric: Metric, reference: Reference, limit: Limit) -> Target {
        let ours = self.table.median(key, OURS, metric);
        let best = matches!(reference, BestOther)
            .then(|| self.table.best_other(key, metric))
            .flatten();
        let over = |peer: &str| self.table.ratio(key, OURS, peer, metric);
        let (against, value) = match reference {
            Itself => (String::new(), ours),
            Peer(peer) => (format!(" ÷ {peer}"), over(peer)),
            BestOther => {
                let best = best.as_ref().and_then(|(peer, _)| over(peer));
                (" ÷ best other".to_owned(), best)
            }
        };
        Target {
            key,
            what: format!("{}{against}", metric.title()),
            limit,
            value,
            best: best.map(|(peer, _)| peer),
        }
    }

    /// Of a stream one of two things is enough.
    fn add_stream(&mut self, key: Key) {
        const ENOUGH: f64 = 20e6;
        let ours = self.table.median(key, OURS, Metric::Rate);
        if ours.is_some_and(|rate| rate >= ENOUGH) {
            self.found.push(Target {
                key,
                what: "million items per second (or 1.2 × tonic)".to_owned(),
                limit: AtLeast(ENOUGH / 1e6),
                value: ours.map(|rate| rate / 1e6),
                best: None,
            });
        } else {
            let target = self.target(key, Metric::Rate, Peer("tonic"), AtLeast(1.2));
            self.found.push(Target {
                what: format!("items {} (or 20 M)", target.what),
                ..target
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use harness::Report;

    use super::*;
    use crate::results::tests::{report, results};

    fn w1(peer: &str, p50: f64, blocking: bool) -> Report {
        let mut report = report(peer, Workload::W1, Tcp, Ct);
        report.pinned = true;
        report.blocking = blocking;
        report.p50_us = Some(p50);
        report
    }

    fn w6(peer: &str, rate: f64) -> Report {
        let mut report = report(peer, Workload::W6, Tcp, Ct);
        report.per_second = Some(rate);
        report
    }

    fn found(reports: Vec<Report>, place: &str) -> Vec<Target> {
        let results = results(reports);
        let mut found = targets(&Table::new(&results));
        found.retain(|target| target.key.name() == place);
        found
    }

    #[test]
    fn a_ratio_reaches_its_target_or_does_not() {
        let reports = vec![
            w1(OURS, 6.0, false),
            w1(OURS, 20.0, false),
            w1(OURS, 5.0, false),
            w1(FLOOR, 6.0, false),
            w1("tarpc", 9.0, false),
        ];
        let found = found(reports, "W1 pinned TCP ct");
        let outcomes: Vec<_> = found
            .iter()
            .map(|target| (target.value, target.outcome()))
            .collect();
        assert_eq!(
            outcomes,
            [
                (Some(1.0), Outcome::Reached),
                (Some(6.0 / 9.0), Outcome::NotReached),
                (None, Outcome::NotMeasured),
                (None, Outcome::NotMeasured),
            ]
        );
        assert_eq!(found[0].what, "p50, µs ÷ raw-tokio");
        assert_eq!(found[0].limit.to_string(), "≤ 1.1");
    }

    #[test]
    fn a_blocking_client_is_compared_with_a_blocking_one() {
        let reports = vec![w1(OURS, 5.0, true), w1(FLOOR, 4.0, true), w1(FLOOR, 9.0, false)];
        let found = found(reports, "W1 pinned blocking TCP ct");
        assert_eq!(found[0].value, Some(1.25));
        assert_eq!(found[0].outcome(), Outcome::NotReached);
    }

    #[test]
    fn a_limit_holds_at_itself() {
        assert!(AtMost(1.4).holds(1.4) && !AtMost(1.4).holds(1.41));
        assert!(AtLeast(0.7).holds(0.7) && !AtLeast(0.7).holds(0.69));
    }

    #[test]
    fn of_streams_one_of_two_is_enough() {
        let fast = found(vec![w6(OURS, 21e6), w6("tonic", 30e6)], "W6 TCP ct");
        assert_eq!((fast[0].value, fast[0].outcome()), (Some(21.0), Outcome::Reached));
        let slow = found(vec![w6(OURS, 12e6), w6("tonic", 10e6)], "W6 TCP ct");
        assert_eq!((slow[0].value, slow[0].outcome()), (Some(1.2), Outcome::Reached));
        let slower = found(vec![w6(OURS, 11e6), w6("tonic", 10e6)], "W6 TCP ct");
        assert_eq!(slower[0].outcome(), Outcome::NotReached);
    }

    #[test]
    fn who_does_not_do_it_is_no_target() {
        let mut absent = report("capnp", Workload::W4, Tcp, Mt2);
        absent.absent = Some("current-thread only".into());
        let found = found(vec![absent], "W4 TCP mt2");
        assert_eq!(found.len(), 3);
    }
}
