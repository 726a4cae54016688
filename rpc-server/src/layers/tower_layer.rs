//! TowerLayer: any `tower::Layer` as a middleware of services.

use std::convert::Infallible;
use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use rpc_core::incoming::{Completed, IncomingCall};
use rpc_core::{Code, Dispatch, ServerMiddleware};
use tower::load_shed::error::Overloaded;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Layer, Service};

use super::stop::stop;

/// Makes a middleware of a layer of `tower`: one whose service takes an [`IncomingCall`] and answers with [`Completed`], as those do that do not care what they let pass.
///
/// ```
/// use rpc_core::Dispatch;
/// use rpc_server::layers::tower_layer;
/// use tower::limit::ConcurrencyLimitLayer;
///
/// # fn show(service: impl Dispatch) {
/// let service = service.layer(tower_layer(ConcurrencyLimitLayer::new(8)));
/// # let _ = service;
/// # }
/// ```
///
/// The layer is applied once; its service is shared by all calls, which wait one after the other until it is ready, and need not be `Clone`.
///
/// Errors of a layer become failures: [`Elapsed`] is [`Code::DEADLINE`], [`Overloaded`] is [`Code::REFUSED`], any other one [`Code::INTERNAL`] with its text. Where the handler did
/// not begin, the first is [`Code::EXPIRED`].
///
/// `tower` cannot name what is behind a middleware here, which differs from service to service. So a call passes it with a place where it is handed over, which is allocated
/// per call; no other layer allocates.
pub fn tower_layer<L>(layer: L) -> TowerLayer<L::Service>
where
    L: Layer<Handler>,
    TowerLayer<L::Service>: ServerMiddleware,
{
    TowerLayer(tokio::sync::Mutex::new(layer.layer(Handler(()))))
}

/// A service of `tower` as a middleware. Made by [`tower_layer`].
pub struct TowerLayer<S>(tokio::sync::Mutex<S>);

impl<S> TowerLayer<S>
where
    S: Service<IncomingCall, Response = Completed, Error: Into<BoxError>>,
{
    async fn respond(&self, call: IncomingCall) -> Result<Completed, BoxError> {
        let mut service = self.0.lock().await;
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
        let responding = service.call(call);
        drop(service);
        responding.await.map_err(Into::into)
    }
}

impl<S> ServerMiddleware for TowerLayer<S>
where
    S: Service<IncomingCall, Response = Completed, Error: Into<BoxError>, Future: Send> + Send + 'static,
{
    async fn call<D: Dispatch>(&self, mut call: IncomingCall, next: &D) -> Completed {
        let desk = Arc::new(Desk::default());
        let _close = Close(Arc::clone(&desk));
        let control = Arc::clone(call.context.control());
        let method = next.method_of(&call);
        let mut hold = Some(call.context.hold());
        call.context.extensions_mut().insert(Place(Arc::clone(&desk)));
        let mut responding = pin!(self.respond(call));
        let dispatch = |call| next.dispatch(call);
        let mut handler = pin!(none_of(&dispatch));
        let outcome = poll_fn(|cx| {
            loop {
                if let Some(running) = handler.as_mut().as_pin_mut()
                    && let Poll::Ready(completed) = running.poll(cx)
                {
                    handler.set(None);
                    desk.complete(completed);
                }
                if let Poll::Ready(outcome) = responding.as_mut().poll(cx) {
                    return Poll::Ready(outcome);
                }
                match desk.poll_call(cx) {
                    Poll::Ready(call) => {
                        hold = None;
                        handler.set(Some(dispatch(call)));
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await;
        let completed = outcome.unwrap_or_else(|error| failure(&*error, hold.is_none()));
        match handler.as_mut().as_pin_mut() {
            // Whoever has waited for the handler does so no more.
            Some(handler) => stop(handler, &control, method, completed).await,
            None => completed,
        }
    }
}

impl<S> fmt::Debug for TowerLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerLayer").finish_non_exhaustive()
    }
}

/// None of the futures that a function makes.
fn none_of<F>(_: &impl Fn(IncomingCall) -> F) -> Option<F> {
    None
}

/// What a layer's error means to the caller.
fn failure(error: &(dyn Error + 'static), has_begun: bool) -> Completed {
    let code = if is_a::<Elapsed>(error) {
        if has_begun { Code::DEADLINE } else { Code::EXPIRED }
    } else if is_a::<Overloaded>(error) && !has_begun {
        Code::REFUSED
    } else {
        Code::INTERNAL
    };
    Completed::failure(code, error.to_string())
}

/// Whether an error, or what it comes from, is of that type.
fn is_a<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source()).any(|error| error.is::<E>())
}

/// What stands behind a layer of `tower`: hands calls over to whatever is behind the middleware.
#[derive(Clone, Debug)]
pub struct Handler(());

impl Service<IncomingCall> for Handler {
    type Response = Completed;
    type Error = Infallible;
    type Future = Handled;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut call: IncomingCall) -> Handled {
        let place = call.context.extensions_mut().remove::<Place>();
        let desk = place.map(|place| Arc::clone(&place.0));
        if let Some(desk) = &desk {
            desk.hand_over(call);
        }
        Handled { desk }
    }
}

/// The answer to a call that was handed over.
#[derive(Debug)]
pub struct Handled {
    desk: Option<Arc<Desk>>,
}

impl Future for Handled {
    type Output = Result<Completed, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &self.desk {
            Some(desk) => desk.poll_completed(cx).map(Ok),
            // The call of another service, or one that a layer has passed on twice.
            None => Poll::Ready(Ok(Completed::failure(Code::INTERNAL, "call is not on its way"))),
        }
    }
}

/// How a call finds its way through `tower`.
struct Place(Arc<Desk>);

/// Where a call is handed over to the middleware, and its answer back.
#[derive(Debug, Default)]
struct Desk(Mutex<Handing>);

#[derive(Debug, Default)]
struct Handing {
    call: Option<IncomingCall>,
    completed: Option<Completed>,
    middleware: Option<Waker>,
    handled: Option<Waker>,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Handing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_over(&self, call: IncomingCall) {
        let mut handing = self.lock();
        handing.call = Some(call);
        let waker = handing.middleware.take();
        drop(handing);
        // A layer may have its service called in another task.
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll_call(&self, cx: &mut Context<'_>) -> Poll<IncomingCall> {
        let mut handing = self.lock();
        match handing.call.take() {
            Some(call) => Poll::Ready(call),
            None => {
                handing.middleware = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn complete(&self, completed: Completed) {
        let mut handing = self.lock();
        handing.completed = Some(completed);
        let waker = handing.handled.take();
        drop(handing);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    fn poll_completed(&self, cx: &mut Context<'_>) -> Poll<Completed> {
        let mut handing = self.lock();
        match handing.completed.take() {
            Some(completed) => Poll::Ready(completed),
            None => {
                handing.handled = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Nobody will run what is handed over from here on.
struct Close(Arc<Desk>);

impl Drop for Close {
    fn drop(&mut self) {
        self.0
            .complete(Completed::failure(Code::CANCELLED, "call is over"));
        // Dropped outside of the lock.
        let call = self.0.lock().call.take();
        drop(call);
    }
}
