//! Middleware: what runs around calls, on the caller's side and on the server's, without memory of its own per call.
//!
//! A middleware is an `async fn` that gets a call and `next`, which is whatever is behind it. It may look at the call, change it, wait, refuse it, pass it on once, more
//! than once, or not at all; and it sees how the call ends. [`Caller::layer`] puts one in front of a caller, [`Dispatch::layer`] in front of a service. The layer added
//! last is the outermost: it sees a call first and its end last.
//!
//! On the caller's side:
//!
//! ```
//! use rpc_core::middleware::ClientMiddleware;
//! use rpc_core::{Answer, CallFailure, Caller, OutgoingCall};
//!
//! struct Log;
//!
//! impl ClientMiddleware for Log {
//!     async fn call<C: Caller>(&self, mut call: OutgoingCall, next: &C) -> Result<Answer, CallFailure> {
//!         let (method, sent) = (call.method, call.len());
//!         // Metadata that is too long is left out.
//!         let _ = call.metadata.insert("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
//!         let outcome = next.start(call).await;
//!         match &outcome {
//!             Ok(answer) => println!("{} at {}: {sent} bytes there, {} back", method.name, next.peer(), answer.len()),
//!             Err(failure) => println!("{}: {failure}", method.name),
//!         }
//!         outcome
//!     }
//! }
//!
//! # fn show(channel: impl Caller) {
//! let caller = channel.layer(Log); // what a generated client takes
//! # let _ = caller;
//! # }
//! ```
//!
//! On the server's side; what is refused did not run, and its caller is told so:
//!
//! ```
//! use rpc_core::incoming::{Completed, IncomingCall};
//! use rpc_core::middleware::ServerMiddleware;
//! use rpc_core::{Code, Dispatch};
//!
//! /// Who called, for handlers: `cx.extensions().get::<Tenant>()`.
//! struct Tenant(String);
//!
//! struct NeedsTenant;
//!
//! impl ServerMiddleware for NeedsTenant {
//!     async fn call<D: Dispatch>(&self, mut call: IncomingCall, next: &D) -> Completed {
//!         let Some(tenant) = call.context.metadata().get_str("tenant") else {
//!             return call.take_reply().fail(Code::REFUSED, "no tenant is named");
//!         };
//!         let tenant = Tenant(tenant.to_owned());
//!         call.context.extensions_mut().insert(tenant);
//!         let method = next.method_of(&call).map_or("?", |method| method.name);
//!         let completed = next.dispatch(call).await;
//!         println!("{method}: {}, {} bytes", completed.code(), completed.len());
//!         completed
//!     }
//! }
//!
//! # fn show(service: impl Dispatch) {
//! let service = service.layer(NeedsTenant); // what a server takes
//! # let _ = service;
//! # }
//! ```
//!
//! A middleware that several callers or services share, its limits included, is put in front of each in an [`Arc`].

use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::call::{Answer, Caller, OutgoingCall};
use crate::failure::{CallFailure, FailureKind};
use crate::frame_buf::FrameBuf;
use crate::incoming::{Completed, IncomingCall};
use crate::service::{Dispatch, ServiceDescriptor};

/// What runs around calls on the caller's side. See the [module](self).
///
/// Calls with channels pass like others; their items do not come by. Such a call goes to `next` once or not at all.
pub trait ClientMiddleware: Send + Sync + 'static {
    /// Makes one call, as a rule by `next.start(call).await`. Written as
    /// `async fn call<C: Caller>(&self, call: OutgoingCall, next: &C) -> Result<Answer, CallFailure>`.
    ///
    /// The call's timeout counts from where `next` starts it. A middleware that makes a call wait turns it into a deadline first
    /// ([`OutgoingCall::fix_deadline`]).
    ///
    /// # Cancellation
    ///
    /// The future is dropped when the caller drops the call, and with it what it awaits.
    fn call<C: Caller>(
        &self,
        call: OutgoingCall,
        next: &C,
    ) -> impl Future<Output = Result<Answer, CallFailure>> + Send;
}

/// What runs around calls on the server's side, worker jobs included. See the [module](self).
pub trait ServerMiddleware: Send + Sync + 'static {
    /// Runs one call, as a rule by `next.dispatch(call).await`. Written as
    /// `async fn call<D: Dispatch>(&self, call: IncomingCall, next: &D) -> Completed`.
    ///
    /// It refuses by `call.take_reply().fail(Code::REFUSED, "…")`: such a call did not run, and may be repeated. A middleware that makes a call wait says so by
    /// [`hold`](crate::Context::hold).
    ///
    /// Metadata for the answer is added before the call is passed on ([`add_reply_metadata`](crate::Context::add_reply_metadata)): it is written in front of the value.
    ///
    /// # Cancellation
    ///
    /// The future is dropped when the call is stopped, and with it the future of an `async` handler. While a handler runs on the worker pool, it is kept until that ends.
    fn call<D: Dispatch>(&self, call: IncomingCall, next: &D) -> impl Future<Output = Completed> + Send;
}

impl<M: ClientMiddleware> ClientMiddleware for Arc<M> {
    fn call<C: Caller>(
        &self,
        call: OutgoingCall,
        next: &C,
    ) -> impl Future<Output = Result<Answer, CallFailure>> + Send {
        M::call(self, call, next)
    }
}

impl<M: ServerMiddleware> ServerMiddleware for Arc<M> {
    fn call<D: Dispatch>(&self, call: IncomingCall, next: &D) -> impl Future<Output = Completed> + Send {
        M::call(self, call, next)
    }
}

/// A middleware and what it stands before.
struct Pair<M, N> {
    middleware: M,
    next: N,
}

/// A service behind a middleware. Made by [`Dispatch::layer`].
pub struct ServerLayer<M, D>(Arc<Pair<M, D>>);

impl<M, D> ServerLayer<M, D> {
    pub(crate) fn new(middleware: M, next: D) -> Self {
        Self(Arc::new(Pair { middleware, next }))
    }
}

impl<M: ServerMiddleware, D: Dispatch> Dispatch for ServerLayer<M, D> {
    fn descriptor(&self) -> &'static ServiceDescriptor {
        self.0.next.descriptor()
    }

    fn dispatch(&self, call: IncomingCall) -> impl Future<Output = Completed> + Send + use<M, D> {
        let pair = Arc::clone(&self.0);
        async move { pair.middleware.call(call, &pair.next).await }
    }
}

impl<M, D> Clone for ServerLayer<M, D> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<M, D> fmt::Debug for ServerLayer<M, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerLayer").finish_non_exhaustive()
    }
}

/// A caller behind a middleware. Made by [`Caller::layer`]. Clones share the middleware.
///
/// The future of a call runs in a slot, memory that is kept when the call is over and used for the next one.
pub struct ClientLayer<M, C> {
    pair: Arc<Pair<M, C>>,
    /// Beside the pair and not in it: its slots refer to the pair.
    slots: Arc<Slots>,
}

impl<M, C> ClientLayer<M, C> {
    pub(crate) fn new(middleware: M, next: C) -> Self {
        Self {
            pair: Arc::new(Pair { middleware, next }),
            slots: Arc::default(),
        }
    }
}

impl<M: ClientMiddleware, C: Caller> ClientLayer<M, C> {
    fn new_slot(&self) -> Box<dyn Slot> {
        let pair = Arc::clone(&self.pair);
        boxed_slot(move |call| {
            let pair = Arc::clone(&pair);
            async move { pair.middleware.call(call, &pair.next).await }
        })
    }
}

impl<M: ClientMiddleware, C: Caller> Caller for ClientLayer<M, C> {
    type Pending = LayeredCall;

    fn frame(&self) -> FrameBuf {
        self.pair.next.frame()
    }

    fn max_body(&self) -> usize {
        self.pair.next.max_body()
    }

    fn peer(&self) -> Cow<'_, str> {
        self.pair.next.peer()
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.pair.next.call_timeout()
    }

    fn start(&self, call: OutgoingCall) -> LayeredCall {
        let mut slot = self.slots.take().unwrap_or_else(|| self.new_slot());
        slot.start(call);
        LayeredCall {
            slot: Some(slot),
            slots: Arc::clone(&self.slots),
        }
    }
}

impl<M, C> Clone for ClientLayer<M, C> {
    fn clone(&self) -> Self {
        Self {
            pair: Arc::clone(&self.pair),
            slots: Arc::clone(&self.slots),
        }
    }
}

impl<M, C: fmt::Debug> fmt::Debug for ClientLayer<M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLayer")
            .field("next", &self.pair.next)
            .finish_non_exhaustive()
    }
}

/// A call under way behind a middleware.
///
/// # Cancellation
///
/// Dropping it drops the middleware's future, and with it the call that it has started.
#[must_use = "a call does nothing until it is awaited"]
pub struct LayeredCall {
    slot: Option<Box<dyn Slot>>,
    slots: Arc<Slots>,
}

impl LayeredCall {
    /// Ends what runs, and keeps the memory.
    fn leave(&mut self) {
        if let Some(mut slot) = self.slot.take() {
            slot.clear();
            self.slots.give(slot);
        }
    }
}

impl Future for LayeredCall {
    type Output = Result<Answer, CallFailure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(slot) = &mut this.slot else {
            let text = "call was polled after it had ended";
            return Poll::Ready(Err(CallFailure::local(FailureKind::LocalLimit, true, text)));
        };
        let outcome = ready!(slot.poll(cx));
        this.leave();
        Poll::Ready(outcome)
    }
}

impl Drop for LayeredCall {
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for LayeredCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayeredCall")
            .field("ended", &self.slot.is_none())
            .finish_non_exhaustive()
    }
}

/// Room for one call, whatever the type of its future.
trait Slot: Send {
    /// Puts a call in. Runs nothing yet.
    fn start(&mut self, call: OutgoingCall);

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, CallFailure>>;

    /// Drops the call, if there still is one.
    fn clear(&mut self);
}

/// The type of a middleware's future has no name: it is found by inference here.
fn boxed_slot<N, F>(make: N) -> Box<dyn Slot>
where
    N: Fn(OutgoingCall) -> F + Send + 'static,
    F: Future<Output = Result<Answer, CallFailure>> + Send + 'static,
{
    Box::new(TypedSlot {
        make,
        future: Box::pin(None),
    })
}

struct TypedSlot<N, F> {
    make: N,
    /// In memory that stays when the call is gone.
    future: Pin<Box<Option<F>>>,
}

impl<N, F> Slot for TypedSlot<N, F>
where
    N: Fn(OutgoingCall) -> F + Send,
    F: Future<Output = Result<Answer, CallFailure>> + Send,
{
    fn start(&mut self, call: OutgoingCall) {
        let future = (self.make)(call);
        self.future.as_mut().set(Some(future));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, CallFailure>> {
        match self.future.as_mut().as_pin_mut() {
            Some(future) => future.poll(cx),
            None => Poll::Pending,
        }
    }

    fn clear(&mut self) {
        self.future.as_mut().set(None);
    }
}

/// How many slots of a layer are kept for further calls.
const MAX_IDLE: usize = 256;

/// Slots without a call.
#[derive(Default)]
struct Slots(Mutex<Vec<Box<dyn Slot>>>);

impl Slots {
    fn lock(&self) -> MutexGuard<'_, Vec<Box<dyn Slot>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Box<dyn Slot>> {
        self.lock().pop()
    }

    fn give(&self, slot: Box<dyn Slot>) {
        let mut idle = self.lock();
        if idle.len() < MAX_IDLE {
            idle.push(slot);
        }
    }
}
