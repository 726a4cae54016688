//! Every case over TCP and over a Unix socket, against a server in a process of its own.
//!
//! Each test has its own server, which has to end in good order after it. Health is tested where it is built.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod blocking;
mod calls;
mod cancel;
mod failures;
mod metadata;
#[path = "../support/peer.rs"]
mod peer;
mod signals;
mod streams;

/// How long a case may take. None comes near; a machine may be slow.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A test per case and transport.
macro_rules! cases {
    ($($module:ident: $($case:ident)*;)*) => {
        mod tcp {
            cases!(@ Tcp $($module: $($case)*;)*);
        }
        mod unix {
            cases!(@ Unix $($module: $($case)*;)*);
        }
    };
    (@ $transport:ident $($module:ident: $($case:ident)*;)*) => {
        $(mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let peer = crate::peer::Peer::start(crate::peer::Transport::$transport).await;
                tokio::time::timeout(crate::PATIENCE, crate::$module::$case(&peer)).await.expect("the case takes too long");
                peer.stop().await;
            })*
        })*
    };
}

cases! {
    calls: empty_call large_call very_large_call special_characters one_way concurrent_calls;
    streams: client_stream server_stream ping_pong ping_pong_on_worker empty_stream half_close large_items many_streams receiver_stops handler_breaks_off;
    cancel: timeout_on_sleeping_server timeout_of_stream cancel_call cancel_after_begin cancel_after_first_reply sender_gives_up;
    failures: code_and_message unimplemented_method changed_method unimplemented_service too_large panic;
    blocking: calls_and_errors failures large_bodies deadline_stops_the_handler many_threads channels_are_refused drain;
    metadata: with_reply with_error with_failure with_end with_call_that_has_channels;
}
