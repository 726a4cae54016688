//! Lane: a task that makes one call after another, and checks the answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hdrhistogram::Histogram;
use tokio::task::JoinHandle;

use crate::Result;
use crate::data::{block, wrong};
use crate::peer::Client;
use crate::workload::{BLOCK, Call};

/// A lane under way.
pub type Task = JoinHandle<Result<LaneReport>>;

/// When a lane ends.
#[derive(Clone, Debug)]
pub enum Until {
    /// Once this is true, and one call at least was made.
    Stopped(Arc<AtomicBool>),
    /// After so many calls.
    Calls(u64),
}

impl Until {
    /// Whether a lane that has made so many calls is done.
    pub fn is_over(&self, calls: u64) -> bool {
        match self {
            Self::Stopped(flag) => calls > 0 && flag.load(Ordering::Relaxed),
            Self::Calls(count) => calls >= *count,
        }
    }
}

/// The lanes of one connection: as many as calls are to be in flight on it.
#[derive(Clone, Debug)]
pub struct Lanes {
    /// What each does. Its number is that of the first.
    pub lane: Lane,
    /// How many there are.
    pub in_flight: usize,
}

impl Lanes {
    /// Starts each by `spawn`.
    pub fn start(&self, spawn: impl Fn(Lane) -> Task) -> Vec<Task> {
        let numbers = (self.lane.number..).take(self.in_flight);
        let lane = |number| Lane {
            number,
            ..self.lane.clone()
        };
        numbers.map(|number| spawn(lane(number))).collect()
    }
}

/// What a lane is to do.
#[derive(Clone, Debug)]
pub struct Lane {
    /// What is called.
    pub call: Call,
    /// When it ends.
    pub until: Until,
    /// Whether the time of each call is taken.
    pub takes_latencies: bool,
    /// Different for every lane of a run, so that no two calls echo the same.
    pub number: u64,
}

/// What a lane has done.
#[derive(Debug)]
pub struct LaneReport {
    /// Calls that were answered, rightly; items of streams.
    pub operations: u64,
    /// Bytes of their answers, where that is fixed.
    pub bytes: u64,
    /// How long they took.
    pub latencies: Latencies,
}

impl Lane {
    /// Makes calls by `client` until it is over.
    ///
    /// # Errors
    ///
    /// A call failed, or its answer is not what it should be.
    pub async fn run<C: Client>(self, client: C) -> Result<LaneReport> {
        let mut latencies = Latencies::new(self.takes_latencies);
        let (mut calls, mut bytes, mut items) = (0, 0, 0);
        while !self.until.is_over(calls) {
            match self.call {
                Call::Echo => self.echo(&client, calls).await?,
                Call::List => client.list().await?.check()?,
                Call::Blob(len) => bytes += exactly(len, client.blob(len).await?)?,
                Call::Items(count) => items += exactly(count, client.items(count).await?)?,
            }
            calls += 1;
            latencies.lap();
        }
        let operations = if items > 0 { items } else { calls };
        if bytes == 0 && self.call != Call::List {
            bytes = operations * BLOCK as u64;
        }
        Ok(LaneReport {
            operations,
            bytes,
            latencies,
        })
    }

    async fn echo<C: Client>(&self, client: &C, call: u64) -> Result<()> {
        let block = block(self.number, call);
        let echo = client.echo(&block).await?;
        if echo.as_ref() != block {
            return Err(wrong("the echo"));
        }
        Ok(())
    }
}

/// `got`, if it is what was asked for.
fn exactly(asked: u64, got: u64) -> Result<u64> {
    if asked == got {
        return Ok(got);
    }
    Err(wrong(&format!("{got} instead of {asked}")))
}

/// How long calls took, if anybody wants to know.
#[derive(Debug)]
pub struct Latencies {
    histogram: Option<Histogram<u64>>,
    last: Instant,
}

impl Latencies {
    /// Begins with the first call.
    pub fn new(is_wanted: bool) -> Self {
        // From a nanosecond to a minute, with three digits: these bounds are accepted.
        let histogram = || Histogram::new_with_bounds(1, 60_000_000_000, 3).ok();
        Self {
            histogram: is_wanted.then(histogram).flatten(),
            last: Instant::now(),
        }
    }

    /// A call ends, and the next begins.
    pub fn lap(&mut self) {
        if self.histogram.is_some() {
            let now = Instant::now();
            self.record(now - self.last);
            self.last = now;
        }
    }

    /// A call has taken so long.
    pub fn record(&mut self, time: std::time::Duration) {
        if let Some(histogram) = &mut self.histogram {
            histogram.saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        }
    }

    /// Whether anybody wants to know.
    pub fn are_wanted(&self) -> bool {
        self.histogram.is_some()
    }

    /// Takes those of another lane in.
    pub(crate) fn merge(&mut self, other: &Self) {
        if let (Some(all), Some(more)) = (&mut self.histogram, &other.histogram) {
            // Both have the bounds of `new`.
            let _ = all.add(more);
        }
    }

    /// So many microseconds are enough for this share of the calls.
    pub(crate) fn quantile_us(&self, quantile: f64) -> Option<f64> {
        let histogram = self
            .histogram
            .as_ref()
            .filter(|histogram| !histogram.is_empty())?;
        Some(histogram.value_at_quantile(quantile) as f64 / 1_000.0)
    }
}
