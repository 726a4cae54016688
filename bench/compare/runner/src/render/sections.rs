//! One section per workload: what it is, its tables, its chart.

use harness::{RuntimeKind, Transport, Workload};

use super::tables;
use crate::metric::Metric;
use crate::table::{Key, Table};

use RuntimeKind::{Ct, Mt2};
use Transport::{Tcp, Unix};

const SOCKETS: [(Transport, RuntimeKind); 4] = [(Tcp, Ct), (Unix, Ct), (Tcp, Mt2), (Unix, Mt2)];

struct Section {
    /// By which charts find it.
    name: &'static str,
    title: &'static str,
    text: &'static str,
    keys: fn() -> Vec<Key>,
    metrics: &'static [Metric],
}

const SECTIONS: &[Section] = &[
    Section {
        name: "W1",
        title: "W1: one call at a time, on one core",
        text: "One connection, one call in flight, 64 bytes there and back; client and server share one core, because waking another core of a virtual machine costs more than the call.",
        keys: || {
            SOCKETS
                .map(|(transport, runtime)| Key::pinned(transport, runtime, false))
                .to_vec()
        },
        metrics: &[Metric::P50, Metric::P99, Metric::P999],
    },
    Section {
        name: "W1 blocking",
        title: "W1 with a blocking client, on one core",
        text: "A client without a runtime around it: this project's, and a blocking socket against the server of raw-tokio.",
        keys: || {
            [Tcp, Unix]
                .map(|transport| Key::pinned(transport, Ct, true))
                .to_vec()
        },
        metrics: &[Metric::P50, Metric::P99, Metric::P999],
    },
    Section {
        name: "W1 unpinned",
        title: "W1: one call at a time, on all cores",
        text: "The same where the scheduler may put the processes on two cores: mostly the cost of waking them.",
        keys: || of(Workload::W1),
        metrics: &[Metric::P50, Metric::P999],
    },
    Section {
        name: "W2",
        title: "W2: 256 calls in flight on one connection",
        text: "64 bytes there and back.",
        keys: || of(Workload::W2),
        metrics: &[Metric::Rate, Metric::CpuPerMillion],
    },
    Section {
        name: "W3",
        title: "W3: 64 connections, 16 calls in flight on each",
        text: "64 bytes there and back.",
        keys: || of(Workload::W3),
        metrics: &[Metric::Rate, Metric::CpuPerMillion],
    },
    Section {
        name: "W4",
        title: "W4: 1,000 records back",
        text: "Each with a number, a name of 16 bytes, three tags and a score; the client sums scores and lengths of names; 8 in flight.",
        keys: || of(Workload::W4),
        metrics: &[Metric::Rate, Metric::P50],
    },
    Section {
        name: "W5s",
        title: "W5s: 1 MiB back",
        text: "4 in flight; the client looks at every page.",
        keys: || of(Workload::W5s),
        metrics: &[Metric::GibPerSecond],
    },
    Section {
        name: "W5l",
        title: "W5l: 64 MiB back",
        text: "1 in flight; the client looks at every page.",
        keys: || of(Workload::W5l),
        metrics: &[Metric::GibPerSecond],
    },
    Section {
        name: "W6",
        title: "W6: a stream of a million items",
        text: "64 bytes each, from the server. A peer for which that takes longer than the measurement sends as many as it has time for.",
        keys: || of(Workload::W6),
        metrics: &[Metric::Rate],
    },
    Section {
        name: "W7",
        title: "W7: 5,000 connections without calls",
        text: "What the server's resident memory grows by per connection.",
        keys: || ct(Workload::W7),
        metrics: &[Metric::IdleKib, Metric::UsedKib],
    },
    Section {
        name: "W8",
        title: "W8: allocations",
        text: "Per call of W1, over 100,000 calls after a warm-up.",
        keys: || ct(Workload::W8),
        metrics: &[Metric::ClientAllocations, Metric::ServerAllocations],
    },
    Section {
        name: "W9",
        title: "W9: building the smallest service",
        text: "A server, a client and one call in one program of a few lines, in [bench/compare/minimal](bench/compare/minimal): a clean release build by two jobs, dependencies downloaded before. `bare` has tokio and rkyv and nothing else. \
Crates: everything that is compiled, the program itself not counted.",
        keys: || vec![Key::Build],
        metrics: &[Metric::BuildSeconds, Metric::Crates],
    },
];

fn of(workload: Workload) -> Vec<Key> {
    SOCKETS
        .map(|(transport, runtime)| Key::run(workload, transport, runtime))
        .to_vec()
}

fn ct(workload: Workload) -> Vec<Key> {
    [Tcp, Unix]
        .map(|transport| Key::run(workload, transport, Ct))
        .to_vec()
}

/// All that have a figure.
pub(super) fn sections(table: &Table<'_>, charts: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for section in SECTIONS {
        let keys = (section.keys)();
        let compared: Vec<String> = section
            .metrics
            .iter()
            .filter_map(|metric| tables::comparison(table, &keys, *metric))
            .collect();
        if !compared.is_empty() {
            let parts = [
                section.text.to_owned() + "\n",
                charts(section.name),
                compared.join("\n"),
            ];
            let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
            text += &format!("## {}\n\n{}\n", section.title, parts.join("\n"));
        }
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}
