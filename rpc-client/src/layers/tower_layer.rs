//! TowerLayer: any `tower::Layer` as a middleware of callers.

use std::error::Error;
use std::fmt;
use std::future::{poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use rpc_core::{Answer, CallFailure, Caller, ClientMiddleware, FailureKind, OutgoingCall};
use tokio::time::sleep_until;
use tower::load_shed::error::Overloaded;
use tower::timeout::error::Elapsed;
use tower::{BoxError, Layer, Service};

use super::fix_deadline;

/// Makes a middleware of a layer of `tower`: one whose service takes an [`OutgoingCall`] and answers with [`Answer`], as those do that do not care what they let pass.
///
/// ```
/// use rpc_client::layers::tower_layer;
/// use rpc_core::Caller;
/// use tower::limit::ConcurrencyLimitLayer;
///
/// # fn show(channel: impl Caller) {
/// let caller = channel.layer(tower_layer(ConcurrencyLimitLayer::new(8)));
/// # let _ = caller;
/// # }
/// ```
///
/// The layer is applied once; its service is shared by all calls, which wait one after the other until it is ready, and need not be `Clone`. A call that is out of time before it
/// has passed fails, and did not run.
///
/// Errors of a layer become failures: [`Elapsed`] is [`FailureKind::DeadlineExceeded`], [`Overloaded`] is [`FailureKind::LocalLimit`]; any other one is that as well if the call was not
/// started, else [`FailureKind::Other`], with its text. What the call itself fails with stays as it is.
///
/// `tower` cannot name what is behind a middleware here, which differs from caller to caller. So a call passes it with a boxed function that starts it, and its future is boxed;
/// no other layer allocates.
pub fn tower_layer<L>(layer: L) -> TowerLayer<L::Service>
where
    L: Layer<Starter>,
    TowerLayer<L::Service>: ClientMiddleware,
{
    TowerLayer(tokio::sync::Mutex::new(layer.layer(Starter(()))))
}

/// A service of `tower` as a middleware. Made by [`tower_layer`].
pub struct TowerLayer<S>(tokio::sync::Mutex<S>);

impl<S> TowerLayer<S>
where
    S: Service<OutgoingCall, Response = Answer, Error: Into<BoxError>>,
{
    async fn respond(&self, call: OutgoingCall) -> Result<Answer, BoxError> {
        let mut service = self.0.lock().await;
        poll_fn(|cx| service.poll_ready(cx)).await.map_err(Into::into)?;
        let responding = service.call(call);
        drop(service);
        responding.await.map_err(Into::into)
    }
}

impl<S> ClientMiddleware for TowerLayer<S>
where
    S: Service<OutgoingCall, Response = Answer, Error: Into<BoxError>, Future: Send> + Send + 'static,
{
    async fn call<C: Caller>(&self, mut call: OutgoingCall, next: &C) -> Result<Answer, CallFailure> {
        let deadline = fix_deadline(&mut call, next);
        let started = Arc::new(AtomicBool::new(false));
        call.extensions
            .insert(start_on(next.clone(), Arc::clone(&started)));
        let has_started = || started.load(Ordering::Relaxed);
        let mut responding = pin!(self.respond(call));
        let mut timer = pin!(deadline.map(|deadline| sleep_until(deadline.into())));
        let outcome = poll_fn(|cx| {
            if let Poll::Ready(outcome) = responding.as_mut().poll(cx) {
                return Poll::Ready(Some(outcome));
            }
            match timer.as_mut().as_pin_mut() {
                // Once it was started it keeps its deadline itself.
                Some(timer) if !has_started() => timer.poll(cx).map(|()| None),
                _ => Poll::Pending,
            }
        });
        match outcome.await {
            Some(outcome) => outcome.map_err(|error| failure(&*error, has_started())),
            None => {
                let text = "time ran out before the call was started (tower_layer)";
                Err(CallFailure::local(FailureKind::DeadlineExceeded, false, text))
            }
        }
    }
}

impl<S> fmt::Debug for TowerLayer<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerLayer").finish_non_exhaustive()
    }
}

/// What an error means to the caller: that of the call itself, or one of a layer.
fn failure(error: &(dyn Error + 'static), has_started: bool) -> CallFailure {
    if let Some(failure) = find::<CallFailure>(error) {
        return failure.clone();
    }
    let kind = if find::<Elapsed>(error).is_some() {
        FailureKind::DeadlineExceeded
    } else if has_started && find::<Overloaded>(error).is_none() {
        FailureKind::Other
    } else {
        FailureKind::LocalLimit
    };
    CallFailure::local(kind, has_started, error.to_string())
}

/// An error, or what it comes from, if that is of this type.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

/// A call under way, whoever made it.
type Started = Pin<Box<dyn Future<Output = Result<Answer, CallFailure>> + Send>>;

/// How a call is started that has found its way through `tower`.
struct Next(Box<dyn Fn(OutgoingCall) -> Started + Send + Sync>);

fn start_on<C: Caller>(next: C, started: Arc<AtomicBool>) -> Next {
    Next(Box::new(move |call| {
        started.store(true, Ordering::Relaxed);
        Box::pin(next.start(call))
    }))
}

/// What stands behind a layer of `tower`: starts calls on whatever is behind the middleware.
#[derive(Clone, Debug)]
pub struct Starter(());

impl Service<OutgoingCall> for Starter {
    type Response = Answer;
    type Error = CallFailure;
    type Future = Pin<Box<dyn Future<Output = Result<Answer, CallFailure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), CallFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut call: OutgoingCall) -> Self::Future {
        match call.extensions.remove::<Next>() {
            Some(next) => (next.0)(call),
            None => {
                let text = "call was not made by the layer's caller";
                Box::pin(ready(Err(CallFailure::local(
                    FailureKind::LocalLimit,
                    false,
                    text,
                ))))
            }
        }
    }
}
