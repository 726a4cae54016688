//! Stopping a handler from a layer in front of it.

use std::pin::Pin;

use rpc_core::context::CallControl;
use rpc_core::incoming::{Completed, Outcome};
use rpc_core::{Code, MethodDescriptor};

/// Asks a handler to stop, after which its future is to be dropped. How the call ends: `stopped`, or that it did not run at all.
///
/// A job on the worker pool cannot be dropped. Its end is waited for, so that the call keeps what it occupies as long as the job does; but if the method has channels,
/// the job may be waiting for one, and it is the end of the call that ends them.
pub(crate) async fn stop<F>(
    handler: Pin<&mut F>,
    control: &CallControl,
    method: Option<&MethodDescriptor>,
    stopped: Completed,
) -> Completed
where
    F: Future<Output = Completed>,
{
    control.cancel();
    if control.is_held() {
        return Completed::failure(Code::EXPIRED, "time ran out before the method was started");
    }
    let has_channels = method.is_some_and(MethodDescriptor::has_channels);
    if !control.is_on_worker() || has_channels {
        return stopped;
    }
    match handler.await.outcome {
        Outcome::Failure(Code::CANCELLED | Code::EXPIRED, _) => {
            Completed::failure(Code::EXPIRED, "time ran out in the worker queue")
        }
        Outcome::Failure(..) | Outcome::Reply { .. } => stopped,
    }
}
