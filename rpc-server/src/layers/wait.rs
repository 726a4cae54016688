//! Waiting of a call before its handler begins, as long as the call has time.

use rpc_core::Code;
use rpc_core::incoming::{Completed, IncomingCall};
use tokio::time::timeout_at;

/// What `ready` comes to; or the answer, if the call's time runs out before.
pub(crate) async fn wait_for<F: Future>(call: &mut IncomingCall, ready: F) -> Result<F::Output, Completed> {
    let hold = call.context.hold();
    let ready = match call.context.deadline() {
        Some(deadline) => timeout_at(deadline.into(), ready).await.ok(),
        None => Some(ready.await),
    };
    drop(hold);
    ready.ok_or_else(|| expired(call))
}

/// The answer to a call whose handler did not begin in time.
pub(crate) fn expired(call: &mut IncomingCall) -> Completed {
    call.take_reply()
        .fail(Code::EXPIRED, "time ran out before the method was started")
}
