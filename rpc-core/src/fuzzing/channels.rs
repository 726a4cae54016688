//! Target `channels`: a sender and a receiver, and a way between them on which items are held up, damaged, and overtaken by the end of the call.
//!
//! Whoever has something for the other side is asked only after it has said so, and whoever waits is asked again only after it was woken: a
//! notification that is forgotten leaves something behind at the end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use arbitrary::Arbitrary;
use bytes::Bytes;

use super::credit::item_cost;
use super::input::Input;
use super::messages::{Figure, Tree};
use super::mutate::mutate;
use crate::archive::{Archive, aligned_copy};
use crate::code::Code;
use crate::failure::CallFailure;
use crate::frame_buf::FrameBuf;
use crate::metadata::Metadata;
use crate::stream::{
    CallChannels, ChannelSink, Hook, Inbound, Outbound, Receiver, SendError, Sender, SenderSide, StreamError,
};
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

/// How a channel has ended by its sender.
#[derive(Debug)]
enum End {
    Finished,
    Aborted(Code),
}

/// Both ends of a channel, what is between them, and what has to come of it.
struct Game<T> {
    window: u32,
    max_item: usize,
    outbound: CallChannels,
    inbound: CallChannels,
    /// Rung by an end that has something for its transport.
    outbound_bell: Arc<Bell>,
    inbound_bell: Arc<Bell>,
    sender: Option<Sender<T>>,
    receiver: Option<Receiver<T>>,
    sender_woken: Arc<Bell>,
    receiver_woken: Arc<Bell>,
    /// An item for which there was no room.
    waiting: Option<T>,
    forth: VecDeque<Sent>,
    back: VecDeque<Told>,
    /// What was accepted and not received.
    expected: VecDeque<T>,
    accepted: u32,
    end: Option<End>,
    credit: i64,
    /// What has arrived and was not granted again.
    owed: i64,
    damaged: bool,
    /// Whether the call is over: its end may have overtaken items.
    over: bool,
    stopped: bool,
    /// Whether the receiver was told of the end.
    ended: bool,
    /// Whether it has refused an item.
    refused: bool,
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
            sender: Some(Sender::new(outbound, SenderSide::Caller)),
            receiver: Some(Receiver::new(inbound)),
            sender_woken: Arc::default(),
            // It looks once without being woken.
            receiver_woken: Arc::new(Bell(AtomicBool::new(true))),
            waiting: None,
            forth: VecDeque::new(),
            back: VecDeque::new(),
            expected: VecDeque::new(),
            accepted: 0,
            end: None,
            credit: 0,
            owed: 0,
            damaged: false,
            over: false,
            stopped: false,
            ended: false,
            refused: false,
        }
    }

    fn step<'a>(&mut self, input: &mut Input<'a>)
    where
        T: Arbitrary<'a>,
    {
        match input.byte() % 12 {
            0..=2 if self.waiting.is_none() => {
                if let Some(item) = input.value() {
                    self.send(item);
                }
            }
            0..=2 => drop(self.send_again()),
            3 | 4 => drop(self.flush_outbound(1 + input.index(4))),
            5 => drop(self.deliver(|_| false)),
            6 => drop(self.deliver(|body| mutate(body, input))),
            7 => drop(self.receive()),
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
        assert!(self.waiting.is_none(), "a sender was forgotten");
        // The end would wake whoever was forgotten.
        assert!(
            self.is_disturbed() || self.expected.is_empty(),
            "items are left behind"
        );
        assert!(
            !self.refused || self.stopped || self.over || self.end.is_some(),
            "nobody told the sender"
        );
        self.finish();
        self.go_on();
        assert!(self.is_disturbed() || self.expected.is_empty(), "items were lost");
        assert!(self.receiver.is_none() || self.ended, "a receiver was forgotten");
        assert!(self.forth.is_empty() && self.back.is_empty());
    }

    fn go_on(&mut self) {
        let mut is_progress = true;
        while is_progress {
            is_progress = self.flush_outbound(usize::MAX);
            is_progress |= self.deliver(|_| false);
            is_progress |= self.receive();
            is_progress |= self.flush_inbound(0);
            is_progress |= self.tell();
            is_progress |= self.send_again();
        }
    }

    /// Whether something happened after which items need not arrive.
    fn is_disturbed(&self) -> bool {
        let is_aborted = matches!(self.end, Some(End::Aborted(_)));
        self.damaged || self.over || is_aborted || self.receiver.is_none()
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

    fn send(&mut self, item: T) {
        let Some(sender) = &mut self.sender else { return };
        let waker = Waker::from(Arc::clone(&self.sender_woken));
        let sent = pin!(sender.send(&item)).poll(&mut Context::from_waker(&waker));
        match sent {
            Poll::Ready(Ok(())) => {
                self.accepted += 1;
                self.expected.push_back(item);
            }
            // Too long or too deep: the channel goes on.
            Poll::Ready(Err(SendError::Encode(_))) => {}
            Poll::Ready(Err(error)) => assert!(self.over || self.stopped, "{error}"),
            Poll::Pending => self.waiting = Some(item),
        }
    }

    fn send_again(&mut self) -> bool {
        if self.waiting.is_none() || !self.sender_woken.has_rung() {
            return false;
        }
        if let Some(item) = self.waiting.take() {
            self.send(item);
        }
        true
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
                self.damaged |= damage(&mut damaged);
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

    /// Whether something came, or will: the receiver is woken for it.
    fn receive(&mut self) -> bool {
        if self.ended || !self.receiver_woken.has_rung() {
            return false;
        }
        let Some(receiver) = &mut self.receiver else {
            return false;
        };
        let waker = Waker::from(Arc::clone(&self.receiver_woken));
        let mut cx = Context::from_waker(&waker);
        let Poll::Ready(next) = receiver.poll_recv(&mut cx) else {
            return true;
        };
        // There may be more.
        self.receiver_woken.ring();
        let end = match next {
            Ok(Some(item)) => {
                self.check(&item);
                return true;
            }
            Ok(None) => None,
            Err(error) => Some(error),
        };
        assert!(matches!(receiver.poll_recv(&mut cx), Poll::Ready(Ok(None))));
        self.ended = true;
        self.refused = matches!(end, Some(StreamError::Invalid(_)));
        let number = receiver.end_metadata().get("accepted").map(<[u8]>::to_vec);
        if !self.damaged && !self.over {
            self.check_end(end.as_ref(), number.as_deref());
        }
        true
    }

    /// Undamaged items are those that were sent, in that order.
    fn check(&mut self, item: &Archive<T>) {
        let value = item.deserialize();
        if self.damaged {
            return;
        }
        let sent = self.expected.pop_front();
        // As text: a number that is none is not equal to itself.
        let (value, sent) = (format!("{value:?}"), format!("{:?}", sent.map(Ok::<T, ()>)));
        assert_eq!(format!("Some({value})"), sent);
    }

    fn check_end(&self, error: Option<&StreamError>, number: Option<&[u8]>) {
        match (&self.end, error) {
            (Some(End::Finished), None) => {
                assert!(self.expected.is_empty(), "items behind the end");
                assert_eq!(number, Some(&self.accepted.to_be_bytes()[..]));
            }
            (Some(End::Aborted(sent)), Some(StreamError::Aborted { code })) => assert_eq!(code, sent),
            (end, error) => panic!("sent {end:?}, received {error:?}"),
        }
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
            stopped: &mut self.stopped,
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
            0 => self.finish(),
            1 => {
                let code = Code::from_number(u32::from(input.byte()));
                if let Some(sender) = self.sender.take() {
                    let sent = if code == Code::OK { Code::CANCELLED } else { code };
                    self.end = Some(End::Aborted(sent));
                    sender.abort(code);
                }
            }
            2 => {
                if self.sender.take().is_some() {
                    self.end = Some(End::Aborted(Code::CANCELLED));
                }
            }
            3 => self.receiver = None,
            4 => self.end_call(false, true),
            5 => self.end_call(true, true),
            _ => self.end_call(false, false),
        }
        if self.sender.is_none() {
            self.waiting = None;
        }
    }

    fn finish(&mut self) {
        let Some(sender) = self.sender.take() else { return };
        let mut metadata = Metadata::new();
        assert_eq!(metadata.insert("accepted", self.accepted.to_be_bytes()), Ok(()));
        match sender.finish_with(metadata) {
            Ok(()) => self.end = Some(End::Finished),
            Err(error) => assert!(self.over || self.stopped, "{error}"),
        }
    }

    /// The call ends on both sides, one of which has it from its handler.
    fn end_call(&mut self, is_error: bool, is_returned_to_receiver: bool) {
        self.over = true;
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

fn wake(woken: impl IntoIterator<Item = Waker>) {
    woken.into_iter().for_each(Waker::wake);
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

/// Whether somebody was told, or woken.
#[derive(Debug, Default)]
struct Bell(AtomicBool);

impl Bell {
    fn ring(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn has_rung(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

impl Hook for Bell {
    fn notify(&self) {
        self.ring();
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}
