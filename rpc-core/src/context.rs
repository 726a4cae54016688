//! Context: what a handler can know about its call besides the arguments.

use std::cell::Cell;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::extensions::Extensions;
use crate::incoming::Outcome;
use crate::job::{Desk, Workers};
use crate::metadata::{Metadata, MetadataError};
use crate::service::MethodDescriptor;

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Where it is.
    pub address: PeerAddress,
    /// Who it is, as the kernel says: Unix sockets only.
    pub credentials: Option<Credentials>,
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerAddress {
    /// Behind a TCP socket.
    Tcp(SocketAddr),
    /// Behind a Unix socket; most clients' sockets have no path.
    Unix(Option<PathBuf>),
    /// In this process, without a socket.
    InProcess,
}

/// The process at the other end of a Unix socket when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Its effective user.
    pub user: u32,
    /// Its effective group.
    pub group: u32,
    /// Its process id, where the system tells it. A process id can be used again by another process: do not authorise by it.
    pub process: Option<u32>,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(Some(path)) => write!(f, "unix://{}", path.display()),
            Self::Unix(None) => f.write_str("unix:(unnamed)"),
            Self::InProcess => f.write_str("in-process"),
        }
    }
}

/// The running of one call, shared between the connection and a worker.
#[derive(Debug)]
pub struct CallControl {
    /// Here and not in each call, as it is the same for all of a slot's calls: their references need not be counted for each.
    peer: Arc<Peer>,
    workers: Arc<dyn Workers>,
    cancelled: AtomicBool,
    on_worker: AtomicBool,
    /// Layers that make the call wait.
    holds: AtomicU32,
    /// Whether there is something in `reply_metadata`: most calls have none, and do not pay for the lock.
    has_reply_metadata: AtomicBool,
    reply_metadata: Mutex<Metadata>,
    /// Where a worker leaves the answer.
    desk: Desk,
}

impl CallControl {
    /// For calls from `peer`, whose plain `fn` handlers run on `workers`.
    pub fn new(peer: Arc<Peer>, workers: Arc<dyn Workers>) -> Self {
        Self {
            peer,
            workers,
            cancelled: AtomicBool::default(),
            on_worker: AtomicBool::default(),
            holds: AtomicU32::default(),
            has_reply_metadata: AtomicBool::default(),
            reply_metadata: Mutex::default(),
            desk: Desk::default(),
        }
    }

    pub(crate) fn workers(&self) -> &dyn Workers {
        &*self.workers
    }

    /// Asks the handler to stop.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the handler was asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// Whether the handler runs on, or waits for, a worker: then dropping its future does not stop it.
    pub fn is_on_worker(&self) -> bool {
        self.on_worker.load(Ordering::Relaxed)
    }

    /// Whether a layer makes the call wait, so that its handler has not begun.
    pub fn is_held(&self) -> bool {
        self.holds.load(Ordering::Relaxed) > 0
    }

    pub(crate) fn move_to_worker(&self) {
        self.on_worker.store(true, Ordering::Relaxed);
    }

    /// The metadata that the handler has set for its answer.
    pub fn take_reply_metadata(&self) -> Metadata {
        if !self.has_reply_metadata.load(Ordering::Acquire) {
            return Metadata::default();
        }
        std::mem::take(&mut self.reply_metadata.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Makes the control as new, for the next call of the same slot.
    pub fn reset(&mut self) {
        let Self {
            peer: _,
            workers: _,
            cancelled,
            on_worker,
            holds,
            has_reply_metadata,
            reply_metadata,
            desk,
        } = self;
        *cancelled.get_mut() = false;
        *holds.get_mut() = 0;
        if std::mem::take(on_worker.get_mut()) {
            desk.reset();
        }
        if std::mem::take(has_reply_metadata.get_mut()) {
            *reply_metadata.get_mut().unwrap_or_else(PoisonError::into_inner) = Metadata::default();
        }
    }

    pub(crate) fn desk(&self) -> &Desk {
        &self.desk
    }
}

/// What calls inherit that a handler makes where it runs.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    inherited: Inherited,
    #[cfg(feature = "tracing")]
    span: Option<tracing::Span>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Inherited {
    deadline: Option<Instant>,
    #[cfg(feature = "tracing")]
    trace: Option<crate::trace::TraceContext>,
}

thread_local! {
    /// What is inherited from the call whose handler runs on this thread.
    static INHERITED: Cell<Inherited> = const {
        Cell::new(Inherited {
            deadline: None,
            #[cfg(feature = "tracing")]
            trace: None,
        })
    };
}

impl Scope {
    /// Runs a part of the handler: calls that it makes meanwhile are given its deadline, if theirs is later or there is none, and belong to its trace. Whoever
    /// polls handlers does it within this function.
    pub fn run<R>(&self, run: impl FnOnce() -> R) -> R {
        /// Goes back to what was before, also after a panic.
        struct Restore(Inherited);
        impl Drop for Restore {
            fn drop(&mut self) {
                INHERITED.set(self.0);
            }
        }
        let _restore = Restore(INHERITED.replace(self.inherited));
        #[cfg(feature = "tracing")]
        let _entered = self.span.as_ref().map(tracing::Span::enter);
        run()
    }

    /// Takes note in the span of how the call ended.
    #[cfg_attr(
        not(feature = "tracing"),
        expect(unused_variables, reason = "for the feature")
    )]
    pub fn record(&self, outcome: &Outcome) {
        #[cfg(feature = "tracing")]
        if let Some(span) = &self.span {
            match outcome {
                Outcome::Reply { error: false, .. } => span.record("outcome", "ok"),
                Outcome::Reply { error: true, .. } => span.record("outcome", "error"),
                Outcome::Failure(code, _) => span.record("outcome", code.name()),
            };
        }
    }
}

/// The deadline that a call inherits which is made here and now.
pub(crate) fn inherited_deadline() -> Option<Instant> {
    INHERITED.get().deadline
}

/// The trace that a call belongs to which is made here and now.
#[cfg(feature = "tracing")]
pub(crate) fn inherited_trace() -> Option<crate::trace::TraceContext> {
    INHERITED.get().trace
}

/// What a handler can know about its call: take `cx: &Context` as its first parameter. Nothing of it is an argument on the wire.
#[derive(Clone, Debug)]
pub struct Context {
    deadline: Option<Instant>,
    metadata: Metadata,
    extensions: Extensions,
    control: Arc<CallControl>,
    #[cfg(feature = "tracing")]
    trace: Option<crate::trace::TraceContext>,
    #[cfg(feature = "tracing")]
    span: Option<tracing::Span>,
}

/// A call waits in a layer, as long as this lives. Made by [`Context::hold`].
#[derive(Debug)]
#[must_use = "the call is held as long as this lives"]
pub struct Hold(Arc<CallControl>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.holds.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Context {
    /// A context for a call.
    pub fn new(deadline: Option<Instant>, metadata: Metadata, control: Arc<CallControl>) -> Self {
        Self {
            deadline,
            metadata,
            extensions: Extensions::default(),
            control,
            #[cfg(feature = "tracing")]
            trace: None,
            #[cfg(feature = "tracing")]
            span: None,
        }
    }

    /// Opens the span of the call, below its caller's, if the feature `tracing` is on.
    #[must_use]
    #[cfg_attr(
        not(feature = "tracing"),
        expect(unused_mut, unused_variables, reason = "for the feature")
    )]
    pub fn traced(mut self, method: &MethodDescriptor) -> Self {
        #[cfg(feature = "tracing")]
        {
            use crate::trace::{TraceContext, handler_span};
            let parent = TraceContext::of(&self.metadata);
            let trace = parent.map_or_else(TraceContext::root, TraceContext::child);
            self.span = Some(handler_span(method, self.peer(), parent, trace));
            self.trace = Some(trace);
        }
        self
    }

    /// What calls inherit that the handler makes.
    pub fn scope(&self) -> Scope {
        Scope {
            inherited: Inherited {
                deadline: self.deadline,
                #[cfg(feature = "tracing")]
                trace: self.trace,
            },
            #[cfg(feature = "tracing")]
            span: self.span.clone(),
        }
    }

    /// What the caller sent with the call besides the arguments.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The same to be changed, by a layer that knows better than the caller.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// What layers have left for the handler, such as who the caller has proved to be.
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The same to be changed.
    pub fn extensions_mut(&mut self) -> &mut Extensions {
        &mut self.extensions
    }

    /// Makes the deadline earlier, if it is not before `deadline` already: for the handler, the calls that it makes, and its turn on the worker pool. Nothing is stopped by it
    /// where the handler runs on the connection.
    pub fn shorten(&mut self, deadline: Instant) {
        self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
    }

    /// Marks the call as waiting in a layer, until what is returned is dropped. If its time runs out meanwhile, its caller is told that the method did not run.
    pub fn hold(&self) -> Hold {
        self.control.holds.fetch_add(1, Ordering::Relaxed);
        Hold(Arc::clone(&self.control))
    }

    /// Adds to the metadata that is sent with the answer, whether it is a value, an error or a failure.
    ///
    /// # Errors
    ///
    /// [`MetadataError`]: the entry is too large, or all together are.
    pub fn add_reply_metadata(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), MetadataError> {
        let mut metadata = self
            .control
            .reply_metadata
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        metadata.insert(key, value.as_ref())?;
        self.control.has_reply_metadata.store(true, Ordering::Release);
        Ok(())
    }

    /// Who called.
    pub fn peer(&self) -> &Peer {
        &self.control.peer
    }

    /// When the caller stops waiting, on this machine's monotonic clock.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How long the caller still waits at `now`: zero once the deadline has passed, `None` without one.
    pub fn time_left(&self, now: Instant) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(now))
    }

    /// Whether the call is over for its caller: given up, expired, or its connection gone. Long work on the worker pool asks now and then, and
    /// returns anything when it is. (An `async` handler need not ask: its future is dropped.)
    pub fn is_cancelled(&self) -> bool {
        self.control.is_cancelled()
    }

    /// The call's shared state.
    #[doc(hidden)]
    pub fn control(&self) -> &Arc<CallControl> {
        &self.control
    }
}
