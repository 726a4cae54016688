//! Acceptor: takes connections from one listener for as long as the server serves, whatever `accept` says.

use std::future::poll_fn;
use std::sync::Arc;

use rpc_net::{AcceptAction, AcceptBackoff, Listener, Socket, classify_accept_error};
use tokio::sync::OwnedSemaphorePermit;

use crate::shared::Shared;
use crate::shutdown::Phase;

/// Room for one connection, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Admission {
    _connection: OwnedSemaphorePermit,
    /// Given back when the peer has greeted.
    pub(crate) handshake: Option<OwnedSemaphorePermit>,
}

/// Accepts until the server drains. Each connection is handed to `run` (which spawns it, here or on another reactor).
///
/// At a limit, one connection waits here for room and the next ones in the kernel's backlog. Room is not reserved before a connection is there: acceptors
/// that nobody comes to would keep it from the others.
pub(crate) async fn accept(listener: Listener, shared: Arc<Shared>, mut run: impl FnMut(Socket, Admission)) {
    let mut backoff = AcceptBackoff::default();
    let draining = shared.shutdown.reached(Phase::Draining);
    let mut draining = std::pin::pin!(draining);
    loop {
        let next = poll_fn(|cx| listener.poll_accept(cx));
        let Some(accepted) = unless(draining.as_mut(), next).await else {
            return;
        };
        match accepted {
            Ok(socket) => {
                backoff.reset();
                shared.counters.accepted.add(1);
                let Some(Some(admission)) = unless(draining.as_mut(), admit(&shared)).await else {
                    return;
                };
                run(socket, admission);
            }
            Err(error) => {
                shared.counters.accept_errors.add(1);
                if classify_accept_error(&error) == AcceptAction::Pause {
                    // Out of descriptors or memory: calls in progress go on, and give some back.
                    shared.counters.accept_pauses.add(1);
                    let pause = tokio::time::sleep(backoff.pause());
                    if unless(draining.as_mut(), pause).await.is_none() {
                        return;
                    }
                } else {
                    // An error that comes back at once must not keep others from their turn.
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

async fn admit(shared: &Shared) -> Option<Admission> {
    // Only a closed semaphore gives an error, and nobody closes these.
    let connection = Arc::clone(&shared.connections).acquire_owned().await.ok()?;
    let handshake = Arc::clone(&shared.handshakes).acquire_owned().await.ok()?;
    Some(Admission {
        _connection: connection,
        handshake: Some(handshake),
    })
}

/// Runs `work` to its end, or to `None` when `stop` comes first.
async fn unless<T>(
    mut stop: std::pin::Pin<&mut impl Future<Output = ()>>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let mut work = std::pin::pin!(work);
    poll_fn(|cx| {
        if stop.as_mut().poll(cx).is_ready() {
            return std::task::Poll::Ready(None);
        }
        work.as_mut().poll(cx).map(Some)
    })
    .await
}
