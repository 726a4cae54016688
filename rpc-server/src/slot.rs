//! Handler slots: memory for running handlers that is used again, so that a call allocates nothing once its connection is warm.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use rpc_core::incoming::{Completed, IncomingCall};
use rpc_core::{Dispatch, ServiceDescriptor};

/// A service whose type is forgotten.
pub(crate) trait Service: Send + Sync {
    fn descriptor(&self) -> &'static ServiceDescriptor;

    /// A slot for one handler of this service, of whichever method.
    fn new_slot(&self) -> Box<dyn HandlerSlot>;
}

/// Room for one running handler.
pub(crate) trait HandlerSlot: Send {
    /// Puts a call in. Runs nothing yet.
    fn start(&mut self, call: IncomingCall);

    /// Runs the handler on, and puts its answer into `answer` when it has one. After that, and after a panic, the slot is empty.
    fn poll(&mut self, cx: &mut Context<'_>, answer: &mut Option<Completed>) -> Polled;

    /// Stops the handler by dropping it; a panic of a destructor ends here.
    fn clear(&mut self);
}

/// How far a handler has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Polled {
    Pending,
    Done,
    /// The payload stays in this process.
    Panicked,
}

/// Erases the type of a service.
pub(crate) fn erase<D: Dispatch>(service: D) -> Arc<dyn Service> {
    Arc::new(Typed(Arc::new(service)))
}

struct Typed<D>(Arc<D>);

impl<D: Dispatch> Service for Typed<D> {
    fn descriptor(&self) -> &'static ServiceDescriptor {
        self.0.descriptor()
    }

    fn new_slot(&self) -> Box<dyn HandlerSlot> {
        let service = Arc::clone(&self.0);
        // One future type for all methods of the service.
        boxed_slot(move |call| service.dispatch(call))
    }
}

/// The type of a dispatcher's future has no name: it is found by inference here.
fn boxed_slot<M, F>(make: M) -> Box<dyn HandlerSlot>
where
    M: Fn(IncomingCall) -> F + Send + 'static,
    F: Future<Output = Completed> + Send + 'static,
{
    Box::new(TypedSlot {
        make,
        future: Box::pin(None),
    })
}

struct TypedSlot<M, F> {
    make: M,
    /// The handler, in memory that stays when it is gone.
    future: Pin<Box<Option<F>>>,
}

impl<M, F> HandlerSlot for TypedSlot<M, F>
where
    M: Fn(IncomingCall) -> F + Send,
    F: Future<Output = Completed> + Send,
{
    fn start(&mut self, call: IncomingCall) {
        let future = (self.make)(call);
        self.future.as_mut().set(Some(future));
    }

    fn poll(&mut self, cx: &mut Context<'_>, answer: &mut Option<Completed>) -> Polled {
        // Unwind safety: after a panic the future is dropped and never polled again; whatever else the handler shares is its author's concern, as
        // with any thread that panics.
        let polled = catch_unwind(AssertUnwindSafe(|| match self.future.as_mut().as_pin_mut() {
            Some(future) => match future.poll(cx) {
                Poll::Pending => Polled::Pending,
                Poll::Ready(completed) => {
                    *answer = Some(completed);
                    Polled::Done
                }
            },
            None => Polled::Pending,
        }));
        let polled = polled.unwrap_or_else(|payload| {
            discard_panic(payload);
            Polled::Panicked
        });
        if polled != Polled::Pending {
            self.clear();
        }
        polled
    }

    fn clear(&mut self) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.future.as_mut().set(None))) {
            discard_panic(payload);
        }
    }
}

/// Drops the payload of a panic, which may be any value, even one whose destructor panics again.
pub(crate) fn discard_panic(payload: Box<dyn std::any::Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(move || drop(payload))) {
        std::mem::forget(again);
    }
}
