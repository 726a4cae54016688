//! InProcess: calls to a service in the same process, without a socket, with the same archives and the same checks.

use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use bytes::Bytes;
use rpc_core::call::CALL_PRELUDE_LEN;
use rpc_core::context::CallControl;
use rpc_core::incoming::{Completed, IncomingCall, Job, Outcome, Workers, WorkersFull};
use rpc_core::{
    Answer, CallFailure, CallOptions, Caller, Code, Context, Dispatch, FailureKind, FrameBuf, Limits,
    MethodDescriptor, Peer, PeerAddress,
};
use tokio::time::{Sleep, sleep_until};

use crate::clock;
use crate::frame_pool;

/// Makes a caller that runs a service's handlers in this process.
///
/// A handler is polled by the task that awaits the call; a plain `fn` handler runs on the spot and blocks that task. Arguments and replies
/// are archived and validated as on a connection, and limited to the default `max_body`.
pub fn in_process<D: Dispatch>(service: D) -> InProcess<D> {
    let peer = Arc::new(Peer {
        address: PeerAddress::InProcess,
        credentials: None,
    });
    let max_body = usize::try_from(Limits::default().max_body).unwrap_or(usize::MAX);
    InProcess {
        service: Arc::new(service),
        peer,
        workers: Arc::new(Inline),
        max_body,
    }
}

/// A service that is called in its own process. Made by [`in_process`].
///
/// Calls without a deadline need no runtime; a deadline needs tokio's timer.
pub struct InProcess<D> {
    service: Arc<D>,
    peer: Arc<Peer>,
    workers: Arc<dyn Workers>,
    /// The longest call and reply.
    max_body: usize,
}

impl<D: Dispatch> InProcess<D> {
    /// Finds a method as a server does (P-38).
    fn find(&self, method: &MethodDescriptor) -> Result<usize, CallFailure> {
        let methods = &self.service.descriptor().methods;
        if let Some(index) = methods.iter().position(|known| known.id == method.id) {
            return Ok(index);
        }
        let namesakes: Vec<_> = methods
            .iter()
            .filter(|known| known.id.name_hash() == method.id.name_hash())
            .map(|known| known.signature.as_str())
            .collect();
        Err(match namesakes.as_slice() {
            [] => CallFailure::from_peer(Code::UNKNOWN_METHOD, ""),
            signatures => CallFailure::from_peer(Code::SCHEMA_MISMATCH, signatures.join("\n\n")),
        })
    }

    fn call(
        &self,
        method: usize,
        frame: FrameBuf,
        deadline: Option<Instant>,
        control: Arc<CallControl>,
    ) -> IncomingCall {
        IncomingCall {
            method,
            arguments: frame_bytes(frame).slice(CALL_PRELUDE_LEN..),
            context: Context::new(Arc::clone(&self.peer), deadline, control),
            reply: frame_pool::take(),
            max_reply: self.max_body,
            workers: Arc::clone(&self.workers),
        }
    }
}

impl<D: Dispatch> Caller for InProcess<D> {
    type Pending = InProcessCall;

    fn frame(&self) -> FrameBuf {
        frame_pool::take()
    }

    fn max_body(&self) -> usize {
        self.max_body
    }

    fn start(
        &self,
        method: &'static MethodDescriptor,
        frame: FrameBuf,
        options: CallOptions,
    ) -> InProcessCall {
        let now = clock::now();
        let deadline = options.deadline_from(now);
        if deadline.is_some_and(|deadline| deadline <= now) {
            let text = "time had run out before the call was started";
            return InProcessCall::failed(CallFailure::local(FailureKind::DeadlineExceeded, false, text));
        }
        let method = match self.find(method) {
            Ok(method) => method,
            Err(failure) => return InProcessCall::failed(failure),
        };
        let control = Arc::new(CallControl::default());
        let call = self.call(method, frame, deadline, Arc::clone(&control));
        let service = Arc::clone(&self.service);
        // Within the future, so that whatever panics does so when it is polled.
        let handler = Box::pin(async move { service.dispatch(call).await });
        let timer = deadline.map(|deadline| Box::pin(sleep_until(deadline.into())));
        InProcessCall {
            stage: Stage::Running { handler, timer },
            control,
        }
    }
}

impl<D> Clone for InProcess<D> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            peer: Arc::clone(&self.peer),
            workers: Arc::clone(&self.workers),
            max_body: self.max_body,
        }
    }
}

impl<D> fmt::Debug for InProcess<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcess").finish_non_exhaustive()
    }
}

/// A call to a service in the same process.
///
/// # Cancellation
///
/// Dropping it drops the handler's future.
#[must_use = "a call does nothing until it is awaited"]
pub struct InProcessCall {
    stage: Stage,
    control: Arc<CallControl>,
}

enum Stage {
    Running {
        handler: Pin<Box<dyn Future<Output = Completed> + Send>>,
        timer: Option<Pin<Box<Sleep>>>,
    },
    Failed(CallFailure),
    Done,
}

impl InProcessCall {
    fn failed(failure: CallFailure) -> Self {
        Self {
            stage: Stage::Failed(failure),
            control: Arc::default(),
        }
    }
}

impl Future for InProcessCall {
    type Output = Result<Answer, CallFailure>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match mem::replace(&mut this.stage, Stage::Done) {
            Stage::Running {
                mut handler,
                mut timer,
            } => {
                // The handler is dropped after a panic, so nobody sees what the panic left half done in it.
                match catch_unwind(AssertUnwindSafe(|| handler.as_mut().poll(cx))) {
                    Ok(Poll::Ready(completed)) => return Poll::Ready(answer(completed)),
                    Ok(Poll::Pending) => {}
                    Err(_) => {
                        return Poll::Ready(Err(CallFailure::from_peer(Code::INTERNAL, "handler panicked")));
                    }
                }
                if timer
                    .as_mut()
                    .is_some_and(|timer| timer.as_mut().poll(cx).is_ready())
                {
                    this.control.cancel();
                    let text = "no answer in time";
                    return Poll::Ready(Err(CallFailure::local(FailureKind::DeadlineExceeded, true, text)));
                }
                this.stage = Stage::Running { handler, timer };
                Poll::Pending
            }
            Stage::Failed(failure) => Poll::Ready(Err(failure)),
            Stage::Done => {
                let text = "call was polled after it had ended";
                Poll::Ready(Err(CallFailure::local(FailureKind::LocalLimit, true, text)))
            }
        }
    }
}

impl Drop for InProcessCall {
    fn drop(&mut self) {
        self.control.cancel();
    }
}

impl fmt::Debug for InProcessCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessCall").finish_non_exhaustive()
    }
}

fn answer(completed: Completed) -> Result<Answer, CallFailure> {
    let Completed { frame, outcome } = completed;
    match outcome {
        Outcome::Reply { error } => Ok(Answer {
            error,
            body: frame_bytes(frame),
        }),
        Outcome::Failure(code, text) => {
            let used = frame.body_len();
            frame_pool::give(frame, used);
            Err(CallFailure::from_peer(code, text))
        }
    }
}

/// The body of a frame as shared bytes, which is 16-aligned there. The frame goes back to the pool when the last of them is dropped.
fn frame_bytes(mut frame: FrameBuf) -> Bytes {
    // The other side reads the body in one piece. On a connection the socket makes one of it.
    frame.flatten();
    Bytes::from_owner(Body(frame))
}

struct Body(FrameBuf);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.body()
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let frame = mem::take(&mut self.0);
        let used = frame.body_len();
        frame_pool::give(frame, used);
    }
}

/// Runs jobs where they are submitted.
#[derive(Debug)]
struct Inline;

impl Workers for Inline {
    fn submit(&self, job: Job) -> Result<(), WorkersFull> {
        job.run(clock::now());
        Ok(())
    }
}
