//! Receiver: the end of a channel from which items are read in place.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::error::StreamError;
use super::inbound::{Inbound, Next};
use super::run::Run;
use crate::archive::Archive;
use crate::blocking::block_on;
use crate::metadata::Metadata;
use crate::wire::Wire;

/// The end of a channel that receives items of type `T`.
///
/// A handler gets it as a parameter `rows: Receiver<T>` for what its caller sends; a caller gets it from
/// [`open`](super::StreamCall::open) for a parameter `rows: Sender<T>`.
///
/// Each item is an [`Archive`]: validated, owning its part of the memory it was received in, readable in place across `.await` and on other
/// threads. Items that are kept keep that memory.
///
/// Dropping the receiver tells the sender that no more is wanted; the call goes on.
pub struct Receiver<T> {
    channel: Arc<Inbound>,
    run: Run,
    /// Whether the end was reported.
    ended: bool,
    metadata: Metadata,
    _item: PhantomData<fn() -> T>,
}

impl<T: Wire> Receiver<T> {
    pub(crate) fn new(channel: Arc<Inbound>) -> Self {
        Self {
            channel,
            run: Run::Empty,
            ended: false,
            metadata: Metadata::default(),
            _item: PhantomData,
        }
    }

    /// Waits for the next item; `None` is the end as its sender meant it: it has finished, or the method has returned its value.
    ///
    /// # Errors
    ///
    /// [`StreamError`], once: the stream ended otherwise, behind all items that arrived before. After that, as after the end, it is `None`.
    ///
    /// # Cancellation
    ///
    /// Nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> Result<Option<Archive<T>>, StreamError> {
        std::future::poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Does what [`recv`](Self::recv) does, blocking the thread: for plain `fn` handlers and programs without a runtime. It ends with an error when the call
    /// is cancelled or its time is up.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn blocking_recv(&mut self) -> Result<Option<Archive<T>>, StreamError> {
        block_on(|cx| self.poll_recv(cx))
    }

    /// Asks for the next item, and keeps the waker if there is none yet.
    ///
    /// Now and then it is pending although an item is there, and wakes at once: the connection, whose task may share the thread, tells the sender that it may go
    /// on before more is read.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Archive<T>>, StreamError>> {
        if self.ended {
            return Poll::Ready(Ok(None));
        }
        loop {
            if let Some(item) = self.run.next() {
                let item =
                    Archive::validate(item).map_err(|error| self.break_off(StreamError::Invalid(error)));
                return Poll::Ready(item.map(Some));
            }
            match ready!(self.channel.poll_next(cx)) {
                Next::Run(run) => self.run = run,
                Next::Finished(metadata) => {
                    self.ended = true;
                    self.metadata = metadata;
                    return Poll::Ready(Ok(None));
                }
                Next::Failed(error) => return Poll::Ready(Err(self.break_off(error))),
            }
        }
    }

    /// The metadata that the sender gave to the end; empty before it was reached.
    pub fn end_metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Ends the stream for its receiver, and for its sender if that does not know yet.
    fn break_off(&mut self, error: StreamError) -> StreamError {
        self.ended = true;
        self.run = Run::Empty;
        self.channel.stop();
        error
    }
}

impl<T: Wire> futures_core::Stream for Receiver<T> {
    type Item = Result<Archive<T>, StreamError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(cx).map(Result::transpose)
    }
}

impl<T: Wire> futures_core::FusedStream for Receiver<T> {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.channel.stop();
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver")
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}
