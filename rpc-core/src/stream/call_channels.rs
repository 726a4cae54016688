//! CallChannels: all channel ends of one call, as the transport sees them.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

use bytes::Bytes;

use super::error::{SendError, StreamError};
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::receiver::Receiver;
use super::sender::{Sender, SenderSide};
use crate::code::Code;
use crate::failure::CallFailure;
use crate::frame_buf::FrameBuf;
use crate::metadata::Metadata;
use crate::service::MethodDescriptor;
use crate::wire::Wire;

/// Where the transport of a call is told that its channels have something for it: then it calls [`CallChannels::flush`].
pub trait Hook: Send + Sync {
    /// Takes note. Called without any lock of a channel held, and not again before the next flush.
    fn notify(&self);
}

/// Where channels hand over what is for the peer.
pub trait ChannelSink {
    /// Whether items have to wait, because enough is queued.
    fn is_full(&self) -> bool;
    /// Items: the body of one frame, which is left empty.
    fn item(&mut self, channel: u16, frame: &mut FrameBuf, packed: bool);
    /// The end of a channel on which this side sends.
    fn end(&mut self, channel: u16, code: Code, metadata: &Metadata);
    /// Nothing more is wanted of a channel on which the peer sends.
    fn stop(&mut self, channel: u16);
    /// The peer may send that much more on a channel, for what was read. What it was granted besides: its window has become so much longer.
    fn grant(&mut self, channel: u16, bytes: u32) -> u32;
}

/// The ends of one side of a call: those on which it sends, and those on which it receives, each in the order of the method's parameters.
#[derive(Debug)]
pub struct CallChannels {
    outbound: Vec<Arc<Outbound>>,
    inbound: Vec<Arc<Inbound>>,
    attached: AtomicBool,
}

impl CallChannels {
    pub(crate) fn new(outbound: Vec<Arc<Outbound>>, inbound: Vec<Arc<Inbound>>) -> Self {
        Self {
            outbound,
            inbound,
            attached: AtomicBool::new(false),
        }
    }

    /// The handler's side of a call of this method, if it has channels.
    pub fn for_handler(method: &MethodDescriptor) -> Option<Arc<Self>> {
        if method.handler_sends == 0 && method.handler_receives == 0 {
            return None;
        }
        let outbound = (0..method.handler_sends).map(|_| Arc::new(Outbound::new()));
        let inbound = (0..method.handler_receives).map(|_| Arc::new(Inbound::new()));
        Some(Arc::new(Self::new(outbound.collect(), inbound.collect())))
    }

    /// Channels on which this side sends.
    pub fn outbound_count(&self) -> usize {
        self.outbound.len()
    }

    /// Channels on which the peer sends.
    pub fn inbound_count(&self) -> usize {
        self.inbound.len()
    }

    /// The call was started: `credit` is what the peer lets this side send on each channel, `max_item` the longest item it accepts, `window` what this side
    /// lets the peer send. [`flush`](Self::flush) afterwards.
    pub fn attach(
        &self,
        hook: &Arc<dyn Hook>,
        credit: u32,
        max_item: usize,
        window: u32,
        woken: &mut Vec<Waker>,
    ) {
        for channel in &self.outbound {
            woken.extend(channel.attach(hook, credit, max_item));
        }
        for channel in &self.inbound {
            channel.attach(hook, window);
        }
        self.attached.store(true, Ordering::Release);
    }

    /// Whether the call was started.
    pub fn is_attached(&self) -> bool {
        self.attached.load(Ordering::Acquire)
    }

    /// Hands everything for the peer to `sink`. Whether something is left because the sink is full.
    pub fn flush(&self, sink: &mut dyn ChannelSink, woken: &mut Vec<Waker>) -> bool {
        for (channel, number) in self.inbound.iter().zip(0..) {
            channel.flush(number, sink);
        }
        let mut is_left = false;
        for (channel, number) in self.outbound.iter().zip(0..) {
            is_left |= channel.flush(number, sink, woken);
        }
        is_left
    }

    /// Whether items or ends that were sent wait here: for credit, or for the next flush.
    pub fn has_unsent(&self) -> bool {
        self.outbound.iter().any(|channel| channel.has_unsent())
    }

    /// The body of an item frame, 16-aligned.
    pub fn item(&self, channel: u16, body: Bytes, packed: bool) -> Option<Waker> {
        self.inbound.get(usize::from(channel))?.item(body, packed)
    }

    /// The peer has ended a channel on which it sends.
    pub fn ended(&self, channel: u16, code: Code, metadata: Metadata) -> Option<Waker> {
        let channel = self.inbound.get(usize::from(channel))?;
        if code == Code::OK {
            channel.finish(metadata)
        } else {
            channel.fail(StreamError::Aborted { code })
        }
    }

    /// The peer wants no more of a channel on which this side sends.
    pub fn stopped(&self, channel: u16) -> Option<Waker> {
        self.outbound.get(usize::from(channel))?.stop()
    }

    /// The peer lets this side send more. [`flush`](Self::flush) afterwards.
    pub fn granted(&self, channel: u16, bytes: u32) -> Option<Waker> {
        self.outbound.get(usize::from(channel))?.grant(bytes)
    }

    /// The call is over because its method returned, its value or its own error.
    pub fn returned(&self, error: bool, woken: &mut Vec<Waker>) {
        self.close(&SendError::Ended(None), woken);
        for channel in &self.inbound {
            woken.extend(if error {
                channel.fail(StreamError::MethodFailed)
            } else {
                channel.finish(Metadata::default())
            });
        }
    }

    /// The call is over without an answer of its method.
    pub fn failed(&self, failure: &CallFailure, woken: &mut Vec<Waker>) {
        self.close(&SendError::Ended(Some(failure.clone())), woken);
        for channel in &self.inbound {
            woken.extend(channel.fail(StreamError::Call(failure.clone())));
        }
    }

    fn close(&self, reason: &SendError, woken: &mut Vec<Waker>) {
        for channel in &self.outbound {
            woken.extend(channel.close(reason));
        }
    }

    /// The ends as the handler takes them.
    pub fn for_user(self: &Arc<Self>) -> UserChannels {
        UserChannels {
            channels: Some(Arc::clone(self)),
            next_sender: 0,
            next_receiver: 0,
        }
    }
}

/// The ends of a call that its handler has not taken yet.
#[derive(Debug, Default)]
pub struct UserChannels {
    channels: Option<Arc<CallChannels>>,
    next_sender: usize,
    next_receiver: usize,
}

impl UserChannels {
    /// The next channel on which the handler sends. One that the call does not have is closed.
    pub fn sender<T: Wire>(&mut self) -> Sender<T> {
        let channels = self.channels.as_ref();
        let channel = channels.and_then(|channels| channels.outbound.get(self.next_sender));
        self.next_sender += 1;
        let channel = channel.map_or_else(
            || {
                let closed = Outbound::new();
                let _ = closed.close(&SendError::Ended(None));
                Arc::new(closed)
            },
            Arc::clone,
        );
        Sender::new(channel, SenderSide::Handler)
    }

    /// The next channel on which the handler receives. One that the call does not have has failed.
    pub fn receiver<T: Wire>(&mut self) -> Receiver<T> {
        let channels = self.channels.as_ref();
        let channel = channels.and_then(|channels| channels.inbound.get(self.next_receiver));
        self.next_receiver += 1;
        let channel = channel.map_or_else(
            || {
                let failed = Inbound::new();
                let _ = failed.fail(StreamError::Aborted { code: Code::INTERNAL });
                Arc::new(failed)
            },
            Arc::clone,
        );
        Receiver::new(channel)
    }
}

impl fmt::Debug for dyn Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hook")
    }
}
