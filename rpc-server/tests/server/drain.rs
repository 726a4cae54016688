//! The end of a server that has streams, bodies in pieces, and peers that do not go along.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rpc_core::{CallError, CallFailure, FailureKind};

use crate::support::flow::{FlowClient, Flows};
use crate::support::lab::{Event, Lab};
use crate::support::raw::{
    CALL, CHUNK, PREFACE, REPLY, RawPeer, call, call_body, chunked, code, end, frame, item, method_id,
    number, pong, sending_call,
};
use crate::support::{builder, serve, socket_path, until, until_blocking, within};

/// L5: streams that were taken are finished, in both directions; nobody is left in doubt about the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_under_load_finishes_the_streams_that_were_taken() {
    let lab = Lab::default();
    let unix = format!("unix://{}", socket_path().display());
    let server = builder(&lab)
        .reactors(2)
        .listen("tcp://127.0.0.1:0")
        .listen(unix)
        .start()
        .unwrap();
    let done = Arc::new(AtomicU64::new(0));
    let mut callers = Vec::new();
    for caller in 0..12 {
        let address = server.addresses()[caller % 2].clone();
        let streams = FlowClient::new(within(rpc_client::Channel::connect(address)).await.unwrap());
        callers.push(tokio::spawn(stream_until_refused(
            streams,
            caller,
            Arc::clone(&done),
        )));
    }
    until("load", || done.load(Ordering::Relaxed) > 200).await;
    let drained = within(server.shutdown()).await;
    assert_eq!(drained.cut_off, 0);
    for caller in callers {
        within(caller).await.unwrap();
    }
    // Every handler that was started has come to its end, and its client got all of it.
    let started = lab.count(|event| matches!(event, Event::Started(_)));
    assert_eq!(lab.count(|event| matches!(event, Event::Finished(_))), started);
}

async fn stream_until_refused(streams: Flows, caller: usize, done: Arc<AtomicU64>) {
    loop {
        let result = match caller % 3 {
            0 => receive(&streams).await,
            1 => send(&streams, true).await,
            _ => send(&streams, false).await,
        };
        match result {
            Ok(()) => done.fetch_add(1, Ordering::Relaxed),
            Err(refused) => {
                assert!(!refused.may_have_run(), "{refused}");
                let kinds = [FailureKind::Refused, FailureKind::NotSent];
                assert!(kinds.contains(&refused.kind()), "{refused}");
                return;
            }
        };
    }
}

fn failed<E: std::fmt::Debug>(error: CallError<E>) -> CallFailure {
    match error {
        CallError::Failed(failure) => failure,
        other => panic!("{other:?}"),
    }
}

async fn receive(streams: &Flows) -> Result<(), CallFailure> {
    let (mut numbers, call) = streams.count(300).open().await.map_err(failed)?;
    let mut seen = 0;
    while let Ok(Some(_)) = numbers.recv().await {
        seen += 1;
    }
    let count = call.await.map_err(failed)?;
    assert_eq!(
        (seen, count.to_native()),
        (300, 300),
        "what was taken comes whole"
    );
    Ok(())
}

async fn send(streams: &Flows, at_work: bool) -> Result<(), CallFailure> {
    let opened = match at_work {
        true => streams.sum_at_work(1).open().await.map_err(failed)?,
        false => streams.sum(1).open().await.map_err(failed)?,
    };
    let (mut numbers, call) = opened;
    for number in 0..300 {
        if numbers.send(&number).await.is_err() {
            break;
        }
    }
    let _ = numbers.finish();
    let sum = call.await.map_err(failed)?;
    assert_eq!(*sum, 300 * 299 / 2, "what was taken has got everything");
    Ok(())
}

/// L5, P-51: a stream that runs when the drain is announced goes on to its end, past the goaway with the count.
#[test]
fn a_stream_goes_on_through_the_drain() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&[sending_call(0, "sum", &number(1)), item(0, 1)].concat());
    until_blocking("handler started", || lab.saw(Event::Started(1)));
    let shutdown = std::thread::spawn(|| server.shutdown_blocking());
    let ping = peer.expect_announcement();
    peer.send(&[item(0, 2), sending_call(1, "sum", &number(2)), pong(ping)].concat());
    peer.expect_taken(2);
    // A stream that comes too late is refused, and what follows of it is dropped.
    let late = [sending_call(2, "sum", &number(3)), item(2, 9), end(2)].concat();
    peer.send(&[late, item(0, 4), item(1, 8), end(1), end(0)].concat());
    assert_eq!(peer.failure().0, code::DRAINING);
    let mut sums = [peer.answer(), peer.answer()].map(|answer| (answer.call, answer.number()));
    sums.sort_unstable();
    assert_eq!(sums, [(0, 7), (1, 8)]);
    assert_eq!(peer.read_to_end(), []);
    drop(peer);
    assert_eq!(shutdown.join().unwrap().cut_off, 0);
    assert!(!lab.saw(Event::Started(3)));
}

/// L6: whatever peers do not do, the grace period is the end: not greeting, not reading, stopping in the middle of a body or of a channel.
#[test]
fn peers_that_stand_still_do_not_hold_up_the_end() {
    let lab = Lab::default();
    let grace = Duration::from_millis(800);
    let server = builder(&lab)
        .limits(crate::support::patient_limits())
        .grace(grace)
        .listen(format!("unix://{}", socket_path().display()))
        .start()
        .unwrap();
    let address = server.addresses()[0].clone();
    let silent = RawPeer::connect(&address);
    let mut half = RawPeer::connect(&address);
    half.send(&PREFACE[..9]);
    let mut mid_body = RawPeer::greeted(&address);
    let body = call_body(method_id("weigh"), 0, &vec![0; 100_000]);
    let whole = chunked(CALL, 0, 0, &body, 16_000);
    mid_body.send(&whole[..50_000]);
    let mut mid_chunk = RawPeer::greeted(&address);
    let first = chunked(CALL, 0, 0, &body, 16_000)[..16_016].to_vec();
    mid_chunk.send(
        &[
            first,
            frame(CHUNK, 0, 0, 0, 0, &body[16_000..17_000])[..500].to_vec(),
        ]
        .concat(),
    );
    let mut mid_channel = RawPeer::greeted(&address);
    mid_channel.send(&[sending_call(0, "sum", &number(1)), item(0, 1)].concat());
    let mut deaf = RawPeer::greeted(&address);
    deaf.send(&call(
        0,
        "blocks",
        &[&number(2)[..], &60_000_u32.to_le_bytes(), &[0; 4]].concat(),
    ));
    until_blocking("all are there", || {
        server.stats().connections == 6 && lab.saw(Event::Started(1)) && lab.saw(Event::Started(2))
    });
    let start = Instant::now();
    let drained = server.shutdown_blocking();
    let took = start.elapsed();
    assert!(took >= grace && took < grace + Duration::from_secs(3), "{took:?}");
    assert_eq!(drained.cut_off, 4, "those that were owed something");
    for key in [1, 2] {
        assert!(lab.saw(Event::Dropped(key)) || lab.saw(Event::Finished(key)));
    }
    assert!(lab.end(1).is_none_or(|end| end.starts_with("Err(")));
    drop((silent, half, mid_body, mid_chunk, mid_channel, deaf));
}

/// L7: what is accepted during a drain is told so, and a shutdown with nobody there is over at once.
#[test]
fn a_shutdown_without_connections_is_over_at_once() {
    let server = serve(&Lab::default());
    let address = server.addresses()[0].clone();
    {
        let mut peer = RawPeer::greeted(&address);
        peer.send(&call(0, "add", &number(1)));
        assert_eq!(peer.answer().kind, REPLY);
        peer.finish();
        peer.read_to_end();
    }
    until_blocking("it is gone", || server.stats().connections == 0);
    let start = Instant::now();
    assert_eq!(server.shutdown_blocking().cut_off, 0);
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}
