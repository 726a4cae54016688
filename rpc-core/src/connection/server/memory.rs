//! Memory of a server's connection: how much it holds, and what it does when the server has no more to give.

use std::collections::VecDeque;

use super::{ServerConnection, State};
use crate::code::Code;
use crate::connection::event::ServerEvent;
use crate::id::CallId;
use crate::metadata::Metadata;

/// Whether a server has memory left for what a peer sends, as its connections are told by their owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pressure {
    /// It has.
    #[default]
    None,
    /// Too much is held by all connections together. One that holds a good deal of it, or is about to, reads no further; while calls with channels are in flight, which may
    /// need what comes next, it reads on and refuses calls.
    Pause,
    /// Waiting has not helped: calls that need a good deal are refused, and what is incomplete is given up.
    Refuse,
}

/// What a connection holds below this does not make it wait, nor what it is about to read: small calls go on under any pressure.
pub const LIGHT: usize = 64 << 10;

impl ServerConnection {
    /// Bytes of memory that the connection holds for its peer: what [`held`](Self::held) counts and the longest reply, bodies of which chunks are still to come, and all of
    /// the receive memory that a running call has its arguments in. Buffers without contents are not among them.
    pub fn memory(&self) -> usize {
        self.held + self.link.send.len() + self.link.recv.bodies_memory() + self.pins.bytes
    }

    /// From now on memory of long bodies is used again once nobody has them: by all connections of this thread that share theirs, bodies of 16 to 64 MiB, up to 64 MiB per
    /// thread, until it was of no use for ten seconds and a connection of the thread [rests](Self::rest). It is not counted while nobody uses it.
    ///
    /// A peer that begins such a body may be given that memory before it has sent more of it: no more of it than there is.
    pub fn share_memory(&mut self) {
        self.link.recv.share();
    }

    /// Tells the connection how the server's memory is. [`Pressure::Refuse`] gives up what is incomplete; the failures are queued.
    pub fn set_pressure(&mut self, pressure: Pressure) {
        let before = std::mem::replace(&mut self.pressure, pressure);
        if pressure == Pressure::Refuse && before != pressure {
            self.give_up_incomplete();
        }
    }

    /// Whether the connection stands still until the server has memory again.
    pub fn is_paused(&self) -> bool {
        self.pressure == Pressure::Pause && self.streaming == 0 && self.is_heavy()
    }

    /// Whether the connection holds a good deal of memory, or is about to.
    pub fn is_heavy(&self) -> bool {
        self.memory() >= LIGHT || self.link.recv.expected() > LIGHT
    }

    /// Whether a call that needs `len` bytes, as far as can be seen, is refused for want of memory.
    pub(super) fn lacks_memory(&self, len: usize) -> bool {
        let is_refusing = match self.pressure {
            Pressure::None => false,
            Pressure::Pause => self.streaming > 0,
            Pressure::Refuse => true,
        };
        is_refusing && self.memory() + len >= LIGHT
    }

    fn give_up_incomplete(&mut self) {
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get_mut(index) else {
                return;
            };
            let Ok(call) = u32::try_from(index).map(CallId) else {
                return;
            };
            match slot.state {
                State::Assembling => self.fail(call, Code::REFUSED, NO_MEMORY, &Metadata::default()),
                State::Running if slot.item.is_some() => {
                    slot.state = State::Stopping;
                    slot.item = None;
                    self.link.recv.discard(call);
                    self.later.push_back(ServerEvent::Breach {
                        call,
                        code: Code::INTERNAL,
                        text: NO_MEMORY_FOR_ITEM,
                    });
                }
                State::Free
                | State::Running
                | State::ExpiryDue
                | State::Stopping
                | State::Replying
                | State::Answered => {}
            }
        }
    }
}

/// Why a call was refused.
pub(super) const NO_MEMORY: &str = "server holds as much as it may for all its clients (memory_budget)";
/// Why a call that runs was stopped.
pub(super) const NO_MEMORY_FOR_ITEM: &str =
    "server has no memory for the item: it holds as much as it may for all its clients (memory_budget)";

/// Receive memory that cannot be used again, because arguments of running calls are in it.
///
/// A small body keeps all of the segment that it arrived in: counted by their lengths, calls that a peer leaves running would hold many times what they seem to.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// In the order of their numbers.
    segments: VecDeque<Segment>,
    bytes: usize,
}

#[derive(Debug)]
struct Segment {
    number: u64,
    len: usize,
    calls: u32,
}

impl Pins {
    /// A call has begun whose arguments are in the segment `number`, which is the last one that there is, of `len` bytes.
    pub(super) fn pin(&mut self, number: u64, len: usize) {
        match self.segments.back_mut() {
            Some(last) if last.number == number => {
                last.calls += 1;
                // Its calls had ended, or it has grown.
                self.bytes = self.bytes - last.len + len;
                last.len = len;
            }
            _ => {
                self.bytes += len;
                self.segments.push_back(Segment {
                    number,
                    len,
                    calls: 1,
                });
            }
        }
    }

    fn find(&mut self, number: u64) -> Option<&mut Segment> {
        // As a rule a call ends before much else arrives.
        if self.segments.back().is_some_and(|last| last.number == number) {
            return self.segments.back_mut();
        }
        let found = self
            .segments
            .binary_search_by_key(&number, |segment| segment.number);
        self.segments.get_mut(found.ok()?)
    }

    /// The call has ended.
    pub(super) fn unpin(&mut self, number: u64) {
        let Some(segment) = self.find(number) else {
            debug_assert!(false, "segment {number} is not pinned");
            return;
        };
        segment.calls -= 1;
        if segment.calls == 0 {
            self.bytes -= std::mem::take(&mut segment.len);
        }
        while self.segments.front().is_some_and(|segment| segment.calls == 0) {
            self.segments.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_held_as_long_as_any_of_its_calls() {
        let mut pins = Pins::default();
        pins.pin(0, 8_192);
        pins.pin(0, 8_192);
        pins.pin(1, 65_536);
        pins.pin(4, 8_192);
        assert_eq!(pins.bytes, 8_192 + 65_536 + 8_192);
        pins.unpin(0);
        assert_eq!(pins.bytes, 8_192 + 65_536 + 8_192);
        pins.unpin(1);
        assert_eq!(pins.bytes, 2 * 8_192);
        pins.unpin(0);
        assert_eq!(pins.bytes, 8_192);
        // The last one is used again.
        pins.unpin(4);
        assert_eq!((pins.bytes, pins.segments.len()), (0, 0));
        pins.pin(4, 8_192);
        assert_eq!(pins.bytes, 8_192);
    }
}
