//! What is measured: cells of workload, socket, runtime and pinning, chosen so that a run ends while somebody still waits for it.

use std::fmt;

use harness::{RuntimeKind, Transport, Workload};

use crate::options::ENOUGH;

use RuntimeKind::{Ct, Mt2};
use Transport::{Tcp, Unix};

/// One measurement of every peer per repetition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) workload: Workload,
    pub(crate) transport: Transport,
    pub(crate) runtime: RuntimeKind,
    /// On one core: both processes.
    pub(crate) pinned: bool,
    /// Only for these, and with these arguments.
    pub(crate) variant: Option<&'static Variant>,
    pub(crate) seconds: f64,
    /// How many connections, if not as many as the workload says.
    pub(crate) connections: Option<usize>,
    /// Repetitions beyond which nothing new is learned.
    pub(crate) at_most: u32,
}

/// A measurement that only some peers have.
#[derive(Debug)]
pub(crate) struct Variant {
    pub(crate) peers: &'static [&'static str],
    pub(crate) arguments: &'static [&'static str],
}

/// The blocking client, and a blocking socket against the same kind of server.
const BLOCKING: Variant = Variant {
    peers: &["ours", "raw-tokio"],
    arguments: &["--blocking"],
};

/// A server with a runtime per core, instead of the one that it was started in.
const REACTORS: Variant = Variant {
    peers: &["ours"],
    arguments: &["--server-mode", "threads"],
};

/// A channel of two connections, to such a server: one for each of its runtimes, as far as the kernel deals them out so.
const SEVERAL: Variant = Variant {
    peers: &["ours"],
    arguments: &["--server-mode", "threads", "--channel-connections", "2"],
};

/// Client and server look for more for a while before they sleep.
const BUSY: Variant = Variant {
    peers: &["ours"],
    arguments: &["--busy-poll", "50"],
};

/// Cells that differ in their sockets only.
#[derive(Clone, Copy)]
struct Block {
    workload: Workload,
    sockets: &'static [(Transport, RuntimeKind)],
    pinned: bool,
    variant: Option<&'static Variant>,
    seconds: f64,
    connections: Option<usize>,
    at_most: u32,
}

const ALL: &[(Transport, RuntimeKind)] = &[(Tcp, Ct), (Unix, Ct), (Tcp, Mt2), (Unix, Mt2)];
const CT: &[(Transport, RuntimeKind)] = &[(Tcp, Ct), (Unix, Ct)];
const MT2: &[(Transport, RuntimeKind)] = &[(Tcp, Mt2), (Unix, Mt2)];

/// Slow streams take seconds: a fifth of a run, if they were in all of it. Memory and allocations do not vary with the machine's mood.
const HALF: u32 = ENOUGH / 2;

const FULL: &[Block] = &[
    pinned(Workload::W1, ALL, 0.3),
    blocking(Workload::W1, CT, 0.3),
    busy(pinned(Workload::W1, CT, 0.3)),
    free(Workload::W1, ALL, 0.2),
    busy(free(Workload::W1, ALL, 0.2)),
    free(Workload::W2, ALL, 0.3),
    reactors(Workload::W2, MT2, 0.3),
    several(Workload::W2, MT2, 0.3),
    free(Workload::W3, ALL, 0.3),
    reactors(Workload::W3, MT2, 0.3),
    free(Workload::W4, ALL, 0.3),
    free(Workload::W5s, ALL, 0.2),
    reactors(Workload::W5s, MT2, 0.2),
    several(Workload::W5s, MT2, 0.2),
    free(Workload::W5l, ALL, 0.4),
    Block {
        at_most: HALF,
        ..free(Workload::W6, ALL, 0.3)
    },
    Block {
        at_most: HALF,
        ..free(Workload::W7, CT, 1.0)
    },
    Block {
        at_most: HALF,
        ..pinned(Workload::W8, CT, 1.0)
    },
];

const SHORT: &[Block] = &[
    pinned(Workload::W1, CT, 0.2),
    blocking(Workload::W1, CT, 0.2),
    free(Workload::W1, MT2, 0.2),
    busy(free(Workload::W1, &[(Unix, Mt2)], 0.2)),
    free(Workload::W2, &[(Tcp, Ct), (Unix, Mt2)], 0.2),
    reactors(Workload::W2, &[(Tcp, Mt2)], 0.2),
    free(Workload::W3, &[(Unix, Ct), (Tcp, Mt2)], 0.2),
    free(Workload::W4, &[(Tcp, Ct), (Unix, Mt2)], 0.2),
    free(Workload::W5s, &[(Unix, Ct), (Tcp, Mt2)], 0.2),
    free(Workload::W5l, &[(Tcp, Ct), (Unix, Mt2)], 0.2),
    free(Workload::W6, &[(Tcp, Ct)], 0.2),
    Block {
        connections: Some(100),
        ..free(Workload::W7, &[(Unix, Ct)], 0.2)
    },
    pinned(Workload::W8, &[(Tcp, Ct)], 0.2),
];

const fn free(workload: Workload, sockets: &'static [(Transport, RuntimeKind)], seconds: f64) -> Block {
    Block {
        workload,
        sockets,
        pinned: false,
        variant: None,
        seconds,
        connections: None,
        at_most: u32::MAX,
    }
}

const fn pinned(workload: Workload, sockets: &'static [(Transport, RuntimeKind)], seconds: f64) -> Block {
    Block {
        pinned: true,
        ..free(workload, sockets, seconds)
    }
}

const fn blocking(workload: Workload, sockets: &'static [(Transport, RuntimeKind)], seconds: f64) -> Block {
    Block {
        variant: Some(&BLOCKING),
        ..pinned(workload, sockets, seconds)
    }
}

const fn reactors(workload: Workload, sockets: &'static [(Transport, RuntimeKind)], seconds: f64) -> Block {
    Block {
        variant: Some(&REACTORS),
        ..free(workload, sockets, seconds)
    }
}

const fn several(workload: Workload, sockets: &'static [(Transport, RuntimeKind)], seconds: f64) -> Block {
    Block {
        variant: Some(&SEVERAL),
        ..free(workload, sockets, seconds)
    }
}

const fn busy(block: Block) -> Block {
    Block {
        variant: Some(&BUSY),
        ..block
    }
}

/// The cells of a run, as far as they are of these workloads.
pub(crate) fn cells(short: bool, workloads: &[Workload]) -> Vec<Cell> {
    let blocks = if short { SHORT } else { FULL };
    let wanted = blocks.iter().filter(|block| workloads.contains(&block.workload));
    wanted.flat_map(Block::cells).collect()
}

impl Block {
    fn cells(&self) -> impl Iterator<Item = Cell> {
        self.sockets.iter().map(|&(transport, runtime)| Cell {
            workload: self.workload,
            transport,
            runtime,
            pinned: self.pinned,
            variant: self.variant,
            seconds: self.seconds,
            connections: self.connections,
            at_most: self.at_most,
        })
    }
}

impl Cell {
    /// Whether this peer is measured in it.
    pub(crate) fn has(&self, peer: &str) -> bool {
        self.variant.is_none_or(|variant| variant.peers.contains(&peer))
    }

    /// Whether its client is a blocking one.
    pub(crate) fn is_blocking(&self) -> bool {
        self.variant
            .is_some_and(|variant| variant.arguments.contains(&"--blocking"))
    }

    /// Whether allocations are counted in it.
    pub(crate) fn counts_allocations(&self) -> bool {
        self.workload == Workload::W8
    }

    /// How long it takes one peer, roughly: what was seen of the slow ones, where the workload's size decides and not its time.
    pub(crate) fn estimate(&self) -> f64 {
        const START: f64 = 0.15;
        let warm_up = (self.seconds * 0.2).clamp(0.1, 1.0);
        START
            + match self.workload {
                Workload::W6 => self.seconds + 1.0,
                Workload::W7 => self.connections.map_or(3.0, |_| 1.0),
                Workload::W8 => 3.0,
                _ => warm_up + self.seconds,
            }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.workload, self.transport, self.runtime)?;
        if self.pinned {
            f.write_str(" pinned")?;
        }
        for argument in self.variant.map_or(&[][..], |variant| variant.arguments) {
            write!(f, " {}", argument.trim_start_matches('-'))?;
        }
        Ok(())
    }
}

/// How long a run takes, roughly, without its builds: seconds.
pub(crate) fn estimate(cells: &[Cell], peers: &[&str], repetitions: u32) -> f64 {
    let of = |cell: &Cell| {
        let count = peers.iter().filter(|peer| cell.has(peer)).count();
        cell.estimate() * count as f64 * f64::from(repetitions.min(cell.at_most))
    };
    cells.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::minimal;
    use crate::peers::PEERS;

    fn names() -> Vec<&'static str> {
        PEERS.iter().map(|peer| peer.name).collect()
    }

    #[test]
    fn a_full_run_ends_within_seventy_minutes() {
        let seconds =
            estimate(&cells(false, &Workload::ALL), &names(), ENOUGH) + minimal::estimate(false, ENOUGH);
        assert!(seconds < 70.0 * 60.0, "{seconds}");
    }

    #[test]
    fn a_short_run_ends_within_five_minutes() {
        let seconds = estimate(&cells(true, &Workload::ALL), &names(), 1) + minimal::estimate(true, 1);
        assert!(seconds < 5.0 * 60.0, "{seconds}");
    }

    #[test]
    fn every_workload_is_in_both() {
        for (short, workload) in [true, false]
            .into_iter()
            .flat_map(|short| Workload::ALL.map(|w| (short, w)))
        {
            assert!(!cells(short, &[workload]).is_empty(), "{workload}");
        }
    }

    #[test]
    fn cells_of_variants_are_not_everybodys() {
        let cells = cells(false, &[Workload::W1]);
        let blocking: Vec<_> = cells.iter().filter(|cell| cell.is_blocking()).collect();
        assert!(
            blocking
                .iter()
                .all(|cell| cell.has("ours") && cell.has("raw-tokio") && !cell.has("tarpc"))
        );
        assert_eq!(blocking[0].to_string(), "W1 tcp ct pinned blocking");
    }
}
