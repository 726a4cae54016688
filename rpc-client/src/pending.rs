//! PendingCall: one call from its start to its outcome, over as many connections as it takes to send it once.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rpc_core::{CallFailure, CallOptions, Code, FailureKind, OutgoingCall};

use crate::calls::{Outgoing, Start, no_answer};
use crate::channel::Channel;
use crate::clock;
use crate::connection::Shared;
use crate::frame_pool;
use crate::reconnect::find;
use crate::waiters::{Key, Outcome};
use crate::waiting::Ticket;

/// A call under way on a [`Channel`].
///
/// # Cancellation
///
/// Dropping it cancels the call. A call that was not sent yet leaves no trace; one that was sent is cancelled at the server, unless its
/// answer has arrived. A frame that is half written is completed all the same.
#[must_use = "a call does nothing until it is awaited"]
pub struct PendingCall {
    channel: Channel,
    options: CallOptions,
    call: Outgoing,
    stage: Stage,
    /// Connections that took no calls when this one was to be started.
    refusals: u32,
    /// Whether a server that was closing its connection has refused the call once.
    moved: bool,
}

enum Stage {
    /// Not polled yet.
    New,
    /// Waits for a connection.
    Finding(Pin<Box<dyn Future<Output = Result<Arc<Shared>, CallFailure>> + Send>>),
    /// Has a connection to be started on, and waits for a slot if it has a ticket.
    Starting(Arc<Shared>, Option<Ticket>),
    /// Waits for the answer.
    InFlight(Arc<Shared>, Key),
    Done,
}

/// Connections that a call tries. One that has just greeted and takes no calls is followed by another that has to do better.
const MAX_REFUSALS: u32 = 3;

impl PendingCall {
    pub(crate) fn new(channel: Channel, call: OutgoingCall) -> Self {
        let options = call.options;
        let call = Outgoing {
            method: call.method,
            frame: call.frame,
            deadline: None,
            metadata: call.metadata,
            channels: call.channels,
        };
        Self {
            channel,
            options,
            call,
            stage: Stage::New,
            refusals: 0,
            moved: false,
        }
    }

    /// The first poll: the time counts from here.
    fn begin(&mut self) -> Stage {
        let inner = &self.channel.0;
        let mut options = self.options;
        if options.timeout.is_none() && options.deadline.is_none() {
            options.timeout = inner.settings.call_timeout;
        }
        self.call.deadline = match options {
            // Asking the clock is not free, and most calls that have no deadline are in a hurry.
            CallOptions {
                timeout: None,
                deadline,
                ..
            } => deadline,
            options => options.deadline_from(clock::now()),
        };
        match inner.link.current() {
            Some(shared) => Stage::Starting(shared, None),
            None => self.find(None),
        }
    }

    fn find(&self, unusable: Option<Arc<Shared>>) -> Stage {
        Stage::Finding(Box::pin(find(
            Arc::clone(&self.channel.0),
            unusable,
            self.call.deadline,
        )))
    }

    /// Goes on as far as it gets: the next stage, or whether it waits or has ended.
    fn advance(&mut self, stage: Stage, cx: &mut Context<'_>) -> Result<Stage, Poll<Outcome>> {
        match stage {
            Stage::New => Ok(self.begin()),
            Stage::Finding(mut finding) => match finding.as_mut().poll(cx) {
                Poll::Ready(Ok(shared)) => Ok(Stage::Starting(shared, None)),
                Poll::Ready(Err(failure)) => Err(Poll::Ready(Err(failure))),
                Poll::Pending => self.wait(Stage::Finding(finding)),
            },
            Stage::Starting(shared, ticket) => self.start(shared, ticket, cx),
            Stage::InFlight(shared, key) => match shared.poll(&key, cx.waker()) {
                Poll::Ready(Err(failure)) if self.may_move(&shared, &failure) => {
                    self.moved = true;
                    Ok(self.find(Some(shared)))
                }
                Poll::Ready(outcome) => {
                    self.give_frame();
                    Err(Poll::Ready(outcome))
                }
                Poll::Pending => self.wait(Stage::InFlight(shared, key)),
            },
            Stage::Done => {
                let text = "call was polled after it had ended";
                Err(Poll::Ready(Err(CallFailure::local(
                    FailureKind::LocalLimit,
                    true,
                    text,
                ))))
            }
        }
    }

    fn start(
        &mut self,
        shared: Arc<Shared>,
        ticket: Option<Ticket>,
        cx: &mut Context<'_>,
    ) -> Result<Stage, Poll<Outcome>> {
        let used = self.call.frame.body_len();
        match shared.start(&mut self.call, ticket, cx.waker()) {
            Start::Started(key) => {
                if self.call.frame.body_len() == 0 || self.call.channels.is_some() {
                    frame_pool::give(mem::take(&mut self.call.frame), used);
                }
                self.wait(Stage::InFlight(shared, key))
            }
            Start::Sent => {
                frame_pool::give(mem::take(&mut self.call.frame), used);
                Err(Poll::Ready(Ok(no_answer())))
            }
            Start::Waiting(ticket) => self.wait(Stage::Starting(shared, Some(ticket))),
            Start::Failed(failure) => Err(Poll::Ready(Err(failure))),
            Start::Unusable => {
                self.refusals += 1;
                if self.refusals >= MAX_REFUSALS {
                    let text = format!(
                        "{}: connections end before they take a call",
                        self.channel.address()
                    );
                    return Err(Poll::Ready(Err(CallFailure::local(
                        FailureKind::NotSent,
                        false,
                        text,
                    ))));
                }
                Ok(self.find(Some(shared)))
            }
        }
    }

    /// Whether the call goes to another connection, once: the server was closing this one and has said that it did not take the call (P-51), and the call is still there to be
    /// sent. What is longer than a small frame was handed over, and a channel may have been used.
    fn may_move(&self, shared: &Shared, failure: &CallFailure) -> bool {
        let is_closing = failure.kind() == FailureKind::Refused
            && failure.code().is_none_or(|code| code == Code::DRAINING);
        let is_kept = self.call.frame.body_len() > 0 && self.call.channels.is_none();
        is_closing && is_kept && !self.moved && shared.is_draining()
    }

    /// Gives back the memory of a call that is not made again.
    fn give_frame(&mut self) {
        let used = self.call.frame.body_len();
        if used > 0 {
            frame_pool::give(mem::take(&mut self.call.frame), used);
        }
    }

    fn wait(&mut self, stage: Stage) -> Result<Stage, Poll<Outcome>> {
        self.stage = stage;
        Err(Poll::Pending)
    }
}

impl Future for PendingCall {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        let mut stage = mem::replace(&mut this.stage, Stage::Done);
        loop {
            match this.advance(stage, cx) {
                Ok(next) => stage = next,
                Err(poll) => return poll,
            }
        }
    }
}

impl Drop for PendingCall {
    fn drop(&mut self) {
        match mem::replace(&mut self.stage, Stage::Done) {
            Stage::Starting(shared, Some(ticket)) => shared.leave(&ticket),
            Stage::InFlight(shared, key) => shared.give_up(&key),
            Stage::Done => return,
            Stage::New | Stage::Finding(_) | Stage::Starting(_, None) => {}
        }
        self.give_frame();
    }
}

impl fmt::Debug for PendingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::New => "new",
            Stage::Finding(_) => "waits for a connection",
            Stage::Starting(..) => "waits for a slot",
            Stage::InFlight(..) => "in flight",
            Stage::Done => "ended",
        };
        f.debug_struct("PendingCall")
            .field("method", &self.call.method.id)
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}
