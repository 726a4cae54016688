//! PendingCall: one call from its start to its outcome, over as many connections as it takes to send it once.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rpc_core::{CallFailure, CallOptions, FailureKind, OutgoingCall};

use crate::calls::{
    MAX_REFUSALS, Outgoing, Start, deadline_of, is_refused_by_goodbye, no_answer, refused_too_often,
};
use crate::channel::Channel;
use crate::connection::Shared;
use crate::frame_pool;
use crate::links::{find, open_for_queued, pick};
use crate::places::Places;
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
    refusals: usize,
    /// Connections that have ended, or were about to, and had not taken the call.
    moves: usize,
}

enum Stage {
    /// Not polled yet.
    New,
    /// Waits for a connection.
    Finding(Pin<Box<dyn Future<Output = Result<Arc<Shared>, CallFailure>> + Send>>),
    /// Has a connection to be started on, and waits for a slot of it, the only one, if it has a ticket.
    Starting(Arc<Shared>, Option<Ticket>),
    /// Waits for a slot of several connections.
    Queued(Places),
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
            moves: 0,
        }
    }

    /// The first poll: the time counts from here.
    fn begin(&mut self) -> Stage {
        let inner = &self.channel.0;
        self.call.deadline = deadline_of(self.options, inner.settings.call_timeout);
        self.choose(None)
    }

    /// A connection to be started on, or the wait for one other than `unusable`.
    fn choose(&self, unusable: Option<Arc<Shared>>) -> Stage {
        let is_unusable =
            |shared: &Arc<Shared>| unusable.as_ref().is_some_and(|other| Arc::ptr_eq(other, shared));
        match pick(&self.channel.0) {
            Some(shared) if !is_unusable(&shared) => Stage::Starting(shared, None),
            Some(_) | None => self.find(unusable),
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
            Stage::Starting(shared, ticket) => {
                let used = self.call.frame.body_len();
                let start = shared.start(&mut self.call, ticket, cx.waker());
                self.go_on(shared, start, used)
            }
            Stage::Queued(mut places) => {
                let used = self.call.frame.body_len();
                match places.start(&self.channel.0.links, &mut self.call, cx.waker()) {
                    Some((shared, start)) => self.go_on(shared, start, used),
                    None if places.is_empty() => self.refused(None),
                    None => {
                        open_for_queued(&self.channel.0);
                        self.wait(Stage::Queued(places))
                    }
                }
            }
            Stage::InFlight(shared, key) => match shared.poll(&key, cx.waker()) {
                Poll::Ready(Err(failure)) if self.may_move(&shared, &failure) => {
                    self.moves += 1;
                    Ok(self.choose(Some(shared)))
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

    /// What follows from an attempt to start the call, whose frame had a body of `used` bytes.
    fn go_on(&mut self, shared: Arc<Shared>, start: Start, used: usize) -> Result<Stage, Poll<Outcome>> {
        match start {
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
            Start::Waiting(ticket) if self.channel.0.links.len() == 1 => {
                self.wait(Stage::Starting(shared, Some(ticket)))
            }
            // The others may have a slot.
            Start::Waiting(ticket) => Ok(Stage::Queued(Places::new(shared, ticket))),
            Start::Failed(failure) => Err(Poll::Ready(Err(failure))),
            Start::Unusable => self.refused(Some(shared)),
        }
    }

    /// A connection does not take the call, or none of those does in whose lines it was.
    fn refused(&mut self, unusable: Option<Arc<Shared>>) -> Result<Stage, Poll<Outcome>> {
        self.refusals += 1;
        if self.refusals < MAX_REFUSALS * self.channel.0.links.len() {
            return Ok(self.choose(unusable));
        }
        Err(Poll::Ready(Err(refused_too_often(self.channel.address()))))
    }

    /// Whether the call goes to another connection, once for each that the channel may have: the server was closing this one and has said that it did not take the call (P-51),
    /// or nothing of the call had left when this one of several was lost; and the call is still there to be sent. What is longer than a small frame was handed
    /// over, and a channel may have been used.
    fn may_move(&self, shared: &Shared, failure: &CallFailure) -> bool {
        let connections = self.channel.0.links.len();
        if !self.call.is_kept() || self.moves >= connections {
            return false;
        }
        let is_closing = is_refused_by_goodbye(failure) && shared.is_draining();
        is_closing || connections > 1 && failure.kind() == FailureKind::NotSent
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
            Stage::New | Stage::Finding(_) | Stage::Starting(_, None) | Stage::Queued(_) => {}
        }
        self.give_frame();
    }
}

impl fmt::Debug for PendingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::New => "new",
            Stage::Finding(_) => "waits for a connection",
            Stage::Starting(..) | Stage::Queued(_) => "waits for a slot",
            Stage::InFlight(..) => "in flight",
            Stage::Done => "ended",
        };
        f.debug_struct("PendingCall")
            .field("method", &self.call.method.id)
            .field("stage", &stage)
            .finish_non_exhaustive()
    }
}
