//! Exhaustive in a small scope: however the frames of a few calls are interleaved, each call has the same results.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests"
)]

mod support;

use std::collections::BTreeMap;

use rpc_core::connection::{
    ChannelEvent, ChannelSignal, ClientConnection, ClientEvent, NewCall, ServerConnection, ServerEvent,
};
use rpc_core::header::{FrameHeader, Kind};
use rpc_core::preface::Side;
use rpc_core::{CallId, Code, Limits, Metadata};
use support::pair::METHOD;
use support::script::{call_body, chunk, chunked, on_channel, plain, preface, raw, read_frames, streaming};
use support::{Endpoint, call_frame, frame, start};

/// All orders of the frames of some calls that keep each call's own.
fn orders(calls: &[Vec<Vec<u8>>]) -> Vec<Vec<Vec<u8>>> {
    if calls.iter().all(Vec::is_empty) {
        return vec![Vec::new()];
    }
    let mut all = Vec::new();
    for (index, frames) in calls.iter().enumerate().filter(|(_, frames)| !frames.is_empty()) {
        let mut rest = calls.to_vec();
        rest[index].remove(0);
        for mut order in orders(&rest) {
            order.insert(0, frames[0].clone());
            all.push(order);
        }
    }
    all
}

type Results = BTreeMap<u32, Vec<String>>;

fn note(results: &mut Results, call: CallId, what: String) {
    results.entry(call.0).or_default().push(what);
}

/// What a server that echoes items and answers at the end makes of that, per call: events, and frames that it sends.
fn at_the_server(order: &[Vec<u8>]) -> Results {
    let now = start();
    let mut server = ServerConnection::new(Limits::default(), now);
    let mut results = Results::new();
    server.receive(&preface(Side::Client));
    for frame in order {
        server.receive(frame);
        while let Some(event) = server.poll_event(now).unwrap() {
            answer(&mut server, &mut results, &event);
        }
    }
    let sent = server.transmit(usize::MAX);
    for (header, body) in read_frames(&sent[32..]) {
        note(
            &mut results,
            header.call,
            format!("{:?} {} {body:?}", header.kind, header.aux),
        );
    }
    assert_eq!((server.in_flight(), server.held()), (0, 0));
    results
}

fn answer(server: &mut ServerConnection, results: &mut Results, event: &ServerEvent) {
    let text = format!("{event:?}");
    match event {
        ServerEvent::Call { call, channels, .. } => {
            note(results, *call, text);
            server.open(*call, *channels);
            if *channels == 0 && call.0 != 2 {
                server.reply(*call, &mut frame(b"value"), rpc_core::header::Flags::NONE);
            }
        }
        ServerEvent::Cancel(call) => {
            note(results, *call, text);
            server.fail(*call, Code::CANCELLED, "", &Metadata::new());
        }
        ServerEvent::Channel(ChannelEvent { call, channel, what }) => {
            note(results, *call, text);
            match what {
                ChannelSignal::Item { body, .. } => {
                    server.send_item(*call, *channel, &mut frame(body), false);
                }
                ChannelSignal::End { .. } => {
                    server.reply(*call, &mut frame(b"all"), rpc_core::header::Flags::NONE);
                }
                _ => {}
            }
        }
        _ => {}
    }
}

/// P-18, P-20, P-30, P32: a chunked call, a call with items of which one is chunked, and one that is cancelled.
#[test]
fn calls_at_a_server_have_the_same_results_in_every_order() {
    let item = |body: &[u8]| on_channel(Kind::Item, 1, 0, 0, body);
    let calls = [
        vec![
            chunked(Kind::Call, 0, 30, &call_body(0, 0, b"")),
            chunk(0, b"12345678"),
            chunk(0, b"901234"),
        ],
        vec![
            streaming(1, 1),
            item(b"small"),
            chunked(Kind::Item, 1, 8, b"first"),
            chunk(1, b"end"),
            on_channel(Kind::End, 1, 0, 0, b""),
        ],
        vec![plain(Kind::Call, 2), plain(Kind::Cancel, 2)],
    ];
    let orders = orders(&calls);
    assert_eq!(orders.len(), 2_520);
    let expected = at_the_server(&calls.concat());
    assert_eq!(expected[&0].len(), 2);
    assert_eq!(expected[&1].len(), 7, "{:?}", expected[&1]);
    assert_eq!(expected[&2].len(), 3);
    for order in orders {
        assert_eq!(at_the_server(&order), expected);
    }
}

fn at_the_client(order: &[Vec<u8>]) -> Results {
    let now = start();
    let mut client = ClientConnection::new(Limits::default(), now);
    client.receive(&preface(Side::Server));
    client.poll_event(now).unwrap();
    for receives in [0, 1, 0] {
        let new = NewCall {
            receives,
            ..NewCall::of(METHOD)
        };
        client.start_call(&new, &mut call_frame(b""), now).unwrap();
    }
    let mut results = Results::new();
    for frame in order {
        client.receive(frame);
        while let Some(event) = client.poll_event(now).unwrap() {
            let call = match &event {
                ClientEvent::Reply { call, .. } | ClientEvent::Failure { call, .. } => *call,
                ClientEvent::Channel(ChannelEvent { call, .. }) => *call,
                _ => panic!("{event:?}"),
            };
            note(&mut results, call, format!("{event:?}"));
        }
    }
    assert_eq!((client.waiting(), client.busy()), (0, 0));
    results
}

/// P-18, P-20, P-34, P32: a chunked reply, items of which one is chunked and then a reply, and a failure in the middle of a reply.
#[test]
fn calls_at_a_client_have_the_same_results_in_every_order() {
    let failure = FrameHeader {
        aux: 48,
        ..FrameHeader::new(Kind::Failure, CallId(2))
    };
    let calls = [
        vec![chunked(Kind::Reply, 0, 9, b"chunked"), chunk(0, b"re")],
        vec![
            on_channel(Kind::Item, 1, 0, 0, b"small"),
            chunked(Kind::Item, 1, 8, b"first"),
            chunk(1, b"end"),
            on_channel(Kind::End, 1, 0, 0, b""),
            plain(Kind::Reply, 1),
        ],
        vec![chunked(Kind::Reply, 2, 9, b"broken"), raw(failure, b"off")],
    ];
    let expected = at_the_client(&calls.concat());
    assert_eq!([0, 1, 2].map(|call| expected[&call].len()), [1, 4, 1]);
    let orders = orders(&calls);
    assert_eq!(orders.len(), 756);
    for order in orders {
        assert_eq!(at_the_client(&order), expected);
    }
}
