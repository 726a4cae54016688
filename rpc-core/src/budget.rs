//! Patience: the one budget of a connection for what its peer costs without use. When it is used up, the connection ends with goaway `calm`.

use std::time::Instant;

use crate::error::ConnectionError;

/// What a connection puts up with.
///
/// Every frame that makes work and brings nothing is charged; time and answered calls earn back. An honest peer never comes near the end: it gives up fewer calls
/// than it has answered, or fewer than 200 in a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    left: u32,
    /// Points at the beginning, and at most.
    capacity: u32,
    /// Up to when time has been counted.
    counted: Instant,
}

/// What a peer does without use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cost {
    /// A call that cannot be answered, by its caller's fault: no such method, no valid arguments.
    BadCall,
    /// An item or end that its channel does not allow: nobody who counts credit sends one.
    Breach,
    /// A call that is given up: the handler was started for nothing.
    Cancel,
    /// A call for which the connection has no memory left: the client could not know.
    Crowded,
    /// A frame of a kind that is not known, which is read and dropped.
    Ignored { len: u32 },
    /// A ping: an answer has to be written.
    Ping,
    /// A call above a limit.
    Refused,
    /// A grant that is hardly worth its frame.
    SmallGrant,
}

impl Cost {
    const fn points(self) -> u32 {
        match self {
            Self::BadCall => 5,
            Self::Breach | Self::Ping | Self::Refused => 10,
            Self::Cancel | Self::Crowded | Self::SmallGrant => 1,
            Self::Ignored { len } => 10 + len / 1024,
        }
    }

    const fn reason(self) -> &'static str {
        match self {
            Self::BadCall => "too many calls that no method answers",
            Self::Breach => "too many frames on channels that do not allow them",
            Self::Cancel => "too many calls given up",
            Self::Crowded => "too many calls while too much is held",
            Self::Ignored { .. } => "too many frames of unknown kinds",
            Self::Ping => "too many pings",
            Self::Refused => "too many calls above the limits",
            Self::SmallGrant => "too many small grants",
        }
    }
}

/// The least capacity.
const CAPACITY: u32 = 1_000;
/// Points that time earns.
const PER_SECOND: u32 = 200;
const NANOS_PER_POINT: u64 = 1_000_000_000 / PER_SECOND as u64;

impl Patience {
    /// Puts up with as many calls given up at once as can be in flight.
    pub(crate) fn new(now: Instant, max_calls: u32) -> Self {
        let capacity = CAPACITY.max(max_calls);
        Self {
            left: capacity,
            capacity,
            counted: now,
        }
    }

    /// Charges what the peer did at `now`, which never goes back.
    ///
    /// # Errors
    ///
    /// [`ConnectionError::Calm`]: it has done too much of it.
    pub(crate) fn charge(&mut self, now: Instant, cost: Cost) -> Result<(), ConnectionError> {
        self.refill(now);
        let reason = cost.reason();
        self.left = self
            .left
            .checked_sub(cost.points())
            .ok_or(ConnectionError::Calm { reason })?;
        Ok(())
    }

    /// The peer brought something: a call that was answered, items that were taken.
    pub(crate) fn earn(&mut self) {
        self.left = (self.left + 1).min(self.capacity);
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.counted).as_nanos();
        let passed = u64::try_from(passed).unwrap_or(u64::MAX);
        let points = passed / NANOS_PER_POINT;
        let missing = u64::from(self.capacity - self.left);
        if points >= missing {
            self.left = self.capacity;
            self.counted = self.counted.max(now);
        } else {
            self.left += u32::try_from(points).unwrap_or(0);
            // What is left over counts next time.
            self.counted += std::time::Duration::from_nanos(points * NANOS_PER_POINT);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::connection::link::tests::instant;

    fn cancels(patience: &mut Patience, now: Instant, count: u32) -> Result<(), ConnectionError> {
        (0..count).try_for_each(|_| patience.charge(now, Cost::Cancel))
    }

    #[test]
    fn a_burst_passes_and_one_more_does_not() {
        let now = instant();
        let mut patience = Patience::new(now, 16);
        assert!(cancels(&mut patience, now, 1_000).is_ok());
        let error = patience.charge(now, Cost::Cancel).unwrap_err();
        assert_eq!(
            error.to_string(),
            "peer costs more than it may: too many calls given up"
        );
    }

    #[test]
    fn all_calls_in_flight_can_be_given_up_at_once() {
        let now = instant();
        let mut patience = Patience::new(now, 5_000);
        assert!(cancels(&mut patience, now, 5_000).is_ok());
        assert!(cancels(&mut patience, now, 1).is_err());
    }

    #[test]
    fn two_hundred_in_a_second_pass_for_a_day_and_two_hundred_and_one_do_not() {
        for (per_second, passes) in [(200, true), (201, false)] {
            let start = instant();
            let mut patience = Patience::new(start, 16);
            let lasted = (0..86_400).try_for_each(|second| {
                (0..per_second).try_for_each(|number: u32| {
                    let nanos = 1_000_000_000 / per_second * number;
                    let now = start + Duration::new(second, nanos);
                    patience.charge(now, Cost::Cancel)
                })
            });
            assert_eq!(lasted.is_ok(), passes, "{per_second} per second");
        }
    }

    #[test]
    fn answered_calls_earn_what_given_up_ones_cost() {
        let now = instant();
        let mut patience = Patience::new(now, 16);
        for _ in 0..100_000 {
            patience.charge(now, Cost::Cancel).unwrap();
            patience.earn();
        }
        assert!(
            cancels(&mut patience, now, 1_000).is_ok(),
            "never more than at the beginning"
        );
        assert!(cancels(&mut patience, now, 1).is_err());
    }

    #[test]
    fn keep_alive_pings_are_free_for_ever() {
        let start = instant();
        let mut patience = Patience::new(start, 16);
        for second in 0..86_400 {
            patience
                .charge(start + Duration::from_secs(second), Cost::Ping)
                .unwrap();
        }
    }

    #[test]
    fn time_that_stands_still_or_jumps_is_no_trouble() {
        let start = instant();
        let mut patience = Patience::new(start + Duration::from_secs(10), 16);
        assert!(cancels(&mut patience, start, 1_000).is_ok());
        assert!(patience.charge(start, Cost::Cancel).is_err());
        let far = start + Duration::from_secs(100 * 365 * 24 * 3600);
        assert!(cancels(&mut patience, far, 1_000).is_ok());
        assert!(patience.charge(far, Cost::Cancel).is_err());
        assert!(patience.charge(far, Cost::Ignored { len: u32::MAX }).is_err());
    }
}
