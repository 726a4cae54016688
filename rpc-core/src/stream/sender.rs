//! Sender: the end of a channel that items are sent on, archived from a reference.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::error::SendError;
use super::outbound::Outbound;
use crate::blocking::block_on;
use crate::code::Code;
use crate::metadata::Metadata;
use crate::wire::Wire;

/// The end of a channel that sends items of type `T`.
///
/// A handler gets it as a parameter `rows: Sender<T>`; a caller gets it from [`open`](super::StreamCall::open) for a parameter
/// `rows: Receiver<T>`.
///
/// Sending waits while the receiver is behind. Items that are sent in quick succession share a frame; what was sent leaves by itself.
///
/// # The end
///
/// [`finish`](Self::finish) says that what was sent is all. A caller that drops its sender without saying so has given up: the handler
/// sees an error, never a clean end. A handler need not say it: its stream ends with the call, cleanly if the method returned its value.
pub struct Sender<T> {
    channel: Arc<Outbound>,
    side: SenderSide,
    _item: PhantomData<fn(&T)>,
}

/// Whose a sender is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SenderSide {
    Caller,
    Handler,
}

impl<T: Wire> Sender<T> {
    pub(crate) fn new(channel: Arc<Outbound>, side: SenderSide) -> Self {
        Self {
            channel,
            side,
            _item: PhantomData,
        }
    }

    /// Archives an item and sends it, once there is room for it.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the item was not sent.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped before it is ready has not sent the item.
    pub async fn send(&mut self, item: &T) -> Result<(), SendError> {
        std::future::poll_fn(|cx| self.channel.poll_send(item, cx)).await
    }

    /// Does what [`send`](Self::send) does, blocking the thread: for plain `fn` handlers and programs without a runtime. It ends with an error when the
    /// call is cancelled or its time is up.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn blocking_send(&mut self, item: &T) -> Result<(), SendError> {
        block_on(|cx| self.channel.poll_send(item, cx))
    }

    /// Waits until everything that was sent is on its way to the peer. Not needed for it to get there.
    ///
    /// # Errors
    ///
    /// [`SendError`]: what has not left never will.
    pub async fn flush(&mut self) -> Result<(), SendError> {
        std::future::poll_fn(|cx| self.channel.poll_flush(cx)).await
    }

    /// Ends the channel in order: what was sent is all.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the channel has ended before.
    pub fn finish(self) -> Result<(), SendError> {
        self.channel.finish(Metadata::default())
    }

    /// Ends the channel in order, with metadata for its receiver.
    ///
    /// # Errors
    ///
    /// As [`finish`](Self::finish).
    pub fn finish_with(self, metadata: Metadata) -> Result<(), SendError> {
        self.channel.finish(metadata)
    }

    /// Ends the channel before its time: the receiver gets an error with this code, and not what has not left yet.
    pub fn abort(self, code: Code) {
        let code = if code == Code::OK { Code::CANCELLED } else { code };
        self.channel.abort(code);
    }
}

impl<T: Wire> futures_sink::Sink<T> for Sender<T> {
    type Error = SendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.channel.poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, item: T) -> Result<(), SendError> {
        self.channel.push(&item)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.channel.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        match self.channel.finish(Metadata::default()) {
            Ok(()) | Err(SendError::Finished) => self.channel.poll_flush(cx),
            Err(error) => Poll::Ready(Err(error)),
        }
    }
}

impl<'a, T: Wire> futures_sink::Sink<&'a T> for Sender<T> {
    type Error = SendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.channel.poll_ready(cx)
    }

    fn start_send(self: Pin<&mut Self>, item: &'a T) -> Result<(), SendError> {
        self.channel.push(item)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.channel.poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        futures_sink::Sink::<T>::poll_close(self, cx)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.side == SenderSide::Caller {
            self.channel.abort(Code::CANCELLED);
        }
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}
