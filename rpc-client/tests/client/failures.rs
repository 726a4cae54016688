//! Failures that a server sends, and answers that are no good.

use rpc_core::{CallError, Code, FailureKind};

use crate::raw_server::{Preface, REPLY, RawServer};
use crate::{Client, connected, within};

async fn failed_with(code: u32, text: &str) -> CallError {
    let (client, mut server, _listener) = connected(16).await;
    let serve = async {
        server.calls(1).await;
        server.fail(0, code, text).await;
    };
    within(async { tokio::join!(client.next(1), serve) })
        .await
        .0
        .unwrap_err()
}

/// P-42
#[tokio::test]
async fn every_code_becomes_a_kind_and_says_whether_the_method_may_have_run() {
    let table = [
        (1, FailureKind::Cancelled, true),
        (2, FailureKind::DeadlineExceeded, true),
        (3, FailureKind::DeadlineExceeded, false),
        (16, FailureKind::UnknownMethod, false),
        (18, FailureKind::InvalidArguments, false),
        (32, FailureKind::Refused, false),
        (33, FailureKind::Refused, false),
        (48, FailureKind::ServerFailed, true),
        (49, FailureKind::ServerFailed, true),
        (4711, FailureKind::Other, true),
    ];
    for (code, kind, may_have_run) in table {
        let error = failed_with(code, "reason").await;
        let failure = error.failure().unwrap();
        assert_eq!(
            (failure.kind(), failure.may_have_run()),
            (kind, may_have_run),
            "{code}"
        );
        assert_eq!(
            (failure.code(), failure.text()),
            (Some(Code::from_number(code)), "reason")
        );
    }
}

/// P-38
#[tokio::test]
async fn a_schema_mismatch_shows_both_signatures() {
    let error = failed_with(17, "Probe.next(number: u32) -> u64").await;
    assert_eq!(error.failure().unwrap().kind(), FailureKind::SchemaMismatch);
    let text = error.to_string();
    assert!(text.contains("Probe.next(number: u64) -> u64"), "{text}");
    assert!(text.contains("Probe.next(number: u32) -> u64"), "{text}");
    assert!(!error.may_have_run());
}

#[tokio::test]
async fn an_answer_that_is_no_archive_fails_its_call_alone() {
    let (client, mut server, _listener) = connected(16).await;
    let serve = async {
        server.calls(1).await;
        server.send(REPLY, 0, 0, 0, &[1, 2, 3]).await;
        server.calls(1).await;
        server.reply(0, 3).await;
    };
    let calls = async {
        let error = client.next(1).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Probe.next: invalid reply: not a valid archive of the type (the method may have run)"
        );
        assert_eq!(*client.next(2).await.unwrap(), 3);
    };
    within(async { tokio::join!(serve, calls) }).await;
}

#[tokio::test]
async fn a_call_that_is_too_large_for_the_server_is_not_sent() {
    let server = RawServer::bind().await;
    let address = server.address();
    let greet = async {
        let mut connection = server.accept().await;
        connection
            .greet(&Preface {
                max_body: 16_384,
                ..Preface::default()
            })
            .await;
        connection
    };
    let (channel, mut connection) = tokio::join!(rpc_client::Channel::connect(address), greet);
    let client = Client::new(channel.unwrap());
    let serve = async {
        assert_eq!(connection.frame().await.number(), 1);
        connection.reply(0, 2).await;
    };
    let calls = async {
        let error = client.swallow(&[0; 16_384]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "Probe.swallow: not sent: body exceeds the limit of 16384 bytes (max_body) (the method did not run)"
        );
        assert_eq!(*client.next(1).await.unwrap(), 2);
    };
    within(async { tokio::join!(serve, calls) }).await;
}
