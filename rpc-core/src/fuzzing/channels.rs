//! Target `channels`: a sender and a receiver, and a way between them on which items are held up, damaged, and overtaken by the end of the call.
//!
//! Whoever has something for the other side is asked only after it has said so: a notification that is forgotten leaves something behind at the end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;

use arbitrary::Arbitrary;
use bytes::Bytes;

use super::bell::{Bell, wake};
use super::credit::item_cost;
use super::ends::Ends;
use super::input::Input;
use super::messages::{Figure, Tree};
use super::mutate::mutate;
use crate::archive::aligned_copy;
use crate::code::Code;
use crate::failure::CallFailure;
use crate::frame_buf::FrameBuf;
use crate::metadata::Metadata;
use crate::stream::{CallChannels, ChannelSink, Hook, Inbound, Outbound, SenderSide};
use crate::wire::Wire;

/// The type of the items, the window, the longest item; then steps.
pub(super) fn run(input: &mut Input<'_>) {
    match input.byte() % 6 {
        0 => play::<String>(input),
        1 => play::<Figure>(input),
        2 => play::<Tree>(input),
        3 => play::<()>(input),
        4 => play::<Vec<u64>>(input),
        _ => play::<BTreeMap<String, u8>>(input),
    }
}

fn play<'a, T: Wire + Arbitrary<'a> + Debug>(input: &mut Input<'a>) {
    let window = u32::try_from(input.len().max(1)).unwrap_or(1);
    let mut game = Game::<T>::new(window, input.len());
    while !input.is_empty() {
        game.step(input);
    }
    game.settle();
}

/// On its way to the receiver.
enum Sent {
    Item { body: Bytes, packed: bool },
    End { code: Code, metadata: Metadata },
}

/// On its way to the sender.
enum Told {
    Granted(u32),
    Stopped,
}

/// A channel, and what is between its ends.
struct Game<T> {
    window: u32,
    max_item: usize,
    outbound: CallChannels,
    inbound: CallChannels,
    /// Rung by an end that has something for its transport.
    outbound_bell: Arc<Bell>,
    inbound_bell: Arc<Bell>,
    ends: Ends<T>,
    forth: VecDeque<Sent>,
    back: VecDeque<Told>,
    credit: i64,
    /// What has arrived and was not granted again.
    owed: i64,
}

impl<T: Wire + Debug> Game<T> {
    fn new(window: u32, max_item: usize) -> Self {
        let (outbound, inbound) = (Arc::new(Outbound::new()), Arc::new(Inbound::new()));
        Self {
            window,
            max_item,
            outbound: CallChannels::new(vec![Arc::clone(&outbound)], Vec::new()),
            inbound: CallChannels::new(Vec::new(), vec![Arc::clone(&inbound)]),
            outbound_bell: Arc::default(),
            inbound_bell: Arc::default(),
            ends: Ends::new(outbound, SenderSide::Caller, inbound),
            forth: VecDeque::new(),
            back: VecDeque::new(),
            credit: 0,
            owed: 0,
        }
    }

    fn step<'a>(&mut self, input: &mut Input<'a>)
    where
        T: Arbitrary<'a>,
    {
        match input.byte() % 12 {
            0..=2 => self.ends.send_or_go_on(input),
            3 | 4 => drop(self.flush_outbound(1 + input.index(4))),
            5 => drop(self.deliver(|_| false)),
            6 => drop(self.deliver(|body| mutate(body, input))),
            7 => drop(self.ends.receive()),
            8 => drop(self.flush_inbound(u32::from(input.byte()))),
            9 => drop(self.tell()),
            10 => self.leave(input),
            _ => self.attach(),
        }
    }

    /// Does what can be done until nothing can, then ends the channel and does so again, and looks at what came of it.
    fn settle(&mut self) {
        self.attach();
        self.go_on();
        self.ends.assert_idle();
        self.ends.finish();
        self.go_on();
        self.ends.assert_ended();
        assert!(self.forth.is_empty() && self.back.is_empty());
    }

    fn go_on(&mut self) {
        let mut is_progress = true;
        while is_progress {
            is_progress = self.flush_outbound(usize::MAX);
            is_progress |= self.deliver(|_| false);
            is_progress |= self.ends.receive();
            is_progress |= self.flush_inbound(0);
            is_progress |= self.tell();
            is_progress |= self.ends.send_again();
        }
    }

    /// The call is started, once.
    fn attach(&mut self) {
        if self.outbound.is_attached() {
            return;
        }
        let mut woken = Vec::new();
        let bells: [Arc<dyn Hook>; 2] = [
            Arc::clone(&self.outbound_bell) as _,
            Arc::clone(&self.inbound_bell) as _,
        ];
        let (window, max_item) = (self.window, self.max_item);
        self.outbound
            .attach(&bells[0], window, max_item, window, &mut woken);
        self.inbound
            .attach(&bells[1], window, max_item, window, &mut woken);
        self.credit = window.into();
        // Whoever attaches flushes afterwards.
        self.outbound_bell.ring();
        self.inbound_bell.ring();
        wake(woken);
    }

    /// Puts frames on their way, as long as there are fewer than `room` of them.
    fn flush_outbound(&mut self, room: usize) -> bool {
        if !self.outbound_bell.has_rung() {
            return false;
        }
        let before = self.forth.len();
        let mut woken = Vec::new();
        let mut sink = Forth {
            way: &mut self.forth,
            credit: &mut self.credit,
            max_item: self.max_item,
            room,
        };
        let is_left = self.outbound.flush(&mut sink, &mut woken);
        if is_left {
            self.outbound_bell.ring();
        }
        let is_progress = self.forth.len() > before || !woken.is_empty();
        wake(woken);
        is_progress
    }

    /// The next frame arrives, after `damage` was done to it.
    fn deliver(&mut self, damage: impl FnOnce(&mut Vec<u8>) -> bool) -> bool {
        let woken = match self.forth.pop_front() {
            None => return false,
            Some(Sent::Item { body, packed }) => {
                let mut damaged = body.to_vec();
                self.ends.damaged |= damage(&mut damaged);
                // Both sides count the same length.
                damaged.resize(body.len(), 0);
                self.owed += item_cost(body.len());
                self.inbound.item(0, aligned_copy(&damaged), packed)
            }
            Some(Sent::End { code, metadata }) => self.inbound.ended(0, code, metadata),
        };
        wake(woken);
        true
    }

    /// The receiver's side tells what it has to tell, and gives `more` credit besides.
    fn flush_inbound(&mut self, more: u32) -> bool {
        if !self.inbound_bell.has_rung() {
            return false;
        }
        let before = self.back.len();
        let mut sink = Back {
            way: &mut self.back,
            owed: &mut self.owed,
            stopped: &mut self.ends.stopped,
            more,
        };
        assert!(!self.inbound.flush(&mut sink, &mut Vec::new()));
        self.back.len() > before
    }

    /// The sender's side is told the next of it.
    fn tell(&mut self) -> bool {
        let woken = match self.back.pop_front() {
            None => return false,
            Some(Told::Granted(bytes)) => {
                self.credit += i64::from(bytes);
                let woken = self.outbound.granted(0, bytes);
                self.outbound_bell.ring();
                woken
            }
            Some(Told::Stopped) => self.outbound.stopped(0),
        };
        wake(woken);
        true
    }

    /// Somebody wants no more.
    fn leave(&mut self, input: &mut Input<'_>) {
        match input.byte() % 7 {
            0 => self.ends.finish(),
            1 => self.ends.abort(Code::from_number(u32::from(input.byte()))),
            2 => self.ends.drop_sender(),
            3 => self.ends.receiver = None,
            4 => self.end_call(false, true),
            5 => self.end_call(true, true),
            _ => self.end_call(false, false),
        }
    }

    /// The call ends on both sides, one of which has it from its handler.
    fn end_call(&mut self, is_error: bool, is_returned_to_receiver: bool) {
        self.ends.over = true;
        self.ends.overtaken = true;
        let mut woken = Vec::new();
        let failure = CallFailure::from_peer(Code::CANCELLED, String::new());
        let (returned, failed) = if is_returned_to_receiver {
            (&self.inbound, &self.outbound)
        } else {
            (&self.outbound, &self.inbound)
        };
        returned.returned(is_error, &mut woken);
        failed.failed(&failure, &mut woken);
        wake(woken);
    }
}

/// The transport of the sender's side.
struct Forth<'a> {
    way: &'a mut VecDeque<Sent>,
    credit: &'a mut i64,
    max_item: usize,
    room: usize,
}

impl ChannelSink for Forth<'_> {
    fn is_full(&self) -> bool {
        self.way.len() >= self.room
    }

    fn item(&mut self, _: u16, frame: &mut FrameBuf, packed: bool) {
        assert!(*self.credit > 0, "an item without credit");
        assert!(frame.body_len() <= self.max_item);
        *self.credit -= item_cost(frame.body_len());
        self.way.push_back(Sent::Item {
            body: aligned_copy(frame.body()),
            packed,
        });
        frame.clear();
    }

    fn end(&mut self, _: u16, code: Code, metadata: &Metadata) {
        self.way.push_back(Sent::End {
            code,
            metadata: metadata.clone(),
        });
    }

    fn stop(&mut self, _: u16) {
        panic!("nothing is received here");
    }

    fn grant(&mut self, _: u16, _: u32) -> u32 {
        panic!("nothing is received here");
    }
}

/// The transport of the receiver's side.
struct Back<'a> {
    way: &'a mut VecDeque<Told>,
    owed: &'a mut i64,
    stopped: &'a mut bool,
    more: u32,
}

impl ChannelSink for Back<'_> {
    fn is_full(&self) -> bool {
        false
    }

    fn item(&mut self, _: u16, _: &mut FrameBuf, _: bool) {
        panic!("nothing is sent here");
    }

    fn end(&mut self, _: u16, _: Code, _: &Metadata) {
        panic!("nothing is sent here");
    }

    fn stop(&mut self, _: u16) {
        assert!(!*self.stopped, "stopped twice");
        *self.stopped = true;
        self.way.push_back(Told::Stopped);
    }

    fn grant(&mut self, _: u16, bytes: u32) -> u32 {
        *self.owed -= i64::from(bytes);
        assert!(*self.owed >= 0, "granted what was not received");
        assert!(!*self.stopped, "granted what nobody wants");
        self.way.push_back(Told::Granted(bytes + self.more));
        self.more
    }
}
