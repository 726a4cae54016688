//! Metadata there, and back with every way in which a call can end.

use interop::contract::Ending;
use interop::service::ECHO;
use rpc_core::{CallError, Code, Metadata};

use crate::peer::Peer;

/// The same key twice, texts and bytes that are none, and an entry that is not to come back.
fn sent() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert(ECHO, "grüße\r\n\t\0☺").unwrap();
    metadata.insert("other", "stays").unwrap();
    metadata.insert(ECHO, [0xab, 0xab, 0xab, 0x00, 0xff]).unwrap();
    metadata.insert(ECHO, vec![7; 4_000]).unwrap();
    metadata
}

fn assert_echoed(received: &Metadata) {
    let sent = sent();
    let sent: Vec<_> = sent.get_all(ECHO).collect();
    assert_eq!(received.get_all(ECHO).collect::<Vec<_>>(), sent);
    assert_eq!(received.len(), sent.len());
}

pub(crate) async fn with_reply(peer: &Peer) {
    let reply = peer
        .client
        .metadata(&Ending::Value)
        .metadata(sent())
        .await
        .unwrap();
    assert_eq!(reply.to_native(), 3);
    assert_echoed(reply.metadata());
}

pub(crate) async fn with_error(peer: &Peer) {
    let call = peer
        .client
        .metadata(&Ending::Complaint)
        .metadata(sent())
        .detailed();
    let (result, metadata) = call.await;
    assert!(matches!(result, Err(CallError::Method(_))), "{result:?}");
    assert_echoed(&metadata);
}

pub(crate) async fn with_failure(peer: &Peer) {
    let call = peer.client.metadata(&Ending::Panic).metadata(sent());
    let CallError::Failed(failure) = call.await.unwrap_err() else {
        panic!("the handler panics");
    };
    assert_eq!(failure.code(), Some(Code::INTERNAL));
    assert_echoed(failure.metadata());
}

pub(crate) async fn with_end(peer: &Peer) {
    let (mut items, mut back, call) = peer.client.end_metadata().open().await.unwrap();
    for number in 0..3 {
        items.send(&number).await.unwrap();
    }
    items.finish_with(sent()).unwrap();
    for number in 0..3_u32 {
        assert_eq!(back.recv().await.unwrap().unwrap().to_native(), number);
        assert!(back.end_metadata().is_empty());
    }
    assert!(back.recv().await.unwrap().is_none());
    assert_eq!(back.end_metadata(), &sent());
    call.await.unwrap();
}

/// An end without items may be the first thing of a channel.
pub(crate) async fn with_call_that_has_channels(peer: &Peer) {
    let open = peer.client.end_metadata().metadata(sent()).open();
    let (items, mut back, call) = open.await.unwrap();
    items.finish_with(sent()).unwrap();
    assert!(back.recv().await.unwrap().is_none());
    assert_eq!(back.end_metadata(), &sent());
    assert!(call.await.unwrap().metadata().is_empty());
}
