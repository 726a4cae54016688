//! Which charts there are.

use harness::{RuntimeKind, Transport, Workload};

use super::svg::{Bar, Drawing, Group, Kind};
use super::tables::shown;
use crate::metric::Metric;
use crate::peers::{OURS, is_floor};
use crate::table::{Key, Table};

use RuntimeKind::{Ct, Mt2};
use Transport::{Tcp, Unix};

/// A chart, its file, and the section that it stands in.
pub(super) struct Chart {
    pub(super) section: &'static str,
    pub(super) file: &'static str,
    pub(super) drawing: Drawing,
}

struct Plan {
    section: &'static str,
    file: &'static str,
    title: &'static str,
    metric: Metric,
    keys: &'static [Key],
}

const PLANS: &[Plan] = &[
    Plan {
        section: "W1",
        file: "w1.svg",
        title: "W1: one call at a time on one core, p50 in µs",
        metric: Metric::P50,
        keys: &[Key::pinned(Tcp, Ct, false), Key::pinned(Unix, Ct, false)],
    },
    Plan {
        section: "W2",
        file: "w2.svg",
        title: "W2: 256 calls in flight on one connection, calls/s",
        metric: Metric::Rate,
        keys: &[Key::run(Workload::W2, Tcp, Ct), Key::run(Workload::W2, Tcp, Mt2)],
    },
    Plan {
        section: "W3",
        file: "w3.svg",
        title: "W3: 64 connections, 16 calls in flight on each, calls/s",
        metric: Metric::Rate,
        keys: &[Key::run(Workload::W3, Tcp, Ct), Key::run(Workload::W3, Tcp, Mt2)],
    },
    Plan {
        section: "W4",
        file: "w4.svg",
        title: "W4: 1,000 records back, calls/s",
        metric: Metric::Rate,
        keys: &[Key::run(Workload::W4, Tcp, Ct), Key::run(Workload::W4, Tcp, Mt2)],
    },
    Plan {
        section: "W5s",
        file: "w5s.svg",
        title: "W5s: 1 MiB back, GiB/s",
        metric: Metric::GibPerSecond,
        keys: &[
            Key::run(Workload::W5s, Tcp, Ct),
            Key::run(Workload::W5s, Unix, Ct),
        ],
    },
    Plan {
        section: "W5l",
        file: "w5l.svg",
        title: "W5l: 64 MiB back, GiB/s",
        metric: Metric::GibPerSecond,
        keys: &[
            Key::run(Workload::W5l, Tcp, Ct),
            Key::run(Workload::W5l, Unix, Ct),
        ],
    },
    Plan {
        section: "W6",
        file: "w6.svg",
        title: "W6: a stream of 64-byte items, items/s",
        metric: Metric::Rate,
        keys: &[Key::run(Workload::W6, Tcp, Ct), Key::run(Workload::W6, Tcp, Mt2)],
    },
    Plan {
        section: "W7",
        file: "w7.svg",
        title: "W7: KiB of the server per greeted connection",
        metric: Metric::IdleKib,
        keys: &[Key::run(Workload::W7, Tcp, Ct)],
    },
    Plan {
        section: "W8",
        file: "w8.svg",
        title: "W8: allocations per call, client and server",
        metric: Metric::Allocations,
        keys: &[Key::run(Workload::W8, Tcp, Ct)],
    },
    Plan {
        section: "W9",
        file: "w9.svg",
        title: "W9: clean release build of the smallest service, seconds",
        metric: Metric::BuildSeconds,
        keys: &[Key::Build],
    },
];

/// Those that have a bar.
pub(super) fn charts(table: &Table<'_>) -> Vec<Chart> {
    PLANS.iter().filter_map(|plan| chart(table, plan)).collect()
}

fn chart(table: &Table<'_>, plan: &Plan) -> Option<Chart> {
    let groups = plan.keys.iter().map(|key| group(table, *key, plan.metric));
    let groups: Vec<Group> = groups.filter(|group| !group.bars.is_empty()).collect();
    if groups.is_empty() {
        return None;
    }
    Some(Chart {
        section: plan.section,
        file: plan.file,
        drawing: Drawing {
            title: plan.title,
            subtitle: if plan.metric.more_is_better() {
                "longer is better"
            } else {
                "shorter is better"
            },
            groups,
        },
    })
}

fn group(table: &Table<'_>, key: Key, metric: Metric) -> Group {
    let bar = |peer: String| {
        let summary = table.summary(key, &peer, metric)?;
        let kind = match peer.as_str() {
            OURS => Kind::Ours,
            floor if is_floor(floor) => Kind::Floor,
            _ => Kind::Other,
        };
        Some(Bar {
            written: metric.write(summary.median),
            label: peer,
            summary,
            kind,
        })
    };
    Group {
        title: key.column(),
        bars: shown(table, key).into_iter().filter_map(bar).collect(),
    }
}
