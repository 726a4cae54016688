//! So many calls at a time.

use std::sync::Arc;

use rpc_client::layers::ConcurrencyLimit;
use rpc_core::{Caller, FailureKind};
use tokio::time::Instant;

use crate::{MS, ONCE, Scripted, call, value};

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_wait_and_their_time_goes_on() {
    let scripted = Scripted::new(|_| Ok(value())).takes(MS(100));
    let limit = Arc::new(ConcurrencyLimit::new(2));
    let caller = scripted.clone().layer(Arc::clone(&limit));
    let start = Instant::now();
    let timed = |millis| {
        let mut call = call(ONCE);
        call.options.timeout = Some(MS(millis));
        caller.start(call)
    };
    let (a, b, c, late) = tokio::join!(timed(500), timed(500), timed(500), timed(50));
    assert!(a.is_ok() && b.is_ok() && c.is_ok());
    let late = late.unwrap_err();
    assert_eq!(
        (late.kind(), late.may_have_run()),
        (FailureKind::DeadlineExceeded, false)
    );
    assert_eq!((scripted.count(), limit.running()), (3, 0));
    assert!(start.elapsed() < MS(210));
    let attempts = scripted.attempts.lock().unwrap();
    let options = attempts[2].options;
    assert_eq!(
        (options.timeout, options.deadline),
        (None, Some((start + MS(500)).into_std()))
    );
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_limit_fail_if_it_sheds() {
    let scripted = Scripted::new(|_| Ok(value())).takes(MS(100));
    let caller = scripted.clone().layer(ConcurrencyLimit::new(1).shed());
    let (first, second) = tokio::join!(caller.start(call(ONCE)), caller.start(call(ONCE)));
    assert!(first.is_ok());
    let second = second.unwrap_err();
    assert_eq!(
        (second.kind(), second.may_have_run()),
        (FailureKind::LocalLimit, false)
    );
    assert!(caller.start(call(ONCE)).await.is_ok());
}
