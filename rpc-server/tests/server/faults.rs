//! Resources that a peer uses up, and calls that it gives up: with streams and bodies in pieces, over real sockets.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rpc_core::Limits;

use crate::support::flow::FlowClient;
use crate::support::lab::{Event, ExperimentsClient, Lab};
use crate::support::raw::{
    CALL, FAILURE, ITEM, PREFACE, REPLY, RawPeer, call, call_body, cancel, code, end, frame, item, keep_call,
    method_id, number, sending_call,
};
use crate::support::{builder, client_at, patient_limits, serve, socket_path, until, until_blocking, within};

fn small_held() -> Limits {
    Limits {
        max_body: 1 << 20,
        max_held: 2 << 20,
        ..patient_limits()
    }
}

/// R8: large uploads in chunks. Beyond what a connection may hold, the server reads no further.
#[test]
fn uploads_beyond_what_may_be_held_are_not_read() {
    const LEN: u32 = 900_000;
    const CALLS: u32 = 20;
    let lab = Lab::default();
    let address = format!("unix://{}", socket_path().display());
    let server = builder(&lab)
        .limits(small_held())
        .listen(address)
        .start()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let probe = runtime.block_on(client_at(&server.addresses()[0]));
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    let mut unsent: Vec<u8> = (0..CALLS).flat_map(|id| keep_call(id, 1, LEN)).collect();
    let mut refusals = 0;
    while refusals < 30 {
        let sent = peer.send_some(&unsent);
        unsent.drain(..sent);
        if sent == 0 {
            refusals += 1;
            runtime.block_on(within(probe.echo("text"))).unwrap();
        }
    }
    // Two are within the limit, the third exceeds it.
    assert_eq!(lab.count(|event| *event == Event::Started(1)), 3);
    assert!(
        unsent.len() > 10 * LEN as usize,
        "{} bytes are left",
        unsent.len()
    );
    lab.release(1);
    peer.send(&unsent);
    let mut ended: Vec<_> = (0..CALLS)
        .map(|_| peer.answer())
        .map(|answer| (answer.number(), answer.call))
        .collect();
    ended.sort_unstable();
    assert!(ended.into_iter().eq((0..CALLS).map(|id| (LEN.into(), id))));
}

/// R8: while calls with channels are in flight, which may need what comes next, the server reads on and refuses.
#[test]
fn uploads_beyond_what_may_be_held_are_refused_beside_streams() {
    const LEN: u32 = 900_000;
    let lab = Lab::default();
    let server = builder(&lab)
        .limits(small_held())
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&sending_call(0, "sum", &number(7)));
    for id in 1..=5 {
        peer.send(&keep_call(id, 1, LEN));
    }
    // Two are taken, and the third because two are still below the limit; what comes behind is refused on its first frame.
    for id in 4..=5 {
        let refused = peer.answer();
        assert_eq!(
            (refused.kind, refused.call, refused.aux),
            (FAILURE, id, code::REFUSED)
        );
        assert!(
            refused.text().ends_with("more than 2097152 (max_held)"),
            "{}",
            refused.text()
        );
    }
    assert_eq!(lab.count(|event| *event == Event::Started(1)), 3);
    // The stream is not affected.
    peer.send(&[item(0, 5), end(0)].concat());
    assert_eq!(peer.answer().number(), 5);
    lab.release(1);
    for _ in 0..3 {
        assert_eq!(peer.answer().kind, REPLY);
    }
    peer.send(&keep_call(4, 1, LEN));
    assert_eq!(peer.answer().number(), u64::from(LEN));
}

/// R11: each channel that a client may send on reserves its credit; beyond what may be held, calls are refused, and in the end the connection is.
#[test]
fn credit_of_many_streams_is_bounded() {
    let lab = Lab::default();
    let server = builder(&lab)
        .limits(small_held())
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    // 32 windows of 64 KiB are 2 MiB; one byte short of the room for its body is none.
    for id in 0..60 {
        peer.send(&[sending_call(id, "sum", &number(id.into())), item(id, 1)].concat());
    }
    let refused: Vec<_> = (0..60 - 31)
        .map(|_| peer.answer())
        .map(|answer| (answer.kind, answer.aux))
        .collect();
    assert_eq!(refused, vec![(FAILURE, code::REFUSED); 29]);
    until_blocking("31 run", || {
        lab.count(|event| matches!(event, Event::Started(_))) == 31
    });
    peer.send(&(0..31).flat_map(end).collect::<Vec<_>>());
    for _ in 0..31 {
        assert_eq!(peer.answer().number(), 1);
    }
    // The slots of those that were refused are busy until their ends have come, which are all that is kept of them.
    peer.send(&(31..60).flat_map(end).collect::<Vec<_>>());
    for id in 0..60 {
        peer.send(&[sending_call(id, "sum", &number(100)), item(id, 2), end(id)].concat());
        assert_eq!(peer.answer().number(), 2);
    }
    // One that insists loses its connection: what is refused for want of room costs a point, as the client could not know.
    let mut flood: Vec<u8> = (0..31)
        .flat_map(|id| sending_call(id, "sum", &number(200)))
        .collect();
    for _ in 0..2_000 {
        flood.extend([sending_call(100, "sum", &number(200)), end(100)].concat());
    }
    let _ = peer.try_send(&flood);
    assert_eq!(peer.expect_goaway().aux, code::CALM);
}

/// R11: an item of one byte costs more than a byte of credit.
#[test]
fn tiny_items_use_up_credit_by_their_number() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    let held = &number(1);
    let mut body = call_body(method_id("first_bytes"), 0, held);
    body[12..14].copy_from_slice(&1_u16.to_be_bytes());
    // An empty block: 8 bytes, and 16 for itself.
    let blocks = frame(ITEM, 0, 0, 0, 0, &[0; 8]).repeat(65_536 / 24 + 1);
    peer.send(&[frame(CALL, 0, 0, 0, 0, &body), blocks].concat());
    peer.send(&call(1, "add", &number(1)));
    assert_eq!(peer.answer().number(), 1, "within the credit");
    peer.send(&frame(ITEM, 0, 0, 0, 0, &[0; 8]));
    let beyond = peer.answer();
    assert_eq!(
        (beyond.kind, beyond.call, beyond.aux),
        (FAILURE, 0, code::FLOW_CONTROL)
    );
    peer.send(&[cancel(0), call(1, "add", &number(1))].concat());
    assert_eq!(peer.answer().number(), 2);
}

/// R10: a peer that stops reading its socket altogether: what is held for it is bounded, others go on, and after the write stall it is left.
#[test]
fn a_peer_that_takes_nothing_of_its_stream_is_left() {
    const LEN: u64 = 10_000;
    let lab = Lab::default();
    let server = builder(&lab)
        .write_stall(Duration::from_millis(500))
        .listen(format!("unix://{}", socket_path().display()))
        .start()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let probe = runtime.block_on(client_at(&server.addresses()[0]));
    // Its credit is 64 MiB: what holds the producer back is the socket.
    let mut preface = PREFACE;
    preface[24..28].copy_from_slice(&(64_u32 << 20).to_be_bytes());
    let mut deaf = RawPeer::connect(&server.addresses()[0]);
    deaf.send(&preface);
    deaf.read_preface();
    deaf.send(&call(
        0,
        "blocks",
        &[&number(1)[..], &10_000_u32.to_le_bytes(), &[0; 4]].concat(),
    ));
    until_blocking("handler started", || lab.saw(Event::Started(1)));
    let start = Instant::now();
    while !lab.saw(Event::Dropped(1)) {
        assert!(start.elapsed() < Duration::from_secs(15));
        runtime.block_on(within(probe.echo("text"))).unwrap();
    }
    assert!(
        start.elapsed() >= Duration::from_millis(450),
        "{:?}",
        start.elapsed()
    );
    let sent = lab.sent(1).load(Ordering::SeqCst) * LEN;
    assert!(sent < 2 << 20, "{sent} bytes for a peer that reads nothing");
    until_blocking("connection is forgotten", || server.stats().connections == 1);
}

/// R12: streams at full speed on one connection leave room for another one on the same reactor.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_stream_does_not_starve_another_connection() {
    let lab = Lab::default();
    let server = serve(&lab);
    let channel = within(rpc_client::Channel::connect(server.addresses()[0].clone()))
        .await
        .unwrap();
    let streams = FlowClient::new(channel);
    let mut busy = tokio::task::JoinSet::new();
    for key in 0..4 {
        let streams = streams.clone();
        busy.spawn(async move {
            let (mut blocks, _call) = streams.blocks(key, 1_000).open().await.unwrap();
            while blocks.recv().await.unwrap().is_some() {}
        });
    }
    until("all are busy", || {
        (0..4).all(|key| lab.sent(key).load(Ordering::SeqCst) > 1_000)
    })
    .await;
    let probe: ExperimentsClient<_> = client_at(&server.addresses()[0]).await;
    let before = lab.sent(0).load(Ordering::SeqCst);
    for number in 0..300 {
        let answered = tokio::time::timeout(Duration::from_secs(5), probe.add(number)).await;
        answered.expect("it is starved").unwrap();
    }
    assert!(lab.sent(0).load(Ordering::SeqCst) > before, "nor is the stream");
    busy.abort_all();
}

/// R12 with real clients: nobody of many gets nothing.
#[tokio::test]
async fn many_connections_with_streams_are_all_served() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut all = tokio::task::JoinSet::new();
    for key in 0..50 {
        let address = server.addresses()[0].clone();
        all.spawn(async move {
            let streams = FlowClient::new(rpc_client::Channel::connect(address).await.unwrap());
            let (mut numbers, call) = streams.count(1_000).open().await.unwrap();
            while numbers.recv().await.unwrap().is_some() {}
            assert_eq!(*call.await.unwrap(), 1_000, "{key}");
        });
    }
    within(all.join_all()).await;
    until("all are gone", || server.stats().connections == 0).await;
}
