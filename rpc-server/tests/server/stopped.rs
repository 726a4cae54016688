//! Calls that are stopped at every point: cancelled by their client, or too late.

use std::time::{Duration, Instant};

use rpc_server::{Address, Server};

use crate::support::lab::{Event, Lab};
use crate::support::raw::{
    CALL, FAILURE, GOAWAY, ITEM, PREFACE, REPLY, RawPeer, STOP, call, call_body, cancel, chunked, code, end,
    frame, item, method_id, number, sending_call,
};
use crate::support::{builder, patient_limits, socket_path, until_blocking};

/// Opens calls and cancels them at once until the server has had enough. How many pairs the server can have seen at most, by its budget.
fn open_and_cancel(address: &Address, connections: usize) -> u64 {
    let start = Instant::now();
    let key = number(3);
    let flood: Vec<u8> = (0..1_500_u32)
        .flat_map(|number| [call(number % 1_000, "hold", &key), cancel(number % 1_000)].concat())
        .collect();
    let mut peers: Vec<_> = (0..connections).map(|_| RawPeer::greeted(address)).collect();
    for peer in &mut peers {
        let _ = peer.try_send(&flood);
    }
    for peer in &mut peers {
        let mut flood = flood.clone();
        // On a slow machine the budget grows meanwhile.
        while peer.try_send(&flood).is_ok() && start.elapsed() < Duration::from_secs(15) {
            flood.truncate(48 * 500);
        }
        let frames = std::iter::from_fn(|| peer.try_frame()).last();
        assert!(frames.is_none_or(|last| (last.kind, last.aux) == (GOAWAY, code::CALM)));
    }
    connections as u64 * (1_001 + 200 * (start.elapsed().as_secs() + 1))
}

/// P14: rapid reset. Each connection has about a thousand calls to give up, and 200 more per second.
#[test]
fn a_flood_of_calls_that_are_given_up_ends_the_connection() {
    for connections in [1, 64] {
        let lab = Lab::default();
        let server = builder(&lab)
            .limits(patient_limits())
            .listen(format!("unix://{}", socket_path().display()))
            .start()
            .unwrap();
        let most = open_and_cancel(&server.addresses()[0], connections);
        until_blocking("all are gone", || server.stats().connections == 0);
        assert!(
            server.stats().calls <= most,
            "{} calls of at most {most}",
            server.stats().calls
        );
        assert!(server.stats().calls >= 1_000 * connections as u64);
        assert_eq!(server.stats().connections_failed, connections as u64);
        let started = lab.count(|event| *event == Event::Started(3));
        assert_eq!(
            lab.count(|event| *event == Event::Dropped(3)),
            started,
            "none is left behind"
        );
        let mut peer = RawPeer::greeted(&server.addresses()[0]);
        peer.send(&call(0, "add", &number(1)));
        assert_eq!(peer.answer().number(), 1);
    }
}

/// P14: jobs that were told to stop and have not stopped keep their slots, so that what a client has running is bounded by its slots.
#[test]
fn a_slot_is_held_until_its_job_has_stopped() {
    let lab = Lab::default();
    let server = builder(&lab)
        .workers(1)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    // It is in its loop until it is let go, as a job that never looks whether it is cancelled.
    peer.send(&call(0, "stall", &number(1)));
    until_blocking("handler stalls", || lab.saw(Event::Started(1)));
    peer.send(&[cancel(0), call(0, "add", &number(1))].concat());
    lab.release(1);
    // The reactor reads both when the handler has returned: it was answered before the cancel was seen.
    assert_eq!(peer.answer().number(), 1);
    assert_eq!(peer.answer().number(), 1);
    peer.send(&call(1, "block", &number(2)));
    until_blocking("job runs", || lab.saw(Event::Started(2)));
    // Queued behind it: cancelled, not run, and still in its slot.
    peer.send(
        &[
            call(2, "add_at_work", &number(100)),
            cancel(2),
            call(2, "add", &number(1)),
        ]
        .concat(),
    );
    let goaway = peer.expect_goaway();
    assert_eq!(
        (goaway.aux, goaway.text().as_str()),
        (code::PROTOCOL, "call id 2 is busy")
    );
    until_blocking("job was told", || lab.saw(Event::Cancelled(2)));
    until_blocking("the queue is empty", || server.stats().connections == 0);
    assert_eq!(lab.sum(), 1, "what was cancelled in the queue has not run");
}

/// What a call with a stream is like when it is cancelled.
fn cancelled_at(point: &str, server: &Server, lab: &Lab, key: u64) {
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    let start = sending_call(0, "sum", &number(key));
    let cancelled = |peer: &mut RawPeer| {
        let answer = peer.answer();
        assert_eq!(
            (answer.kind, answer.call, answer.aux),
            (FAILURE, 0, code::CANCELLED),
            "{point}"
        );
    };
    match point {
        // Its frame has not been looked at when the cancel arrives.
        "before it is dispatched" => {
            peer.send(&[start, cancel(0)].concat());
            cancelled(&mut peer);
        }
        "while its body arrives" => {
            let body = call_body(method_id("weigh"), 0, &[0; 40_000]);
            let begun = chunked(CALL, 0, 0, &body, 16_000)[..32_032].to_vec();
            peer.send(&[begun, cancel(0)].concat());
            cancelled(&mut peer);
            assert!(!lab.saw(Event::Started(key)));
        }
        "while it runs" => {
            peer.send(&start);
            until_blocking(point, || lab.saw(Event::Started(key)));
            peer.send(&cancel(0));
            cancelled(&mut peer);
        }
        "in the middle of its stream" => {
            peer.send(&[start, item(0, 1), item(0, 2)].concat());
            until_blocking(point, || lab.saw(Event::Started(key)));
            peer.send(&[item(0, 3), cancel(0)].concat());
            cancelled(&mut peer);
        }
        "in the middle of an item" => {
            let begun = chunked(ITEM, 0, 0, &[0; 40_000], 16_000)[..32_032].to_vec();
            peer.send(&[start, item(0, 1), begun, cancel(0)].concat());
            cancelled(&mut peer);
        }
        "behind the end" => {
            peer.send(&[start, item(0, 1), end(0), cancel(0)].concat());
            let answer = peer.answer();
            assert_eq!(answer.call, 0);
            match answer.kind {
                REPLY => assert_eq!(answer.number(), 1),
                _ => assert_eq!((answer.kind, answer.aux), (FAILURE, code::CANCELLED)),
            }
        }
        _ => panic!("{point}"),
    }
    // The slot is free, and the connection in step.
    peer.send(&[cancel(0), call(0, "add", &number(0))].concat());
    let probe = peer.answer();
    assert_eq!((probe.kind, probe.call), (REPLY, 0), "{point}");
    let runs = |event: fn(u64) -> Event| lab.count(|seen| *seen == event(key));
    assert!(runs(Event::Started) <= 1, "{point}");
    assert_eq!(
        runs(Event::Started),
        runs(Event::Dropped) + runs(Event::Finished),
        "{point}"
    );
    if runs(Event::Finished) > 0 {
        assert_eq!(point, "behind the end");
    }
}

/// P17: cancelled at every point: the handler has run once or not at all, its future is gone when the failure is there, and the failure is the only answer.
#[test]
fn a_call_with_a_stream_is_cancelled_at_every_point() {
    let lab = Lab::default();
    for address in [
        "tcp://127.0.0.1:0".to_owned(),
        format!("unix://{}", socket_path().display()),
    ] {
        let lab = Lab::default();
        let server = builder(&lab).listen(address).start().unwrap();
        let points = [
            "before it is dispatched",
            "while its body arrives",
            "while it runs",
            "in the middle of its stream",
            "in the middle of an item",
            "behind the end",
        ];
        for round in 0..10 {
            for (point, number) in points.iter().zip(0..) {
                cancelled_at(point, &server, &lab, round * 10 + number);
            }
        }
        assert_eq!(server.stats().connections_failed, 0);
    }
    drop(lab);
}

/// P17, T8: jobs with streams that were cancelled, or whose time was up, in the queue of the workers are never run.
#[test]
fn jobs_with_streams_that_end_in_the_queue_are_never_run() {
    let lab = Lab::default();
    let server = builder(&lab)
        .workers(1)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&call(0, "block", &number(1)));
    until_blocking("job runs", || lab.saw(Event::Started(1)));
    peer.send(&[sending_call(1, "sum_at_work", &number(2)), item(1, 1), cancel(1)].concat());
    let mut timed = sending_call(2, "sum_at_work", &number(3));
    timed[24..28].copy_from_slice(&10_000_u32.to_be_bytes());
    peer.send(&[timed, item(2, 1), end(2)].concat());
    until_blocking("all are queued", || server.stats().calls == 3);
    let start = Instant::now();
    until_blocking("its time is up", || start.elapsed() > Duration::from_millis(50));
    lab.release(1);
    let mut answers =
        [peer.answer(), peer.answer(), peer.answer()].map(|answer| (answer.call, answer.kind, answer.aux));
    answers.sort_unstable();
    assert_eq!(
        answers,
        [
            (0, REPLY, 0),
            (1, FAILURE, code::CANCELLED),
            (2, FAILURE, code::EXPIRED)
        ]
    );
    assert!(!lab.saw(Event::Started(2)) && !lab.saw(Event::Started(3)));
}

/// P17: the answer is under way in pieces when the cancel comes: it is answered once, by the reply or the failure, and the connection is in step.
#[test]
fn a_reply_in_pieces_is_cancelled() {
    let lab = Lab::default();
    let server = builder(&lab)
        .listen(format!("unix://{}", socket_path().display()))
        .start()
        .unwrap();
    let mut peer = RawPeer::connect(&server.addresses()[0]);
    let mut preface = PREFACE;
    preface[16..20].copy_from_slice(&65_536_u32.to_be_bytes());
    peer.send(&preface);
    peer.read_preface();
    peer.send(&call(0, "fill", &3_000_000_u32.to_le_bytes()));
    until_blocking("the call was taken", || server.stats().calls == 1);
    peer.send(&[cancel(0), call(1, "add", &number(1))].concat());
    let mut pieces = 0;
    let mut finals = 0;
    loop {
        let answer = peer.answer();
        eprintln!(
            "{} {} {} {}",
            answer.call,
            answer.kind,
            answer.aux,
            answer.body.len()
        );
        match (answer.call, answer.kind) {
            (1, REPLY) => break,
            (0, FAILURE) => {
                assert_eq!(answer.aux, code::CANCELLED);
                finals += 1;
            }
            (0, _) => {
                assert_eq!(finals, 0, "nothing follows the failure");
                pieces += 1;
            }
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(finals, 1, "{pieces} pieces");
    assert!(pieces < 46, "{pieces} pieces of a reply that nobody wants");
    peer.send(&call(0, "add", &number(1)));
    assert_eq!(peer.answer().number(), 2);
    // Of a call that is over it crossed the answer; of one that never was it is a mistake.
    peer.send(&[frame(STOP, 0, 0, 0, 0, &[]), call(0, "add", &number(1))].concat());
    assert_eq!(peer.answer().number(), 3);
    peer.send(&frame(STOP, 0, 0, 900, 0, &[]));
    assert_eq!(peer.expect_goaway().aux, code::PROTOCOL);
}
