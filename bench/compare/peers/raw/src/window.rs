//! Window: the calls of a connection, of which several are under way.

use std::collections::VecDeque;
use std::time::Instant;

use harness::{Lane, LaneReport, Lanes, Latencies};

/// The calls of one connection. Answers come in the order of the calls.
pub(crate) struct Window<'a> {
    pub(crate) lane: &'a Lane,
    size: u64,
    sent: u64,
    answered: u64,
    starts: VecDeque<Instant>,
    latencies: Latencies,
}

impl<'a> Window<'a> {
    pub(crate) fn new(lanes: &'a Lanes) -> Self {
        Self {
            lane: &lanes.lane,
            size: lanes.in_flight as u64,
            sent: 0,
            answered: 0,
            starts: VecDeque::new(),
            latencies: Latencies::new(lanes.lane.takes_latencies),
        }
    }

    /// Sends as many calls as there is room for, each by its number.
    pub(crate) fn fill(&mut self, mut send: impl FnMut(u64)) {
        while self.sent - self.answered < self.size && !self.lane.until.is_over(self.sent) {
            send(self.sent);
            self.sent += 1;
            if self.latencies.are_wanted() {
                self.starts.push_back(Instant::now());
            }
        }
    }

    /// Notes an answer. The number of the call that it belongs to.
    pub(crate) fn answer(&mut self) -> u64 {
        if let Some(start) = self.starts.pop_front() {
            self.latencies.record(start.elapsed());
        }
        self.answered += 1;
        self.answered - 1
    }

    /// Whether nothing is under way.
    pub(crate) fn is_empty(&self) -> bool {
        self.answered == self.sent
    }

    /// What was done, with answers of so many bytes each; 0 if that differs.
    pub(crate) fn report(self, answer_len: u64) -> LaneReport {
        LaneReport {
            operations: self.answered,
            bytes: self.answered * answer_len,
            latencies: self.latencies,
        }
    }
}
