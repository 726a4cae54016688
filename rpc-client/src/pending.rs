//! PendingCall: one call from its start to its outcome, over as many connections as it takes to send it once.

use std::fmt;
use std::mem;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

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
    call: Outgoing,
    stage: Stage,
    /// Connections that took no calls when this one was to be started.
    refusals: usize,
    /// Connections that have ended, or were about to, and had not taken the call.
    moves: usize,
}

enum Stage {
    /// Not polled yet. How long it may take from then on, if that is said.
    New(Option<Duration>),
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

/// Whether the next stage is to be looked at, or what to say of the call until then.
type Flow = ControlFlow<Poll<Outcome>>;

impl PendingCall {
    #[inline]
    pub(crate) fn new(channel: Channel, call: OutgoingCall) -> Self {
        let CallOptions {
            timeout, deadline, ..
        } = call.options;
        Self {
            channel,
            call: Outgoing {
                method: call.method,
                frame: call.frame,
                deadline,
                metadata: call.metadata,
                channels: call.channels,
            },
            stage: Stage::New(timeout),
            refusals: 0,
            moves: 0,
        }
    }

    /// The first poll: the time counts from here.
    fn begin(&mut self, timeout: Option<Duration>) {
        let mut options = CallOptions::default();
        (options.timeout, options.deadline) = (timeout, self.call.deadline);
        self.call.deadline = deadline_of(options, self.channel.0.settings.call_timeout);
    }

    /// Goes on with a connection to be started on, or with the wait for one other than `unusable`.
    fn choose(&mut self, unusable: Option<Arc<Shared>>) {
        let is_unusable =
            |shared: &Arc<Shared>| unusable.as_ref().is_some_and(|other| Arc::ptr_eq(other, shared));
        self.stage = match pick(&self.channel.0) {
            Some(shared) if !is_unusable(&shared) => Stage::Starting(shared, None),
            Some(_) | None => self.find(unusable),
        };
    }

    #[cold]
    fn find(&self, unusable: Option<Arc<Shared>>) -> Stage {
        Stage::Finding(Box::pin(find(
            Arc::clone(&self.channel.0),
            unusable,
            self.call.deadline,
        )))
    }

    /// Goes on as far as it gets with a call that is not in flight.
    fn advance(&mut self, cx: &mut Context<'_>) -> Flow {
        if let Stage::New(timeout) = self.stage {
            self.begin(timeout);
            return match pick(&self.channel.0) {
                Some(shared) => self.start(shared, None, cx),
                None => self.go_to(self.find(None)),
            };
        }
        match mem::replace(&mut self.stage, Stage::Done) {
            stage @ (Stage::New(_) | Stage::InFlight(..)) => self.go_to(stage),
            Stage::Finding(mut finding) => match finding.as_mut().poll(cx) {
                Poll::Ready(Ok(shared)) => self.go_to(Stage::Starting(shared, None)),
                Poll::Ready(Err(failure)) => end(Err(failure)),
                Poll::Pending => self.wait(Stage::Finding(finding)),
            },
            Stage::Starting(shared, ticket) => self.start(shared, ticket, cx),
            Stage::Queued(places) => self.start_queued(places, cx),
            Stage::Done => {
                let text = "call was polled after it had ended";
                end(Err(CallFailure::local(FailureKind::LocalLimit, true, text)))
            }
        }
    }

    #[inline]
    fn start(&mut self, shared: Arc<Shared>, ticket: Option<Ticket>, cx: &mut Context<'_>) -> Flow {
        let used = self.call.frame.body_len();
        match shared.start(&mut self.call, ticket, cx.waker()) {
            Start::Started(key) => self.fly(shared, key, used),
            start @ (Start::Failed(_) | Start::Sent | Start::Unusable | Start::Waiting(_)) => {
                self.go_on(shared, start, used)
            }
        }
    }

    #[cold]
    fn start_queued(&mut self, mut places: Places, cx: &mut Context<'_>) -> Flow {
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

    /// What follows from an attempt to start the call, whose frame had a body of `used` bytes.
    fn go_on(&mut self, shared: Arc<Shared>, start: Start, used: usize) -> Flow {
        match start {
            Start::Started(key) => self.fly(shared, key, used),
            Start::Sent => {
                frame_pool::give(mem::take(&mut self.call.frame), used);
                end(Ok(no_answer()))
            }
            Start::Waiting(ticket) if self.channel.0.links.len() == 1 => {
                self.wait(Stage::Starting(shared, Some(ticket)))
            }
            // The others may have a slot.
            Start::Waiting(ticket) => self.go_to(Stage::Queued(Places::new(shared, ticket))),
            Start::Failed(failure) => end(Err(failure)),
            Start::Unusable => self.refused(Some(shared)),
        }
    }

    /// The call was started.
    fn fly(&mut self, shared: Arc<Shared>, key: Key, used: usize) -> Flow {
        if !self.call.is_kept() {
            frame_pool::give(mem::take(&mut self.call.frame), used);
        }
        self.wait(Stage::InFlight(shared, key))
    }

    /// A connection does not take the call, or none of those does in whose lines it was.
    #[cold]
    fn refused(&mut self, unusable: Option<Arc<Shared>>) -> Flow {
        self.refusals += 1;
        if self.refusals < MAX_REFUSALS * self.channel.0.links.len() {
            self.choose(unusable);
            return Flow::Continue(());
        }
        end(Err(refused_too_often(self.channel.address())))
    }

    /// Whether the call goes to another connection, once for each that the channel may have: the server was closing this one and has said that it did not take the call (P-51),
    /// or nothing of the call had left when this one of several was lost; and the call is still there to be sent. What is longer than a small frame was handed
    /// over, and a channel may have been used.
    #[cold]
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

    /// Gives up a call that has not ended.
    #[cold]
    fn abandon(&mut self) {
        match &self.stage {
            Stage::Starting(shared, Some(ticket)) => shared.leave(ticket),
            Stage::InFlight(shared, key) => shared.give_up(key),
            Stage::New(_) | Stage::Finding(_) | Stage::Starting(_, None) | Stage::Queued(_) | Stage::Done => {
            }
        }
        self.give_frame();
    }

    fn go_to(&mut self, stage: Stage) -> Flow {
        self.stage = stage;
        Flow::Continue(())
    }

    fn wait(&mut self, stage: Stage) -> Flow {
        self.stage = stage;
        Flow::Break(Poll::Pending)
    }
}

fn end(outcome: Outcome) -> Flow {
    Flow::Break(Poll::Ready(outcome))
}

impl Future for PendingCall {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        loop {
            let Stage::InFlight(shared, key) = &this.stage else {
                match this.advance(cx) {
                    Flow::Continue(()) => continue,
                    Flow::Break(poll) => return poll,
                }
            };
            let poll = shared.poll(key, cx.waker());
            match &poll {
                Poll::Pending => return poll,
                Poll::Ready(Err(failure)) if this.may_move(shared, failure) => {
                    let left = Arc::clone(shared);
                    this.moves += 1;
                    this.choose(Some(left));
                    continue;
                }
                Poll::Ready(_) => {}
            }
            this.stage = Stage::Done;
            this.give_frame();
            return poll;
        }
    }
}

impl Drop for PendingCall {
    #[inline]
    fn drop(&mut self) {
        if !matches!(self.stage, Stage::Done) {
            self.abandon();
        }
    }
}

impl fmt::Debug for PendingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::New(_) => "new",
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
