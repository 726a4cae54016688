//! InProcess: starts calls by handing them to a dispatcher in the same process, and drives futures without a runtime.
#![allow(dead_code, reason = "each test file uses its part")]

use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use rpc_core::archive::access;
use rpc_core::call::CALL_PRELUDE_LEN;
use rpc_core::context::CallControl;
use rpc_core::incoming::{IncomingCall, Job, Outcome, Workers, WorkersFull};
use rpc_core::{
    Answer, ArchiveError, Archived, CallFailure, CallOptions, Caller, Code, Context, Dispatch, EncodeError,
    FrameBuf, MethodDescriptor, Peer, PeerAddress, Wire,
};

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
    type Pending = Ready<Result<Answer, CallFailure>>;

    fn max_body(&self) -> usize {
        1 << 20
    }

    fn start(&self, method: &'static MethodDescriptor, frame: FrameBuf, _: CallOptions) -> Self::Pending {
        let index = self
            .0
            .descriptor()
            .methods
            .iter()
            .position(|served| served.id == method.id);
        let arguments = aligned(&frame.body()[CALL_PRELUDE_LEN..]);
        ready(match index {
            Some(index) => answer(&*self.0, index, arguments),
            None => Err(CallFailure::from_peer(Code::UNKNOWN_METHOD, "")),
        })
    }
}

/// Dispatches a call with these bytes as its arguments.
pub(crate) fn answer<D: Dispatch>(
    dispatch: &D,
    method: usize,
    arguments: Bytes,
) -> Result<Answer, CallFailure> {
    let completed = run(assert_spawnable(dispatch.dispatch(incoming(method, arguments))));
    match completed.outcome {
        Outcome::Reply { error } => Ok(Answer {
            error,
            body: aligned(completed.frame.body()),
        }),
        Outcome::Failure(code, text) => Err(CallFailure::from_peer(code, text)),
    }
}

fn incoming(method: usize, arguments: Bytes) -> IncomingCall {
    let peer = Arc::new(Peer {
        address: PeerAddress::InProcess,
        credentials: None,
    });
    IncomingCall {
        method,
        arguments,
        context: Context::new(peer, None, Arc::new(CallControl::default())),
        reply: FrameBuf::new(),
        max_reply: 1 << 20,
        workers: Arc::new(OnTheSpot),
    }
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
    rpc_core::encode::encode(&mut frame, &rpc_core::wire::ByRef(value), 1 << 20)?;
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
