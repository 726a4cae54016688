//! InProcess: calls to a service in the same process, without a socket, with the same archives and the same checks.

use std::borrow::Cow;
use std::fmt;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use bytes::Bytes;
use rpc_core::call::CALL_PRELUDE_LEN;
use rpc_core::connection::split_metadata;
use rpc_core::context::{CallControl, Scope};
use rpc_core::incoming::{Completed, IncomingCall, Job, Outcome, Workers, WorkersFull};
use rpc_core::stream::{Bridge, CallChannels};
use rpc_core::{
    Answer, CallFailure, Caller, Code, Context, Dispatch, FailureKind, FrameBuf, Limits, Metadata,
    MethodDescriptor, OutgoingCall, Peer, PeerAddress,
};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::{Sleep, sleep_until};

use crate::calls::no_answer;
use crate::clock;
use crate::frame_pool;

/// Makes a caller that runs a service's handlers in this process.
///
/// A handler is polled by the task that awaits the call; a plain `fn` handler runs on the spot and blocks that task. Channels need both sides to go on: a handler with
/// channels gets a task of its own if there is a tokio runtime (without one, the call has to be polled), a plain `fn` with channels a thread. Arguments and replies are archived and validated as on a connection, and limited to the default `max_body`.
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
        call: OutgoingCall,
        deadline: Option<Instant>,
        control: Arc<CallControl>,
        channels: Option<&Arc<CallChannels>>,
    ) -> IncomingCall {
        IncomingCall {
            method,
            arguments: frame_bytes(call.frame).slice(CALL_PRELUDE_LEN..),
            context: Context::new(deadline, call.metadata, control),
            channels: channels.map(CallChannels::for_user).unwrap_or_default(),
            reply: frame_pool::take(),
            max_reply: self.max_body,
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

    fn start(&self, mut call: OutgoingCall) -> InProcessCall {
        let now = clock::now();
        let deadline = call.options.deadline_from(now);
        if deadline.is_some_and(|deadline| deadline <= now) {
            let text = "time had run out before the call was started";
            return InProcessCall::failed(CallFailure::local(FailureKind::DeadlineExceeded, false, text));
        }
        let method = match self.find(call.method) {
            Ok(method) => method,
            Err(failure) => return InProcessCall::failed(failure),
        };
        let bridge = call.channels.take().and_then(|caller| {
            let handler = CallChannels::for_handler(call.method)?;
            let credit = Limits::default().stream_credit;
            Some(Bridge::connect(caller, handler, credit, self.max_body))
        });
        let oneway = call.method.oneway;
        let workers: Arc<dyn Workers> = match &bridge {
            Some(_) => Arc::new(OwnThread),
            None => Arc::clone(&self.workers),
        };
        let control = Arc::new(CallControl::new(Arc::clone(&self.peer), workers));
        let channels = bridge.as_ref().map(|bridge| bridge.handler());
        let descriptor = call.method;
        let mut call = self.call(method, call, deadline, Arc::clone(&control), channels);
        call.context = call.context.traced(descriptor);
        let scope = call.context.scope();
        let service = Arc::clone(&self.service);
        // Within the future, so that whatever panics does so when it is polled.
        let handler = Box::pin(async move { service.dispatch(call).await });
        let timer = deadline.map(|deadline| Box::pin(sleep_until(deadline.into())));
        let has_channels = bridge.is_some();
        let call = InProcessCall {
            stage: Stage::Running(Running {
                handler,
                timer,
                scope,
                control: Arc::clone(&control),
                completed: None,
            }),
            control: Some(control),
            bridge,
            oneway,
        };
        if has_channels { call.detached() } else { call }
    }

    fn peer(&self) -> Cow<'_, str> {
        Cow::Borrowed("in-process")
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
    /// None of a call that was not started.
    control: Option<Arc<CallControl>>,
    bridge: Option<Arc<Bridge>>,
    oneway: bool,
}

#[allow(
    clippy::large_enum_variant,
    reason = "nearly every call is running, and a box would be an allocation for each"
)]
enum Stage {
    Running(Running),
    /// A call with channels, whose caller may wait for them and not for it.
    Detached(JoinHandle<Result<Answer, CallFailure>>),
    Failed(CallFailure),
    Done,
}

struct Running {
    handler: Pin<Box<dyn Future<Output = Completed> + Send>>,
    timer: Option<Pin<Box<Sleep>>>,
    scope: Scope,
    control: Arc<CallControl>,
    /// The answer, while items of the handler are still to be carried over before it.
    completed: Option<Completed>,
}

impl InProcessCall {
    fn failed(failure: CallFailure) -> Self {
        Self {
            stage: Stage::Failed(failure),
            control: None,
            bridge: None,
            oneway: false,
        }
    }

    /// The call in a task of its own, if there is a runtime.
    fn detached(self) -> Self {
        let Ok(runtime) = Handle::try_current() else {
            return self;
        };
        let (control, oneway) = (self.control.clone(), self.oneway);
        Self {
            stage: Stage::Detached(runtime.spawn(self)),
            control,
            bridge: None,
            oneway,
        }
    }

    /// Runs the handler on. Its answer, once all that it sent before is carried over.
    fn run(&mut self, running: &mut Running, cx: &mut TaskContext<'_>) -> Poll<Result<Answer, CallFailure>> {
        if running.completed.is_none() {
            let Running { handler, scope, .. } = running;
            // The handler is dropped after a panic, so nobody sees what the panic left half done in it.
            let poll = || scope.run(|| handler.as_mut().poll(cx));
            match catch_unwind(AssertUnwindSafe(poll)) {
                Ok(Poll::Ready(completed)) => running.completed = Some(completed),
                Ok(Poll::Pending) => {}
                Err(_) => {
                    return Poll::Ready(answer(Completed::panicked(&running.control)));
                }
            }
        }
        if running.completed.is_some() && self.poll_carried(cx).is_pending() {
            // The answer comes behind the items.
        } else if let Some(completed) = running.completed.take() {
            running.scope.record(&completed.outcome);
            return Poll::Ready(answer(completed));
        }
        let timer = running.timer.as_mut();
        if timer.is_some_and(|timer| timer.as_mut().poll(cx).is_ready()) {
            running.control.cancel();
            let text = "no answer in time";
            let may_have_run = !running.control.is_held();
            let failure = CallFailure::local(FailureKind::DeadlineExceeded, may_have_run, text);
            return Poll::Ready(Err(failure));
        }
        Poll::Pending
    }

    fn poll_carried(&self, cx: &TaskContext<'_>) -> Poll<()> {
        self.bridge
            .as_ref()
            .map_or(Poll::Ready(()), |bridge| bridge.poll_carried(cx))
    }

    /// Ends the channels of both sides as the call has ended.
    fn close(&mut self, outcome: &Result<Answer, CallFailure>) {
        let Some(bridge) = self.bridge.take() else { return };
        bridge.close(|side, woken| match outcome {
            Ok(answer) => side.returned(answer.error, woken),
            Err(failure) => side.failed(failure, woken),
        });
    }
}

impl Future for InProcessCall {
    type Output = Result<Answer, CallFailure>;

    fn poll(self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let outcome = match mem::replace(&mut this.stage, Stage::Done) {
            Stage::Running(mut running) => match this.run(&mut running, cx) {
                // Nobody waits for its failure.
                Poll::Ready(Err(_)) if this.oneway => Ok(no_answer()),
                Poll::Ready(outcome) => {
                    // Before the handler's ends, so that what they do when they are dropped comes too late.
                    this.close(&outcome);
                    outcome
                }
                Poll::Pending => {
                    this.stage = Stage::Running(running);
                    return Poll::Pending;
                }
            },
            Stage::Detached(mut task) => match Pin::new(&mut task).poll(cx) {
                Poll::Ready(Ok(outcome)) => outcome,
                Poll::Ready(Err(_)) => {
                    let text = "runtime of the call was shut down";
                    Err(CallFailure::local(FailureKind::Cancelled, true, text))
                }
                Poll::Pending => {
                    this.stage = Stage::Detached(task);
                    return Poll::Pending;
                }
            },
            Stage::Failed(failure) => Err(failure),
            Stage::Done => {
                let text = "call was polled after it had ended";
                Err(CallFailure::local(FailureKind::LocalLimit, true, text))
            }
        };
        Poll::Ready(outcome)
    }
}

impl Drop for InProcessCall {
    fn drop(&mut self) {
        if let Some(control) = &self.control {
            control.cancel();
        }
        if let Stage::Detached(task) = &self.stage {
            // What it drops then is the call itself, which ends its channels.
            task.abort();
        }
        let failure = CallFailure::local(FailureKind::Cancelled, true, "call was dropped");
        self.close(&Err(failure));
    }
}

impl fmt::Debug for InProcessCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InProcessCall").finish_non_exhaustive()
    }
}

fn answer(completed: Completed) -> Result<Answer, CallFailure> {
    let Completed {
        frame,
        outcome,
        metadata,
    } = completed;
    match outcome {
        Outcome::Reply {
            error,
            metadata: has_metadata,
        } => {
            let body = frame_bytes(frame);
            let (metadata, body) = if has_metadata {
                split_metadata(body)
            } else {
                (Metadata::new(), body)
            };
            Ok(Answer {
                error,
                body,
                metadata,
            })
        }
        Outcome::Failure(code, text) => {
            let used = frame.body_len();
            frame_pool::give(frame, used);
            Err(CallFailure::from_peer(code, text).with_metadata(metadata))
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

/// Runs jobs on threads of their own.
#[derive(Debug)]
struct OwnThread;

impl Workers for OwnThread {
    fn submit(&self, job: Job) -> Result<(), WorkersFull> {
        let thread = std::thread::Builder::new().name("rpc-in-process".to_owned());
        // The closure is dropped if there are no threads left, which answers the call.
        let _ = thread.spawn(move || job.run(clock::now()));
        Ok(())
    }
}
