//! Calls with channels.

use interop::contract::Ask;
use interop::pattern::{body, is_body};
use rpc_core::{Archive, Code, SendError, StreamError};

use crate::peer::Peer;

/// Lengths of requests and answers, after the sizes that other frameworks test with.
pub(crate) const SIZES: [(u32, usize); 4] = [(31_415, 27_182), (9, 8), (2_653, 1_828), (58_979, 45_904)];

pub(crate) fn ask((answer_len, len): (u32, usize)) -> Ask {
    Ask {
        answer_len,
        body: body(len),
    }
}

pub(crate) async fn client_stream(peer: &Peer) {
    let (mut items, call) = peer.client.total().open().await.unwrap();
    for (_, len) in SIZES {
        items.send(&body(len)).await.unwrap();
    }
    items.finish().unwrap();
    assert_eq!(call.owned_value().await, 74_922);
}

pub(crate) async fn server_stream(peer: &Peer) {
    let lengths = SIZES.map(|(len, _)| len);
    let (mut items, call) = peer.client.items(&lengths).open().await.unwrap();
    for len in lengths {
        let item = items.recv().await.unwrap().unwrap();
        assert!(item.len() == len as usize && is_body(&item));
    }
    assert!(items.recv().await.unwrap().is_none());
    assert!(items.recv().await.unwrap().is_none(), "the end stays the end");
    assert_eq!(call.owned_value().await, 4);
}

pub(crate) async fn ping_pong(peer: &Peer) {
    let (mut asks, mut answers, call) = peer.client.ping_pong().open().await.unwrap();
    for size in SIZES {
        asks.send(&ask(size)).await.unwrap();
        let answer = answers.recv().await.unwrap().unwrap();
        assert!(answer.len() == size.0 as usize && is_body(&answer));
    }
    asks.finish().unwrap();
    assert!(answers.recv().await.unwrap().is_none());
    assert_eq!(call.owned_value().await, 4);
}

pub(crate) async fn ping_pong_on_worker(peer: &Peer) {
    let (mut asks, mut answers, call) = peer.client.ping_pong_on_worker().open().await.unwrap();
    for size in SIZES {
        asks.send(&ask(size)).await.unwrap();
        let answer = answers.recv().await.unwrap().unwrap();
        assert!(answer.len() == size.0 as usize && is_body(&answer));
    }
    asks.finish().unwrap();
    assert_eq!(call.owned_value().await, 4);
}

/// No item in either direction; and streams of items without a body.
pub(crate) async fn empty_stream(peer: &Peer) {
    let (asks, mut answers, call) = peer.client.ping_pong().open().await.unwrap();
    asks.finish().unwrap();
    assert!(answers.recv().await.unwrap().is_none());
    assert_eq!(call.owned_value().await, 0);

    let (items, call) = peer.client.total().open().await.unwrap();
    items.finish().unwrap();
    assert_eq!(call.owned_value().await, 0);

    let (mut items, call) = peer.client.items(&[]).open().await.unwrap();
    assert!(items.recv().await.unwrap().is_none());
    assert_eq!(call.owned_value().await, 0);

    let (mut items, call) = peer.client.items(&[0; 1_000]).open().await.unwrap();
    for _ in 0..1_000 {
        assert_eq!(items.recv().await.unwrap().unwrap().len(), 0);
    }
    assert_eq!(call.owned_value().await, 1_000);
}

/// The client has said all before the server says anything.
pub(crate) async fn half_close(peer: &Peer) {
    let (mut asks, mut answers, call) = peer.client.half_close().open().await.unwrap();
    for size in SIZES {
        asks.send(&ask(size)).await.unwrap();
    }
    asks.finish().unwrap();
    for (len, _) in SIZES {
        let answer = answers.recv().await.unwrap().unwrap();
        assert!(answer.len() == len as usize && is_body(&answer));
    }
    assert!(answers.recv().await.unwrap().is_none());
    assert_eq!(call.owned_value().await, 4);
}

/// Items that are longer than a frame, than the credit of a channel, and nearly as long as a body may be.
pub(crate) async fn large_items(peer: &Peer) {
    let lengths = [70_000, 300_000, (4 << 20) - 100, 1];
    let (mut items, call) = peer.client.items(&lengths).open().await.unwrap();
    for len in lengths {
        let item = items.recv().await.unwrap().unwrap();
        assert!(item.len() == len as usize && is_body(&item));
    }
    assert_eq!(call.owned_value().await, 4);

    let (mut items, call) = peer.client.total().open().await.unwrap();
    for len in lengths {
        items.send(&body(len as usize)).await.unwrap();
    }
    items.finish().unwrap();
    assert_eq!(
        call.owned_value().await,
        lengths.map(u64::from).iter().sum::<u64>()
    );
}

/// All open at once on one connection, each with its own answers.
pub(crate) async fn many_streams(peer: &Peer) {
    const STREAMS: u32 = 200;
    let mut open = Vec::new();
    for number in 0..STREAMS {
        let (mut asks, mut answers, call) = peer.client.ping_pong().open().await.unwrap();
        asks.send(&ask((number, 10))).await.unwrap();
        assert_eq!(answers.recv().await.unwrap().unwrap().len(), number as usize);
        open.push((number, asks, answers, call));
    }
    assert_eq!(
        peer.client.running().await.unwrap().to_native(),
        u64::from(STREAMS)
    );
    let streams = open.into_iter().map(|(number, mut asks, mut answers, call)| {
        tokio::spawn(async move {
            for round in 0..50 {
                let len = number * 50 + round;
                asks.send(&ask((len, 10))).await.unwrap();
                let answer = answers.recv().await.unwrap().unwrap();
                assert!(answer.len() == len as usize && is_body(&answer));
            }
            asks.finish().unwrap();
            assert!(answers.recv().await.unwrap().is_none());
            assert_eq!(call.owned_value().await, 51);
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        stream.await.unwrap();
    }
    assert_eq!(peer.client.running().await.unwrap().to_native(), 0);
}

/// A client that wants no more of a stream still gets what the method returns.
pub(crate) async fn receiver_stops(peer: &Peer) {
    let lengths = vec![10_000; 1_000];
    let (mut items, call) = peer.client.items(&lengths).open().await.unwrap();
    assert_eq!(items.recv().await.unwrap().unwrap().len(), 10_000);
    drop(items);
    let sent = call.owned_value().await;
    assert!(sent < 1_000, "the handler was told to stop, and sent all {sent}");

    // The other way: a method that has returned ends what its caller still sends.
    let (mut items, call) = peer.client.total().open().await.unwrap();
    items
        .send(&bytes::Bytes::from_static(b"not the pattern"))
        .await
        .unwrap();
    let error = call.await.unwrap_err();
    assert_eq!(error.to_string(), "complaint 400: item is not what was sent");
    let error = loop {
        match items.send(&body(1)).await {
            Ok(()) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error, SendError::Ended(None));
}

/// A handler that gives up its stream and returns all the same: the value arrives, and the stream has no clean end.
pub(crate) async fn handler_breaks_off(peer: &Peer) {
    let (mut items, call) = peer.client.broken_off().open().await.unwrap();
    assert_eq!(items.recv().await.unwrap().unwrap().to_native(), 1);
    let error = items.recv().await.unwrap_err();
    assert_eq!(error, StreamError::Aborted { code: Code::INTERNAL });
    call.await.unwrap();
}

/// What a call returns, if it is a number.
pub(crate) trait OwnedValue<T> {
    async fn owned_value(self) -> T;
}

impl<F, T, E> OwnedValue<T> for F
where
    F: Future<Output = Result<rpc_core::Reply<T>, E>>,
    T: rpc_core::Wire,
    E: std::fmt::Debug,
{
    async fn owned_value(self) -> T {
        let archive: Archive<T> = self.await.unwrap().into_archive();
        archive.deserialize().unwrap()
    }
}
