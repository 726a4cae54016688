//! Workload: what is called, over how many connections, how many at a time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Failure, Result};

/// Bytes of an echo and of a stream's item.
pub const BLOCK: usize = 64;

/// One of the workloads that a peer's program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Workload {
    /// One connection, one call in flight, 64-byte echo: latency.
    W1,
    /// One connection, 256 calls in flight, 64-byte echo.
    W2,
    /// 64 connections, 16 calls in flight on each, 64-byte echo.
    W3,
    /// A list of 1,000 records back, 8 in flight.
    W4,
    /// 1 MiB back, 4 in flight.
    W5s,
    /// 64 MiB back, 1 in flight.
    W5l,
    /// A stream of 1,000,000 items of 64 bytes back.
    W6,
    /// 5,000 connections without calls: memory.
    W7,
    /// W1, 100,000 times, under a counting allocator.
    W8,
}

/// What one call of a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// 64 bytes there and back.
    Echo,
    /// [`records`](crate::data::records) back.
    List,
    /// So many bytes back.
    Blob(u64),
    /// A stream of so many items back.
    Items(u64),
}

impl Workload {
    /// All, in order.
    pub const ALL: [Self; 9] = [
        Self::W1,
        Self::W2,
        Self::W3,
        Self::W4,
        Self::W5s,
        Self::W5l,
        Self::W6,
        Self::W7,
        Self::W8,
    ];

    /// What is called.
    pub fn call(self) -> Call {
        match self {
            Self::W1 | Self::W2 | Self::W3 | Self::W7 | Self::W8 => Call::Echo,
            Self::W4 => Call::List,
            Self::W5s => Call::Blob(1 << 20),
            Self::W5l => Call::Blob(64 << 20),
            Self::W6 => Call::Items(1_000_000),
        }
    }

    /// Connections that carry the calls.
    pub fn connections(self) -> usize {
        match self {
            Self::W3 => 64,
            Self::W7 => 5_000,
            _ => 1,
        }
    }

    /// Calls in flight on each connection.
    pub fn in_flight(self) -> usize {
        match self {
            Self::W2 => 256,
            Self::W3 => 16,
            Self::W4 => 8,
            Self::W5s => 4,
            _ => 1,
        }
    }

    /// Whether the time of every call is taken. Where only rates count, reading the clock would be a part of what is measured.
    pub fn takes_latencies(self) -> bool {
        matches!(self, Self::W1 | Self::W4)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::W1 => "W1",
            Self::W2 => "W2",
            Self::W3 => "W3",
            Self::W4 => "W4",
            Self::W5s => "W5s",
            Self::W5l => "W5l",
            Self::W6 => "W6",
            Self::W7 => "W7",
            Self::W8 => "W8",
        }
    }
}

impl FromStr for Workload {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|workload| workload.name() == text);
        found.ok_or_else(|| format!("no workload {text}").into())
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
