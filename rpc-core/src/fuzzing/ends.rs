//! Ends: both ends of a channel as their users have them, and what has to come of what they do.
//!
//! Whoever waits is asked again only after it was woken: a wake-up that is forgotten leaves something behind at the end.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use arbitrary::Arbitrary;

use super::bell::Bell;
use super::input::Input;
use crate::archive::Archive;
use crate::code::Code;
use crate::metadata::Metadata;
use crate::stream::{Inbound, Outbound, Receiver, SendError, Sender, SenderSide, StreamError};
use crate::wire::Wire;

pub(super) struct Ends<T> {
    sender: Option<Sender<T>>,
    side: SenderSide,
    pub(super) receiver: Option<Receiver<T>>,
    sender_woken: Arc<Bell>,
    receiver_woken: Arc<Bell>,
    /// An item for which there was no room.
    waiting: Option<T>,
    /// What was accepted and not received.
    expected: VecDeque<T>,
    accepted: u32,
    end: Option<End>,
    /// Whether items were changed on their way.
    pub(super) damaged: bool,
    /// Whether the call is over.
    pub(super) over: bool,
    /// Whether its end may have overtaken items.
    pub(super) overtaken: bool,
    /// Whether the receiver's side has said that no more is wanted.
    pub(super) stopped: bool,
    /// Whether the method has returned an error.
    pub(super) method_failed: bool,
    /// Whether the receiver was told of the end.
    ended: bool,
    /// Whether it has refused an item.
    refused: bool,
}

/// How a channel has ended by its sender.
#[derive(Debug)]
enum End {
    Finished,
    Aborted(Code),
}

impl<T: Wire + Debug> Ends<T> {
    pub(super) fn new(outbound: Arc<Outbound>, side: SenderSide, inbound: Arc<Inbound>) -> Self {
        Self {
            sender: Some(Sender::new(outbound, side)),
            side,
            receiver: Some(Receiver::new(inbound)),
            sender_woken: Arc::default(),
            // It looks once without being woken.
            receiver_woken: Arc::new(Bell::rung()),
            waiting: None,
            expected: VecDeque::new(),
            accepted: 0,
            end: None,
            damaged: false,
            over: false,
            overtaken: false,
            stopped: false,
            method_failed: false,
            ended: false,
            refused: false,
        }
    }

    /// Sends an item of the input, or asks again for one that waits.
    pub(super) fn send_or_go_on<'a>(&mut self, input: &mut Input<'a>)
    where
        T: Arbitrary<'a>,
    {
        if self.waiting.is_some() {
            self.send_again();
        } else if let Some(item) = input.value() {
            self.send(item);
        }
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

    pub(super) fn send_again(&mut self) -> bool {
        if self.waiting.is_none() || !self.sender_woken.has_rung() {
            return false;
        }
        if let Some(item) = self.waiting.take() {
            self.send(item);
        }
        true
    }

    pub(super) fn finish(&mut self) {
        let Some(sender) = self.take_sender() else { return };
        let mut metadata = Metadata::new();
        assert_eq!(metadata.insert("accepted", self.accepted.to_be_bytes()), Ok(()));
        match sender.finish_with(metadata) {
            Ok(()) => self.end = Some(End::Finished),
            Err(error) => assert!(self.over || self.stopped, "{error}"),
        }
    }

    pub(super) fn abort(&mut self, code: Code) {
        if let Some(sender) = self.take_sender() {
            self.aborted(if code == Code::OK { Code::CANCELLED } else { code });
            sender.abort(code);
        }
    }

    /// A caller has given up then; a handler's channel ends with its call.
    pub(super) fn drop_sender(&mut self) {
        if self.take_sender().is_some() && self.side == SenderSide::Caller {
            self.aborted(Code::CANCELLED);
        }
    }

    /// The first end counts, which may be the call's.
    fn aborted(&mut self, code: Code) {
        if !self.over {
            self.end = Some(End::Aborted(code));
        }
    }

    fn take_sender(&mut self) -> Option<Sender<T>> {
        self.waiting = None;
        self.sender.take()
    }

    /// Whether something came, or will: the receiver is woken for it.
    pub(super) fn receive(&mut self) -> bool {
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
        if !self.damaged && !self.overtaken {
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
            (None, None) if self.over && !self.method_failed => {
                assert!(self.expected.is_empty(), "items behind the answer");
            }
            (None, Some(StreamError::MethodFailed)) if self.over && self.method_failed => {
                assert!(self.expected.is_empty(), "items behind the answer");
            }
            (end, error) => panic!("sent {end:?}, received {error:?}"),
        }
    }

    /// Whether something happened after which items need not arrive.
    fn is_disturbed(&self) -> bool {
        let is_aborted = matches!(self.end, Some(End::Aborted(_)));
        self.damaged || self.overtaken || is_aborted || self.receiver.is_none()
    }

    /// Nothing was forgotten, now that nothing more happens by itself. The end would wake whoever was.
    pub(super) fn assert_idle(&self) {
        assert!(self.waiting.is_none(), "a sender was forgotten");
        assert!(
            self.is_disturbed() || self.expected.is_empty(),
            "items are left behind"
        );
        assert!(
            !self.refused || self.stopped || self.over || self.end.is_some(),
            "nobody told the sender"
        );
    }

    /// Nor was anything behind the end.
    pub(super) fn assert_ended(&self) {
        assert!(self.is_disturbed() || self.expected.is_empty(), "items were lost");
        assert!(self.receiver.is_none() || self.ended, "a receiver was forgotten");
    }
}
