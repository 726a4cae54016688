//! InProcess: starts calls by handing them to a dispatcher in the same process, and drives futures without a runtime.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod bridge;

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use rpc_core::archive::access;
use rpc_core::call::{CALL_PRELUDE_LEN, OutgoingCall};
use rpc_core::context::CallControl;
use rpc_core::incoming::{Completed, IncomingCall, Job, Outcome, Workers, WorkersFull};
use rpc_core::stream::UserChannels;
use rpc_core::{
    Answer, ArchiveError, Archived, CallFailure, Caller, Code, Context, Dispatch, EncodeError, FrameBuf,
    Metadata, Peer, PeerAddress, Wire,
};

const MAX_BODY: usize = 1 << 20;

/// Runs a future that never has to wait.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("future waits for something"),
    }
}

/// What `tokio::spawn` asks for.
pub(crate) fn assert_spawnable<T: Send + 'static>(value: T) -> T {
    value
}

/// Calls a service in this process.
#[derive(Debug)]
pub(crate) struct InProcess<D>(Arc<D>);

impl<D> InProcess<D> {
    pub(crate) fn new(dispatch: D) -> Self {
        Self(Arc::new(dispatch))
    }
}

impl<D> Clone for InProcess<D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<D: Dispatch> Caller for InProcess<D> {
    type Pending = Pending;

    fn max_body(&self) -> usize {
        MAX_BODY
    }

    fn start(&self, call: OutgoingCall) -> Pending {
        let methods = &self.0.descriptor().methods;
        let Some(method) = methods.iter().position(|served| served.id == call.method.id) else {
            return Pending::Over(Some(Err(CallFailure::from_peer(Code::UNKNOWN_METHOD, ""))));
        };
        let arguments = aligned(&call.frame.body()[CALL_PRELUDE_LEN..]);
        match call.channels {
            Some(channels) => Pending::Bridged(bridge::start(&self.0, method, arguments, channels)),
            None => Pending::Over(Some(answer(&*self.0, method, arguments))),
        }
    }
}

/// A call under way.
pub(crate) enum Pending {
    /// It ran where it was started.
    Over(Option<Result<Answer, CallFailure>>),
    /// It runs on a thread of its own.
    Bridged(bridge::Running),
}

impl Future for Pending {
    type Output = Result<Answer, CallFailure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Self::Output> {
        match &mut *self {
            Self::Over(answer) => Poll::Ready(answer.take().expect("a call ends once")),
            Self::Bridged(running) => running.poll(cx),
        }
    }
}

/// Dispatches a call with these bytes as its arguments.
pub(crate) fn answer<D: Dispatch>(
    dispatch: &D,
    method: usize,
    arguments: Bytes,
) -> Result<Answer, CallFailure> {
    let control = Arc::new(control());
    let call = incoming(method, arguments, control, UserChannels::default());
    outcome(run(assert_spawnable(dispatch.dispatch(call))))
}

/// What a caller is told of how its call ended.
fn outcome(completed: Completed) -> Result<Answer, CallFailure> {
    match completed.outcome {
        Outcome::Reply { error, metadata } => {
            assert!(!metadata, "no handler here sends any");
            Ok(Answer {
                error,
                body: aligned(completed.frame.body()),
                metadata: Metadata::default(),
            })
        }
        Outcome::Failure(code, text) => Err(CallFailure::from_peer(code, text)),
    }
}

fn incoming(
    method: usize,
    arguments: Bytes,
    control: Arc<CallControl>,
    channels: UserChannels,
) -> IncomingCall {
    IncomingCall {
        method,
        arguments,
        context: Context::new(None, Metadata::default(), control),
        channels,
        reply: FrameBuf::new(),
        max_reply: MAX_BODY,
    }
}

fn control() -> CallControl {
    let peer = Peer {
        address: PeerAddress::InProcess,
        credentials: None,
    };
    CallControl::new(Arc::new(peer), Arc::new(OnTheSpot))
}

/// Bytes as a receive buffer holds them: at a multiple of 16.
pub(crate) fn aligned(bytes: &[u8]) -> Bytes {
    let mut frame = FrameBuf::new();
    frame.extend(bytes);
    Bytes::from_owner(Body(frame))
}

struct Body(FrameBuf);

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        self.0.body()
    }
}

/// Runs jobs on the thread that submits them.
#[derive(Debug)]
struct OnTheSpot;

impl Workers for OnTheSpot {
    fn submit(&self, job: Job) -> Result<(), WorkersFull> {
        job.run(Instant::now());
        Ok(())
    }
}

/// The archive of a value.
pub(crate) fn archive<T: Wire>(value: &T) -> Result<Vec<u8>, EncodeError> {
    let mut frame = FrameBuf::new();
    rpc_core::encode::encode(&mut frame, &rpc_core::wire::ByRef(value), MAX_BODY)?;
    Ok(frame.body().to_vec())
}

/// Validates an archive and hands the archived value to `read`.
pub(crate) fn read<T: Wire, R>(
    bytes: &[u8],
    read: impl FnOnce(&Archived<T>) -> R,
) -> Result<R, ArchiveError> {
    access::<T>(&aligned(bytes)).map(read)
}

/// Archives a value, validates the archive, and reads it back.
pub(crate) fn round_trip<T: Wire>(value: &T) -> T {
    let bytes = archive(value).expect("value can be archived");
    let archive = rpc_core::Archive::<T>::validate(Bytes::from(bytes)).expect("archive is valid");
    archive.deserialize().expect("archived value can be read")
}
