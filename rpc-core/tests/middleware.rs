//! Layers on both sides, without a transport: what they see, their order, their memory.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]
#![allow(clippy::disallowed_methods, reason = "a test needs some moment to count from")]

use std::borrow::Cow;
use std::future::{Ready, poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc_core::call::CALL_PRELUDE_LEN;
use rpc_core::context::CallControl;
use rpc_core::incoming::{Completed, IncomingCall, Job, Workers, WorkersFull};
use rpc_core::service::{MethodDef, RunsOn};
use rpc_core::stream::CallChannels;
use rpc_core::wire::{ByRef, Wire};
use rpc_core::{
    Answer, CallFailure, CallOptions, Caller, ClientMiddleware, Code, Context, Dispatch, FailureKind,
    FrameBuf, Metadata, OutgoingCall, Peer, PeerAddress, ServerMiddleware, ServiceDescriptor,
};

static SERVICE: LazyLock<ServiceDescriptor> = LazyLock::new(|| {
    let method = MethodDef {
        name: "count",
        arguments: &[
            ("from", <u64 as Wire>::describe),
            ("rows", <u64 as Wire>::describe),
        ],
        reply: <u64 as Wire>::describe,
        timeout: None,
        idempotent: false,
        runs_on: RunsOn::Connection,
        oneway: false,
        handler_sends: 1,
        handler_receives: 0,
    };
    ServiceDescriptor::new("Counter", &[method])
});

type Log = Arc<Mutex<Vec<String>>>;

fn said(log: &Log) -> Vec<String> {
    std::mem::take(&mut log.lock().unwrap())
}

fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut TaskContext::from_waker(Waker::noop()))
}

fn outgoing() -> OutgoingCall {
    let mut frame = FrameBuf::new();
    frame.extend(&[0; CALL_PRELUDE_LEN + 8]);
    OutgoingCall::new(&SERVICE.methods[0], frame, CallOptions::default())
}

/// Answers at once with an empty body, and counts.
#[derive(Clone, Default)]
struct Trivial(Arc<AtomicUsize>);

impl Caller for Trivial {
    type Pending = Ready<Result<Answer, CallFailure>>;

    fn max_body(&self) -> usize {
        4_711
    }

    fn start(&self, call: OutgoingCall) -> Self::Pending {
        self.0.fetch_add(1, Ordering::Relaxed);
        if call.channels.is_some() {
            let text = "with channels";
            return ready(Err(CallFailure::local(FailureKind::Other, true, text)));
        }
        ready(Ok(Answer {
            error: false,
            body: Bytes::new(),
            metadata: call.metadata,
        }))
    }

    fn peer(&self) -> Cow<'_, str> {
        Cow::Borrowed("here")
    }

    fn call_timeout(&self) -> Option<Duration> {
        Some(Duration::from_secs(7))
    }
}

/// Waits once, as most do for something, and passes on.
struct Pass;

async fn once() {
    let mut waited = false;
    poll_fn(|_| match std::mem::replace(&mut waited, true) {
        true => Poll::Ready(()),
        false => Poll::Pending,
    })
    .await;
}

impl ClientMiddleware for Pass {
    async fn call<C: Caller>(&self, call: OutgoingCall, next: &C) -> Result<Answer, CallFailure> {
        once().await;
        next.start(call).await
    }
}

impl ServerMiddleware for Pass {
    async fn call<D: Dispatch>(&self, call: IncomingCall, next: &D) -> Completed {
        once().await;
        next.dispatch(call).await
    }
}

/// Writes down what it sees.
struct Named(&'static str, Log);

impl ClientMiddleware for Named {
    async fn call<C: Caller>(&self, mut call: OutgoingCall, next: &C) -> Result<Answer, CallFailure> {
        let Self(name, log) = self;
        let (method, len) = (call.method.name, call.len());
        log.lock()
            .unwrap()
            .push(format!("{name}: {method} {len} to {}", next.peer()));
        call.metadata.insert("by", name).unwrap();
        let outcome = next.start(call).await;
        let ended = match &outcome {
            Ok(answer) => format!("{name}: {}", answer.len()),
            Err(failure) => format!("{name}: {failure}"),
        };
        log.lock().unwrap().push(ended);
        outcome
    }
}

impl ServerMiddleware for Named {
    async fn call<D: Dispatch>(&self, mut call: IncomingCall, next: &D) -> Completed {
        let Self(name, log) = self;
        let method = next.method_of(&call).unwrap().name;
        let peer = &call.context.peer().address;
        log.lock()
            .unwrap()
            .push(format!("{name}: {method} {} from {peer}", call.len()));
        if call.context.metadata().get("refuse") == Some(name.as_bytes()) {
            return call.take_reply().fail(Code::REFUSED, "as you wish");
        }
        call.context.extensions_mut().insert(*name);
        let completed = next.dispatch(call).await;
        log.lock().unwrap().push(format!(
            "{name}: {} {} {}",
            completed.code(),
            completed.is_error(),
            completed.len()
        ));
        completed
    }
}

/// Answers with the length of its arguments; an empty call with its own error.
struct Counter(Log);

impl Dispatch for Counter {
    fn descriptor(&self) -> &'static ServiceDescriptor {
        &SERVICE
    }

    fn dispatch(&self, mut call: IncomingCall) -> impl Future<Output = Completed> + Send + use<> {
        let log = Arc::clone(&self.0);
        async move {
            if let Some(name) = call.context.extensions().get::<&str>() {
                log.lock().unwrap().push(format!("behind {name}"));
            }
            let len = call.arguments.len() as u64;
            match len {
                0 => call.take_reply().error(&ByRef(&len)),
                _ => call.take_reply().value(&ByRef(&len)),
            }
        }
    }
}

#[derive(Debug)]
struct NoWorkers;

impl Workers for NoWorkers {
    fn submit(&self, _: Job) -> Result<(), WorkersFull> {
        Err(WorkersFull { limit: 0 })
    }
}

fn incoming(arguments: Bytes, metadata: Metadata) -> IncomingCall {
    let peer = Arc::new(Peer {
        address: PeerAddress::InProcess,
        credentials: None,
    });
    IncomingCall {
        method: 0,
        arguments,
        context: Context::new(
            None,
            metadata,
            Arc::new(CallControl::new(peer, Arc::new(NoWorkers))),
        ),
        channels: Default::default(),
        reply: FrameBuf::new(),
        max_reply: 1_000,
    }
}

#[test]
fn layers_of_a_caller_see_calls_from_the_outside_in() {
    let log = Log::default();
    let caller = Trivial::default()
        .layer(Named("inner", Arc::clone(&log)))
        .layer(Arc::new(Named("outer", Arc::clone(&log))));
    assert_eq!((&*caller.peer(), caller.max_body()), ("here", 4_711));
    assert_eq!(caller.call_timeout(), Some(Duration::from_secs(7)));
    let Poll::Ready(Ok(answer)) = poll(pin!(caller.start(outgoing()))) else {
        panic!("no answer")
    };
    let by: Vec<_> = answer.metadata.get_all("by").collect();
    assert_eq!(by, [&b"outer"[..], b"inner"]);
    let expected = [
        "outer: count 8 to here",
        "inner: count 18 to here",
        "inner: 20",
        "outer: 20",
    ];
    assert_eq!(said(&log), expected);
}

#[test]
fn layers_of_a_service_see_calls_from_the_outside_in_and_may_refuse() {
    let log = Log::default();
    let service = Counter(Arc::clone(&log))
        .layer(Named("inner", Arc::clone(&log)))
        .layer(Named("outer", Arc::clone(&log)));
    let run = |arguments: &'static [u8], metadata| {
        let call = incoming(Bytes::from_static(arguments), metadata);
        match poll(pin!(service.dispatch(call))) {
            Poll::Ready(completed) => completed,
            Poll::Pending => panic!("not on the spot"),
        }
    };
    run(b"four", Metadata::new());
    let expected = [
        "outer: count 4 from in-process",
        "inner: count 4 from in-process",
        "behind inner",
        "inner: ok false 8",
        "outer: ok false 8",
    ];
    assert_eq!(said(&log), expected);
    let completed = run(b"", Metadata::new());
    assert_eq!((completed.code(), completed.is_error()), (Code::OK, true));
    said(&log);
    let mut metadata = Metadata::new();
    metadata.insert("refuse", "inner").unwrap();
    assert_eq!(run(b"four", metadata).code(), Code::REFUSED);
    let expected = [
        "outer: count 18 from in-process",
        "inner: count 18 from in-process",
        "outer: refused true 11",
    ];
    assert_eq!(said(&log), expected);
}

#[test]
fn a_layer_of_a_caller_allocates_nothing_once_it_is_warm() {
    let caller = Trivial::default().layer(Pass).layer(Pass);
    let mut calls: Vec<_> = (0..101).map(|_| outgoing()).collect();
    let mut run = |call| {
        let mut pending = caller.start(call);
        let mut polls = 0;
        while poll(Pin::new(&mut pending)).is_pending() {
            polls += 1;
        }
        assert_eq!(polls, 2);
    };
    run(calls.pop().unwrap());
    let counted = allocation_counter::measure(|| calls.drain(..).for_each(&mut run));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

/// What a warm call of a service allocates.
fn allocations(service: &impl Dispatch) -> u64 {
    let run = |call| {
        let mut running = pin!(service.dispatch(call));
        while poll(running.as_mut()).is_pending() {}
    };
    let warm = || {
        let mut reply = FrameBuf::new();
        reply.extend(&[0; 64]);
        reply.clear();
        IncomingCall {
            reply,
            ..incoming(Bytes::from_static(b"four"), Metadata::new())
        }
    };
    // The first value of a thread makes room for archiving.
    run(warm());
    let mut call = Some(warm());
    allocation_counter::measure(|| run(call.take().unwrap())).count_total
}

#[test]
fn a_layer_of_a_service_allocates_nothing() {
    let bare = allocations(&Counter(Log::default()));
    let layered = allocations(&Counter(Log::default()).layer(Pass).layer(Pass));
    assert_eq!(layered, bare);
}

#[test]
fn a_call_that_is_dropped_is_dropped_with_what_it_started() {
    let trivial = Trivial::default();
    let shared = Arc::clone(&trivial.0);
    let caller = trivial.layer(Pass);
    let references = Arc::strong_count(&shared);
    let mut pending = caller.start(outgoing());
    assert!(poll(Pin::new(&mut pending)).is_pending());
    drop(pending);
    assert_eq!(shared.load(Ordering::Relaxed), 0);
    assert_eq!(Arc::strong_count(&shared), references);
    // Slots that are kept refer to the caller; they go with the last layer and call.
    let pending = caller.start(outgoing());
    drop(caller);
    drop(pending);
    assert_eq!(Arc::strong_count(&shared), 1);
}

#[test]
fn a_call_that_is_polled_after_its_end_fails() {
    let caller = Trivial::default().layer(Pass);
    let mut pending = caller.start(outgoing());
    assert!(poll(Pin::new(&mut pending)).is_pending());
    assert!(poll(Pin::new(&mut pending)).is_ready());
    let Poll::Ready(Err(failure)) = poll(Pin::new(&mut pending)) else {
        panic!("no failure")
    };
    assert_eq!(failure.kind(), FailureKind::LocalLimit);
}

#[test]
fn calls_with_channels_pass() {
    let caller = Trivial::default().layer(Pass);
    let mut call = outgoing();
    call.channels = CallChannels::for_handler(call.method);
    assert!(call.duplicate().is_none());
    let mut pending = caller.start(call);
    assert!(poll(Pin::new(&mut pending)).is_pending());
    let Poll::Ready(Err(failure)) = poll(Pin::new(&mut pending)) else {
        panic!("no failure")
    };
    assert_eq!(failure.text(), "with channels");
}

#[test]
fn a_copy_of_a_call_is_the_same_in_the_memory_it_is_given() {
    let mut call = outgoing();
    call.metadata.insert("key", "value").unwrap();
    call.extensions.insert(7_u8);
    let mut frame = FrameBuf::new();
    frame.extend(&[9; 500]);
    let copy = call.duplicate_into(frame).unwrap();
    assert_eq!(copy.frame.body(), call.frame.body());
    assert_eq!(
        (copy.len(), &copy.metadata, copy.extensions.get()),
        (call.len(), &call.metadata, Some(&7_u8))
    );
}

#[test]
fn a_deadline_is_fixed_once() {
    let (now, second) = (Instant::now(), Duration::from_secs(1));
    let mut call = outgoing();
    assert_eq!(call.fix_deadline(now, None), None);
    assert_eq!(call.fix_deadline(now, Some(second)), Some(now + second));
    // What it says itself counts.
    assert_eq!(call.fix_deadline(now + second, Some(second)), Some(now + second));
    call.options.timeout = Some(2 * second);
    assert_eq!(call.fix_deadline(now, Some(second)), Some(now + second));
    assert_eq!(call.options.timeout, None);
}

#[test]
fn a_call_is_held_as_long_as_somebody_holds_it() {
    let call = incoming(Bytes::new(), Metadata::new());
    let control = call.context.control();
    let (one, other) = (call.context.hold(), call.context.hold());
    drop(one);
    assert!(control.is_held());
    drop(other);
    assert!(!control.is_held());
}
