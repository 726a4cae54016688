//! Channels: credit and ends of the channels of one call, as both sides count them (P-53, P-54).

use std::time::{Duration, Instant};

use crate::stream::ITEM_OVERHEAD;

/// The channels of one call.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    /// Those on which the peer sends.
    inbound: Vec<Inbound>,
    /// Those on which this side sends.
    outbound: Vec<Outbound>,
    /// By how much the windows together are longer than they were.
    widened: usize,
}

#[derive(Clone, Copy, Debug)]
struct Inbound {
    /// What the peer may still send. One item may exceed it.
    credit: i64,
    /// What it may have sent that was not read.
    window: u32,
    /// When it was granted something for what was read.
    granted: Option<Instant>,
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Outbound {
    /// What this side may still send, likewise.
    credit: i64,
    ended: bool,
}

/// What is wrong with a frame of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call has no such channel.
    NoSuchChannel,
    /// The channel has ended.
    Ended,
    /// There was no credit for it.
    NoCredit,
    /// So much credit cannot be counted.
    CreditRaised,
}

/// Windows become longer while the connection holds less than this part of `max_held`: the rest is for further calls.
pub(crate) const WIDE_SHARE: usize = 4;

/// The largest credit that a channel may have.
const MAX_CREDIT: i64 = (1 << 31) - 1;

/// A channel is fast if half of its window is read in less time: then the length of the window may be what holds it up. A slow one has no use for a longer one.
const FAST: Duration = Duration::from_millis(100);

impl Channels {
    pub(crate) fn new(inbound: u16, inbound_credit: u32) -> Self {
        let channel = Inbound {
            credit: inbound_credit.into(),
            window: inbound_credit,
            granted: None,
            ended: false,
        };
        Self {
            inbound: vec![channel; inbound.into()],
            outbound: Vec::new(),
            widened: 0,
        }
    }

    /// Adds the channels on which this side sends.
    pub(crate) fn open_outbound(&mut self, count: u16, credit: u32) {
        let channel = Outbound {
            credit: credit.into(),
            ended: false,
        };
        self.outbound = vec![channel; count.into()];
    }

    /// The peer lets this side send more on each channel. How many there are.
    pub(crate) fn raise_outbound(&mut self, credit: u32) -> u16 {
        self.outbound.iter_mut().zip(1..).fold(0, |_, (channel, count)| {
            channel.credit += i64::from(credit);
            count
        })
    }

    /// The peer sends an item frame whose body is `len` bytes long in all.
    pub(crate) fn receive_item(&mut self, channel: u16, len: u32) -> Result<(), Fault> {
        let channel = self.inbound_mut(channel)?;
        if channel.ended {
            return Err(Fault::Ended);
        }
        if channel.credit <= 0 {
            return Err(Fault::NoCredit);
        }
        channel.credit -= item_cost(len);
        Ok(())
    }

    /// The peer ends a channel on which it sends.
    pub(crate) fn receive_end(&mut self, channel: u16) -> Result<(), Fault> {
        let channel = self.inbound_mut(channel)?;
        if channel.ended {
            return Err(Fault::Ended);
        }
        channel.ended = true;
        Ok(())
    }

    /// The peer lets this side send more.
    pub(crate) fn receive_credit(&mut self, channel: u16, bytes: u32) -> Result<(), Fault> {
        let channel = self.outbound_mut(channel)?;
        let credit = channel.credit + i64::from(bytes);
        if credit > MAX_CREDIT {
            return Err(Fault::CreditRaised);
        }
        channel.credit = credit;
        Ok(())
    }

    /// The peer wants no more of a channel on which this side sends. Whether the channel is to be ended for that.
    pub(crate) fn receive_stop(&mut self, channel: u16) -> Result<bool, Fault> {
        let channel = self.outbound_mut(channel)?;
        Ok(!std::mem::replace(&mut channel.ended, true))
    }

    /// This side sends an item. Whether the channel is open.
    pub(crate) fn send_item(&mut self, channel: u16, len: u32) -> bool {
        let Ok(channel) = self.outbound_mut(channel) else {
            return false;
        };
        debug_assert!(channel.ended || channel.credit > 0, "item without credit");
        channel.credit -= item_cost(len);
        !channel.ended
    }

    /// This side ends a channel on which it sends. Whether it was open.
    pub(crate) fn send_end(&mut self, channel: u16) -> bool {
        self.outbound_mut(channel)
            .is_ok_and(|channel| !std::mem::replace(&mut channel.ended, true))
    }

    /// This side lets the peer send more. How much of it the peer is to be told: nothing, once it has ended.
    pub(crate) fn send_credit(&mut self, channel: u16, bytes: u32) -> u32 {
        match self.inbound_mut(channel) {
            Ok(channel) if !channel.ended => {
                let room = u32::try_from(MAX_CREDIT.saturating_sub(channel.credit)).unwrap_or(u32::MAX);
                let bytes = bytes.min(room);
                channel.credit += i64::from(bytes);
                bytes
            }
            Ok(_) | Err(_) => 0,
        }
    }

    /// This side is about to let the peer send more, for half a window that was read. How much it may grant besides: a fast channel gets twice its window,
    /// up to `longest`, if that is not beyond `room`.
    pub(crate) fn widen(&mut self, channel: u16, longest: u32, room: usize, now: Instant) -> u32 {
        let Ok(channel) = self.inbound_mut(channel) else {
            return 0;
        };
        let before = channel.granted.replace(now);
        let is_fast = before.is_some_and(|before| now.saturating_duration_since(before) < FAST);
        let more = channel.window.min(longest.saturating_sub(channel.window));
        if channel.ended || !is_fast || more as usize > room {
            return 0;
        }
        channel.window += more;
        self.widened += more as usize;
        more
    }

    /// By how much the windows together are longer than they were.
    pub(crate) fn widened(&self) -> usize {
        self.widened
    }

    /// Whether a channel on which the peer sends is open.
    pub(crate) fn is_inbound_open(&self, channel: u16) -> bool {
        self.inbound
            .get(usize::from(channel))
            .is_some_and(|channel| !channel.ended)
    }

    /// Whether the peer has ended all of its channels.
    pub(crate) fn is_inbound_over(&self) -> bool {
        self.inbound.iter().all(|channel| channel.ended)
    }

    /// Whether this side has ended all of its channels.
    pub(crate) fn is_outbound_over(&self) -> bool {
        self.outbound.iter().all(|channel| channel.ended)
    }

    fn inbound_mut(&mut self, channel: u16) -> Result<&mut Inbound, Fault> {
        self.inbound
            .get_mut(usize::from(channel))
            .ok_or(Fault::NoSuchChannel)
    }

    fn outbound_mut(&mut self, channel: u16) -> Result<&mut Outbound, Fault> {
        self.outbound
            .get_mut(usize::from(channel))
            .ok_or(Fault::NoSuchChannel)
    }
}

/// What an item frame costs (P-53).
fn item_cost(len: u32) -> i64 {
    i64::from(len) + i64::from(ITEM_OVERHEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P-53
    #[test]
    fn an_item_needs_credit_and_may_exceed_it_once() {
        let mut channels = Channels::new(1, 100);
        assert_eq!(channels.receive_item(0, 83), Ok(()));
        assert_eq!(channels.receive_item(0, 5_000), Ok(()), "one byte is left");
        assert_eq!(channels.receive_item(0, 0), Err(Fault::NoCredit));
        assert_eq!(channels.send_credit(0, 5_015), 5_015);
        assert_eq!(channels.receive_item(0, 0), Err(Fault::NoCredit), "it is at zero");
        assert_eq!(channels.send_credit(0, 1), 1);
        assert_eq!(channels.receive_item(0, 0), Ok(()));
        assert_eq!(channels.receive_item(1, 0), Err(Fault::NoSuchChannel));
    }

    /// P-53
    #[test]
    fn frames_without_a_body_use_up_credit() {
        let mut channels = Channels::new(1, 16_384);
        let mut count = 0;
        while channels.receive_item(0, 0).is_ok() {
            count += 1;
        }
        assert_eq!(count, 1_024);
    }

    /// P-53: the sum of what was granted and not used is bounded.
    #[test]
    fn credit_that_cannot_be_counted_is_refused() {
        let mut channels = Channels::new(0, 0);
        channels.open_outbound(1, 1);
        assert_eq!(channels.receive_credit(0, (1 << 31) - 2), Ok(()));
        assert_eq!(channels.receive_credit(0, 1), Err(Fault::CreditRaised));
        assert!(channels.send_item(0, 0));
        assert_eq!(channels.receive_credit(0, 16), Ok(()));
        assert_eq!(channels.receive_credit(1, 1), Err(Fault::NoSuchChannel));
    }

    #[expect(clippy::disallowed_methods, reason = "there is no other way to an instant")]
    #[test]
    fn windows_of_fast_channels_become_longer_step_by_step() {
        let mut channels = Channels::new(2, 100);
        let start = Instant::now();
        let mut widen =
            |channel, millis, room| channels.widen(channel, 500, room, start + Duration::from_millis(millis));
        assert_eq!(widen(0, 0, 1_000), 0, "nobody knows yet how fast it is");
        assert_eq!(widen(0, 99, 99), 0, "no room");
        assert_eq!(widen(0, 198, 100), 100);
        assert_eq!(widen(1, 198, 1_000), 0, "the first time of the other one");
        assert_eq!(widen(0, 298, 1_000), 0, "slow");
        assert_eq!(widen(0, 299, 1_000), 200);
        assert_eq!(widen(0, 300, 1_000), 100, "as much as was wanted in all");
        assert_eq!(widen(0, 301, 1_000), 0);
        assert_eq!(widen(1, 250, 1_000), 100);
        assert_eq!(widen(2, 251, 1_000), 0, "there is no such channel");
        assert_eq!(channels.widened(), 500);
        assert_eq!(channels.receive_end(1), Ok(()));
        assert_eq!(channels.widen(1, 500, 1_000, start), 0);
        let mut long = Channels::new(1, 600);
        let widened = [0, 1].map(|_| long.widen(0, 500, 1_000, start));
        assert_eq!(widened, [0, 0], "longer than windows become");
    }

    /// P-54
    #[test]
    fn a_channel_ends_once() {
        let mut channels = Channels::new(2, 1_000);
        assert_eq!(channels.receive_end(0), Ok(()));
        assert_eq!(channels.receive_end(0), Err(Fault::Ended));
        assert_eq!(channels.receive_item(0, 0), Err(Fault::Ended));
        assert!(!channels.is_inbound_over());
        assert_eq!(channels.receive_end(1), Ok(()));
        assert!(channels.is_inbound_over());
        assert_eq!(channels.send_credit(1, 5), 0, "nobody is there to use it");
        channels.open_outbound(1, 1_000);
        assert_eq!(channels.receive_stop(0), Ok(true));
        assert_eq!(channels.receive_stop(0), Ok(false));
        assert!(!channels.send_end(0) && channels.is_outbound_over());
    }
}
