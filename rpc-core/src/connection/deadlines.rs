//! Earliest: a lower bound of many deadlines, for tables that are scanned when it has come.

use std::time::Instant;

/// At or before the earliest deadline of a table.
///
/// Calls end long before their deadlines, and then the bound stays behind: it is made exact by the next scan only. So a deadline costs a
/// comparison per call and a scan per period of the shortest timeout, and no heap.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Earliest(Option<Instant>);

impl Earliest {
    /// The bound. Nothing is due before it.
    pub(crate) fn get(self) -> Option<Instant> {
        self.0
    }

    /// Takes a deadline into account.
    pub(crate) fn lower(&mut self, deadline: Option<Instant>) {
        self.0 = match (self.0, deadline) {
            (Some(bound), Some(deadline)) => Some(bound.min(deadline)),
            (bound, deadline) => bound.or(deadline),
        };
    }

    /// Whether a scan is due. Then the bound is forgotten; the scan has to [`lower`](Self::lower) it with every deadline that is left.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        self.0.take_if(|bound| *bound <= now).is_some()
    }
}

/// The earlier of two deadlines.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    let mut earliest = Earliest(a);
    earliest.lower(b);
    earliest.get()
}
