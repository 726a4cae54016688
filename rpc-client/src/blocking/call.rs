//! BlockingCall: one call from its start to its outcome, on the thread that polls it.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use rpc_core::{CallFailure, FailureKind, OutgoingCall};

use super::channel::BlockingChannel;
use super::connection::Called;
use crate::calls::{MAX_REFUSALS, Outgoing, refused_too_often};
use crate::frame_pool;
use crate::waiters::Outcome;

/// A call on a [`BlockingChannel`]. Its first poll blocks the thread until the call has ended.
#[must_use = "a call does nothing until it is waited for"]
pub struct BlockingCall {
    channel: BlockingChannel,
    /// Gone once it was polled.
    call: Option<OutgoingCall>,
}

impl BlockingCall {
    pub(super) fn new(channel: BlockingChannel, call: OutgoingCall) -> Self {
        Self {
            channel,
            call: Some(call),
        }
    }

    /// Makes the call, over as many connections as it takes to send it once.
    fn run(&self, call: OutgoingCall) -> Outcome {
        if call.channels.is_some() {
            let text = "a blocking channel has no calls with channels; rpc_client::Channel has";
            return Err(CallFailure::local(FailureKind::LocalLimit, false, text));
        }
        let inner = &*self.channel.0;
        let mut call = Outgoing::new(call, inner.settings.call_timeout);
        let used = call.frame.body_len();
        let outcome = self.send(&mut call);
        frame_pool::give(call.frame, used);
        outcome
    }

    fn send(&self, call: &mut Outgoing) -> Outcome {
        let inner = &*self.channel.0;
        let mut shared = match inner.link.current() {
            Some(shared) => shared,
            None => inner.link.find(inner, None, call.deadline)?,
        };
        let mut refusals = 0;
        let mut moved = false;
        loop {
            match shared.call(call) {
                Called::Ended(Ok(answer)) => return Ok(answer),
                Called::Ended(Err(failure)) => {
                    if moved || !call.may_move(&failure) || !shared.is_draining() {
                        inner.link.forget_if_ended(&shared);
                        return Err(failure);
                    }
                    moved = true;
                }
                Called::Unusable => {
                    refusals += 1;
                    if refusals >= MAX_REFUSALS {
                        return Err(refused_too_often(&inner.address));
                    }
                }
            }
            shared = inner.link.find(inner, Some(&shared), call.deadline)?;
        }
    }
}

impl Future for BlockingCall {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Outcome> {
        let this = self.get_mut();
        Poll::Ready(match this.call.take() {
            Some(call) => this.run(call),
            None => {
                let text = "call was polled after it had ended";
                Err(CallFailure::local(FailureKind::LocalLimit, true, text))
            }
        })
    }
}

impl Drop for BlockingCall {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            let used = call.frame.body_len();
            frame_pool::give(call.frame, used);
        }
    }
}

impl fmt::Debug for BlockingCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingCall")
            .field("channel", &self.channel)
            .field("ended", &self.call.is_none())
            .finish()
    }
}
