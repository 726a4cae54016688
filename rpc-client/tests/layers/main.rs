//! Layers of a client, in front of a caller that follows a script, with a clock that stands still.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod concurrency_limit;
mod retry;

use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc_core::call::CALL_PRELUDE_LEN;
use rpc_core::service::{MethodDef, RunsOn};
use rpc_core::wire::Wire;
use rpc_core::{
    Answer, CallFailure, CallOptions, Caller, FailureKind, FrameBuf, Metadata, MethodDescriptor,
    OutgoingCall, ServiceDescriptor,
};

static SERVICE: LazyLock<ServiceDescriptor> = LazyLock::new(|| {
    let method = |name, idempotent, handler_sends| MethodDef {
        name,
        arguments: &[],
        reply: <u64 as Wire>::describe,
        timeout: None,
        idempotent,
        runs_on: RunsOn::Connection,
        oneway: false,
        handler_sends,
        handler_receives: 0,
    };
    ServiceDescriptor::new(
        "Scripted",
        &[
            method("once", false, 0),
            method("often", true, 0),
            method("rows", true, 1),
        ],
    )
});

pub(crate) fn method(index: usize) -> &'static MethodDescriptor {
    &SERVICE.methods[index]
}

pub(crate) const ONCE: usize = 0;
pub(crate) const OFTEN: usize = 1;
pub(crate) const ROWS: usize = 2;

pub(crate) const MS: fn(u64) -> Duration = Duration::from_millis;

/// A call of that method, with one byte as its arguments.
pub(crate) fn call(index: usize) -> OutgoingCall {
    let mut frame = FrameBuf::new();
    frame.extend(&[0; CALL_PRELUDE_LEN]);
    frame.extend(b"a");
    OutgoingCall::new(method(index), frame, CallOptions::default())
}

pub(crate) fn refused() -> CallFailure {
    CallFailure::from_peer(rpc_core::Code::REFUSED, "")
}

pub(crate) fn local(kind: FailureKind, may_have_run: bool) -> CallFailure {
    CallFailure::local(kind, may_have_run, "")
}

pub(crate) fn value() -> Answer {
    Answer {
        error: false,
        body: Bytes::from_static(b"value"),
        metadata: Metadata::new(),
    }
}

type Outcome = Result<Answer, CallFailure>;

/// Answers attempts as the script says, and writes down when they came and what time they had.
#[derive(Clone)]
pub(crate) struct Scripted {
    script: Arc<dyn Fn(usize) -> Outcome + Send + Sync>,
    takes: Duration,
    call_timeout: Option<Duration>,
    pub(crate) attempts: Arc<Mutex<Vec<Attempt>>>,
}

#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) at: Instant,
    pub(crate) options: CallOptions,
    pub(crate) body: Vec<u8>,
}

impl Scripted {
    /// By the number of the attempt, from 0.
    pub(crate) fn new(script: impl Fn(usize) -> Outcome + Send + Sync + 'static) -> Self {
        Self {
            script: Arc::new(script),
            takes: Duration::ZERO,
            call_timeout: None,
            attempts: Arc::default(),
        }
    }

    pub(crate) fn takes(mut self, time: Duration) -> Self {
        self.takes = time;
        self
    }

    pub(crate) fn with_call_timeout(mut self, time: Duration) -> Self {
        self.call_timeout = Some(time);
        self
    }

    pub(crate) fn count(&self) -> usize {
        self.attempts.lock().unwrap().len()
    }
}

impl Caller for Scripted {
    type Pending = Pin<Box<dyn Future<Output = Outcome> + Send>>;

    fn max_body(&self) -> usize {
        1 << 20
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.call_timeout
    }

    fn start(&self, call: OutgoingCall) -> Self::Pending {
        let this = self.clone();
        Box::pin(async move {
            let number = {
                let mut attempts = this.attempts.lock().unwrap();
                attempts.push(Attempt {
                    at: tokio::time::Instant::now().into_std(),
                    options: call.options,
                    body: call.frame.body().to_vec(),
                });
                attempts.len() - 1
            };
            if !this.takes.is_zero() {
                tokio::time::sleep(this.takes).await;
            }
            (this.script)(number)
        })
    }
}
