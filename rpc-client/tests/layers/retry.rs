//! What is repeated, how often, when, and for how long.

use std::sync::Arc;
use std::time::Duration;

use rpc_client::layers::Retry;
use rpc_core::stream::CallChannels;
use rpc_core::{Answer, CallFailure, Caller, Code, FailureKind, OutgoingCall};
use tokio::time::Instant;

use crate::{MS, OFTEN, ONCE, ROWS, Scripted, call, local, refused, value};

/// How a call ends behind [`Retry`] when every attempt fails so, and after how many.
async fn attempts(failure: CallFailure, method: usize) -> usize {
    let scripted = Scripted::new({
        let failure = failure.clone();
        move |_| Err(failure.clone())
    });
    let outcome = scripted.clone().layer(Retry::new()).start(call(method)).await;
    assert_eq!(outcome.unwrap_err(), failure);
    scripted.count()
}

#[tokio::test(start_paused = true)]
async fn only_what_is_safe_is_repeated() {
    use FailureKind as Kind;
    let from_peer = |code| CallFailure::from_peer(code, "");
    // The failure, the attempts of a method that may run once, and of one that may run often.
    let rows = [
        (local(Kind::NotSent, false), 3, 3),
        (local(Kind::Refused, false), 3, 3),
        (from_peer(Code::REFUSED), 3, 3),
        (from_peer(Code::DRAINING), 3, 3),
        (local(Kind::Refused, true), 1, 3),
        (local(Kind::ConnectionLost, false), 3, 3),
        (local(Kind::ConnectionLost, true), 1, 3),
        (from_peer(Code::INTERNAL), 1, 3),
        (from_peer(Code::REPLY_TOO_LARGE), 1, 1),
        (from_peer(Code::METADATA_TOO_LARGE), 1, 1),
        (from_peer(Code::INVALID_ARCHIVE), 1, 1),
        (from_peer(Code::SCHEMA_MISMATCH), 1, 1),
        (from_peer(Code::UNKNOWN_METHOD), 1, 1),
        (from_peer(Code::EXPIRED), 1, 1),
        (from_peer(Code::DEADLINE), 1, 1),
        (from_peer(Code::CANCELLED), 1, 1),
        (from_peer(Code::from_number(4_711)), 1, 1),
        (local(Kind::LocalLimit, false), 1, 1),
        (local(Kind::DeadlineExceeded, false), 1, 1),
        (local(Kind::InvalidReply, true), 1, 1),
    ];
    for (failure, once, often) in rows {
        let text = format!("{failure:?}");
        assert_eq!(attempts(failure.clone(), ONCE).await, once, "{text}");
        assert_eq!(attempts(failure, OFTEN).await, often, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_methods_own_error_is_an_answer() {
    let error = || Answer {
        error: true,
        ..value()
    };
    let scripted = Scripted::new(move |_| Ok(error()));
    let caller = scripted.clone().layer(Retry::new());
    assert!(caller.start(call(OFTEN)).await.unwrap().error);
    assert_eq!(scripted.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_call_is_the_same_and_may_succeed() {
    let scripted = Scripted::new(|attempt| match attempt {
        0 | 1 => Err(refused()),
        _ => Ok(value()),
    });
    let caller = scripted.clone().layer(Retry::new());
    assert_eq!(caller.start(call(ONCE)).await.unwrap().body, "value");
    let attempts = scripted.attempts.lock().unwrap();
    assert_eq!(attempts.len(), 3);
    let sent = call(ONCE);
    assert!(attempts.iter().all(|attempt| attempt.body == sent.frame.body()));
}

#[tokio::test(start_paused = true)]
async fn calls_with_channels_and_long_calls_are_not_repeated() {
    let count = async |call: OutgoingCall| {
        let scripted = Scripted::new(|_| Err(refused()));
        let caller = scripted.clone().layer(Retry::new().max_copy(2));
        caller.start(call).await.unwrap_err();
        scripted.count()
    };
    let mut rows = call(ROWS);
    rows.channels = CallChannels::for_handler(rows.method);
    assert_eq!(count(rows).await, 1);
    let mut long = call(ONCE);
    long.frame.extend(b"b");
    assert_eq!(count(long).await, 3);
    let mut long = call(ONCE);
    long.frame.extend(b"bc");
    assert_eq!(count(long).await, 1);
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_what_a_storm_of_failures_adds() {
    let scripted = Scripted::new(|_| Err(refused()));
    let retry = Arc::new(Retry::new().attempts(5));
    let caller = scripted.clone().layer(Arc::clone(&retry));
    for calls in 1..=1_000_usize {
        caller.start(call(ONCE)).await.unwrap_err();
        let attempts = scripted.count();
        assert!(
            attempts <= calls + calls / 10 + 10,
            "{attempts} attempts of {calls} calls"
        );
    }
    // And it is used.
    assert_eq!(scripted.count(), 1_110);
    assert_eq!(retry.budget_left(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_budget_fills_up_to_its_cap_and_not_beyond() {
    let scripted = Scripted::new(|attempt| {
        if attempt < 1_000 {
            Ok(value())
        } else {
            Err(refused())
        }
    });
    let retry = Arc::new(Retry::new().attempts(100).budget(0.5, 20));
    let caller = scripted.clone().layer(Arc::clone(&retry));
    assert_eq!(retry.budget_left(), 10);
    for _ in 0..1_000 {
        caller.start(call(ONCE)).await.unwrap();
    }
    assert_eq!(retry.budget_left(), 20);
    caller.start(call(ONCE)).await.unwrap_err();
    assert_eq!(scripted.count(), 1_000 + 21);
    // Nothing is left, and half a retry is none.
    caller.start(call(ONCE)).await.unwrap_err();
    assert_eq!(scripted.count(), 1_000 + 22);
}

#[tokio::test(start_paused = true)]
async fn pauses_double_and_are_random_but_the_same_for_a_seed() {
    let pauses = async |seed| {
        let scripted = Scripted::new(|_| Err(refused()));
        let retry = Retry::new().attempts(9).seed(seed);
        scripted.clone().layer(retry).start(call(ONCE)).await.unwrap_err();
        let attempts = scripted.attempts.lock().unwrap();
        let pauses = attempts.windows(2).map(|pair| pair[1].at - pair[0].at);
        pauses.collect::<Vec<_>>()
    };
    let mut longest = Duration::ZERO;
    for seed in 0..20 {
        let these = pauses(seed).await;
        let most = [20, 40, 80, 160, 320, 640, 1_000, 1_000];
        assert_eq!(these.len(), most.len());
        for (pause, most) in these.iter().zip(most) {
            // The timer counts whole milliseconds.
            assert!(*pause <= MS(most + 1), "{pause:?} of {most}");
        }
        longest = longest.max(these[7]);
        assert_eq!(pauses(seed).await, these);
    }
    assert!(longest > MS(800));
    assert_ne!(pauses(1).await, pauses(2).await);
}

#[tokio::test(start_paused = true)]
async fn attempts_share_one_deadline() {
    let deadlines = async |mut call: OutgoingCall, timeout: Option<Duration>| {
        let mut scripted = Scripted::new(|_| Err(refused())).takes(MS(100));
        if let Some(timeout) = timeout {
            scripted = scripted.with_call_timeout(timeout);
        }
        let start = Instant::now().into_std();
        call.metadata.insert("key", "value").unwrap();
        let caller = scripted.clone().layer(Retry::new().attempts(10).seed(1));
        caller.start(call).await.unwrap_err();
        let attempts = scripted.attempts.lock().unwrap();
        let options = attempts[0].options;
        assert!(attempts.iter().all(|attempt| attempt.options == options));
        assert_eq!(options.timeout, None);
        let last = attempts.last().unwrap().at - start;
        (
            attempts.len(),
            last,
            options.deadline.map(|deadline| deadline - start),
        )
    };
    // What the caller says of calls that say nothing.
    let (count, last, deadline) = deadlines(call(ONCE), Some(MS(350))).await;
    assert!((2..=4).contains(&count) && last < MS(350), "{count}, {last:?}");
    assert_eq!(deadline, Some(MS(350)));
    // What the call says.
    let mut short = call(ONCE);
    short.options.timeout = Some(MS(90));
    assert_eq!(deadlines(short, Some(MS(350))).await.0, 1);
    // Nothing at all.
    let (count, _, deadline) = deadlines(call(ONCE), None).await;
    assert_eq!((count, deadline), (10, None));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_does_not_fail_costs_no_memory_for_its_copy() {
    use std::future::{Ready, ready};
    #[derive(Clone)]
    struct Fine;
    impl Caller for Fine {
        type Pending = Ready<Result<Answer, CallFailure>>;
        fn max_body(&self) -> usize {
            1_000
        }
        fn start(&self, _: OutgoingCall) -> Self::Pending {
            ready(Ok(value()))
        }
    }
    let caller = Fine.layer(Retry::new());
    let calls: Vec<_> = (0..100).map(|_| call(ONCE)).collect();
    caller.start(call(ONCE)).await.unwrap();
    let mut calls = calls.into_iter();
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let counted = allocation_counter::measure(|| {
        for call in calls.by_ref() {
            let mut pending = caller.start(call);
            assert!(std::pin::Pin::new(&mut pending).poll(&mut cx).is_ready());
        }
    });
    assert_eq!(counted.count_total, 0, "{counted:?}");
}
