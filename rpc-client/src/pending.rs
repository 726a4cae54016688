//! PendingCall: one call from its start to its outcome, over as many connections as it takes to send it once.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rpc_core::{CallFailure, CallOptions, FailureKind, OutgoingCall};

use crate::calls::{MAX_REFUSALS, Outgoing, Start, deadline_of, no_answer, refused_too_often};
use crate::channel::Channel;
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
        self.call.deadline = deadline_of(self.options, inner.settings.call_timeout);
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
                    return Err(Poll::Ready(Err(refused_too_often(self.channel.address()))));
                }
                Ok(self.find(Some(shared)))
            }
        }
    }

    /// Whether the call goes to another connection, once.
    fn may_move(&self, shared: &Shared, failure: &CallFailure) -> bool {
        !self.moved && self.call.may_move(failure) && shared.is_draining()
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
