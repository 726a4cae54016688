//! Errors of methods, and failures of calls.

use bytes::Bytes;
use interop::contract::later::{ElsewhereClient, LaterClient};
use interop::contract::{Complaint, Ending};
use rpc_core::{CallError, CallFailure, Code, FailureKind};

use crate::calls::SPECIAL;
use crate::peer::Peer;

/// A method's own error arrives as it was, whatever is in its text.
pub(crate) async fn code_and_message(peer: &Peer) {
    for (code, text) in (0..).zip(SPECIAL) {
        let complaint = Complaint {
            code,
            text: (*text).to_owned(),
        };
        let error = peer.client.complain(&complaint).await.unwrap_err();
        assert_eq!(error, CallError::Method(complaint));
        assert!(error.may_have_run());
    }
}

fn failure<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, CallError<E>>) -> CallFailure {
    match result {
        Err(CallError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn unimplemented_method(peer: &Peer) {
    let later = LaterClient::new(peer.channel.clone());
    let failure = failure(later.invented(1).owned().await);
    assert_eq!(failure.kind(), FailureKind::UnknownMethod);
    assert_eq!(failure.code(), Some(Code::UNKNOWN_METHOD));
    assert!(!failure.may_have_run());
    assert!(failure.to_string().contains("Interop.invented"), "{failure}");
    peer.client.empty().await.unwrap();
}

pub(crate) async fn changed_method(peer: &Peer) {
    let later = LaterClient::new(peer.channel.clone());
    let failure = failure(later.text("twice", 2).owned().await);
    assert_eq!(failure.kind(), FailureKind::SchemaMismatch);
    assert!(!failure.may_have_run());
    assert!(failure.to_string().contains("times"), "{failure}");
    peer.client.empty().await.unwrap();
}

pub(crate) async fn unimplemented_service(peer: &Peer) {
    let elsewhere = ElsewhereClient::new(peer.channel.clone());
    let failure = failure(elsewhere.empty().await);
    assert_eq!(failure.kind(), FailureKind::UnknownMethod);
    assert!(!failure.may_have_run());
    assert!(failure.to_string().contains("Elsewhere.empty"), "{failure}");
    peer.client.empty().await.unwrap();
}

/// Found by the side that knows first: the caller for its arguments, the server for its reply. The connection goes on.
pub(crate) async fn too_large(peer: &Peer) {
    let arguments = Bytes::from(vec![0; 5 << 20]);
    let local = failure(peer.client.large(&arguments, 0).owned().await);
    assert_eq!(local.kind(), FailureKind::LocalLimit);
    assert!(!local.may_have_run());
    let remote = failure(peer.client.large(&[], 5 << 20).owned().await);
    assert_eq!(remote.code(), Some(Code::REPLY_TOO_LARGE));
    assert!(remote.may_have_run());
    peer.client.empty().await.unwrap();
}

pub(crate) async fn panic(peer: &Peer) {
    let failure = failure(peer.client.metadata(&Ending::Panic).owned().await);
    assert_eq!(failure.kind(), FailureKind::ServerFailed);
    assert_eq!(
        (failure.code(), failure.text()),
        (Some(Code::INTERNAL), "handler panicked")
    );
    assert!(failure.may_have_run());
    peer.client.empty().await.unwrap();
}
