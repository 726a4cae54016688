//! Hostile peers: what is no preface, no frame, no archive, or not allowed, and peers that cost more than they should.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rpc_core::{Archived, Limits, message, service};
use rpc_server::{Address, Server};

use crate::support::lab::{Event, Lab, pattern};
use crate::support::raw::{
    CALL, CANCEL, CHUNK, CREDIT, END, FAILURE, Frame, GOAWAY, ITEM, PING, PONG, PREFACE, REPLY, RawPeer,
    STOP, call, call_body, cancel, chunked, code, frame, method_id, number, short_text, timed_call,
};
use crate::support::{
    Client, builder, client, patient_limits, serve, socket_path, until, until_blocking, within,
};

/// A server on a Unix socket.
fn serve_unix(lab: &Lab, limits: Limits) -> Server {
    let address = format!("unix://{}", socket_path().display());
    builder(lab).limits(limits).listen(address).start().unwrap()
}

/// A well-behaved client, on a runtime of its own because the hostile peer blocks.
struct Probe {
    runtime: tokio::runtime::Runtime,
    client: Client,
    calls: u64,
}

impl Probe {
    fn new(server: &Server) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let client = runtime.block_on(client(server));
        Self {
            runtime,
            client,
            calls: 0,
        }
    }

    /// Its connection works, and is still the first one.
    fn assert_works(&mut self) {
        self.calls += 1;
        let text = format!("call {}", self.calls);
        let answer = self.runtime.block_on(within(self.client.echo(&text).owned()));
        assert_eq!(answer.unwrap(), text);
    }
}

/// F1, P-02: whatever speaks another protocol is told nothing.
#[test]
fn strangers_are_closed_without_a_byte() {
    let lab = Lab::default();
    let server = builder(&lab)
        .limits(patient_limits())
        .listen("tcp://127.0.0.1:0")
        .listen(format!("unix://{}", socket_path().display()))
        .start()
        .unwrap();
    let mut probe = Probe::new(&server);
    let mut strangers = vec![
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        b"\xf5RPD".to_vec(),
        b"\xf5\xf5".to_vec(),
        vec![0],
        vec![0xff; 100_000],
    ];
    // Every first byte but the right one, with some noise behind it.
    strangers.extend((0..=255).filter(|byte| *byte != 0xf5).map(|byte| {
        let noise = (0..31_u8).map(|at| at.wrapping_mul(byte) ^ byte);
        std::iter::once(byte).chain(noise).collect()
    }));
    let count = strangers.len() * server.addresses().len();
    for bytes in strangers {
        for address in server.addresses() {
            let mut stranger = RawPeer::connect(address);
            let _ = stranger.try_send(&bytes);
            assert_eq!(stranger.read_to_end(), [], "{bytes:?}");
        }
    }
    probe.assert_works();
    until_blocking("strangers are counted", || {
        server.stats().connections_failed == count as u64 && server.stats().connections == 1
    });
}

/// A preface with some bytes changed, and what the server answers: its own preface and a goaway.
fn assert_refused(at: usize, bytes: &[u8], code: u32, text: &str) {
    let server = serve(&Lab::default());
    let mut peer = RawPeer::connect(&server.addresses()[0]);
    let mut preface = PREFACE;
    preface[at..at + bytes.len()].copy_from_slice(bytes);
    // A call behind it is not looked at.
    peer.send(&[&preface[..], &call(0, "add", &number(1))].concat());
    peer.read_preface();
    let goaway = peer.frame();
    assert_eq!((goaway.kind, goaway.aux), (GOAWAY, code));
    assert_eq!(goaway.body[..8], [0; 8], "no call was taken");
    assert_eq!(goaway.text(), text);
    assert_eq!(peer.read_to_end(), []);
    assert_eq!((server.stats().calls, server.stats().connections_failed), (0, 1));
}

/// F2, P-03
#[test]
fn another_version_is_told_which_ones_there_are() {
    assert_refused(
        4,
        &[9, 9],
        code::VERSION,
        "peer speaks versions 9 to 9, this side 1 to 1",
    );
    assert_refused(
        4,
        &[0, 0],
        code::VERSION,
        "peer speaks versions 0 to 0, this side 1 to 1",
    );
}

/// A16, P-04
#[test]
fn another_archive_format_or_a_required_feature_is_refused() {
    assert_refused(
        6,
        &[8, 5],
        code::FORMAT,
        "peer archives as rkyv 0.8, 32-bit pointers, aligned, big-endian, this side as rkyv 0.8, 32-bit pointers, aligned, little-endian",
    );
    assert_refused(
        8,
        &[0x80, 0, 0, 0],
        code::FEATURE,
        "peer requires unknown features 80000000",
    );
}

/// P-05
#[test]
fn a_preface_that_contradicts_itself_is_refused() {
    assert_refused(
        28,
        &[0, 0, 0, 1],
        code::PROTOCOL,
        "reserved bytes of the preface are 00000001, not zero",
    );
    assert_refused(
        12,
        &[0, 0, 0x3f, 0xff],
        code::PROTOCOL,
        "max body in the preface is 16383, outside of 16384 to 4294967295",
    );
}

/// Sends bytes behind the handshake and reads the goaway with which the server ends the connection.
fn goaway_for(bytes: &[u8]) -> Frame {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(bytes);
    let goaway = peer.expect_goaway();
    drop(peer);
    until_blocking("connection is forgotten", || server.stats().connections == 0);
    assert_eq!((server.stats().connections_failed, lab.additions()), (1, 0));
    goaway
}

/// F6, F16, P-11: on the header alone.
#[test]
fn a_frame_above_the_limit_is_refused_before_its_body() {
    let limit = Limits::default().max_frame;
    for (len, hint) in [
        (limit + 1, ""),
        ((1 << 31) + 1, ""),
        (u32::MAX, ""),
        (64_u32.swap_bytes(), " (it would be 64 in the other byte order)"),
    ] {
        let mut header = frame(CALL, 0, 0, 0, 0, &[]);
        header[..4].copy_from_slice(&len.to_be_bytes());
        let goaway = goaway_for(&header);
        assert_eq!(goaway.aux, code::FRAME_TOO_LARGE);
        let text = format!("frame body of {len} bytes exceeds the limit of {limit}{hint}");
        assert_eq!(goaway.text(), text);
    }
}

/// F7, F11, F12, F14, F15, P1, P-12 to P-16, P-20, P-33: what is no frame, and frames that this client must not send.
#[test]
fn frames_that_break_a_rule_end_the_connection() {
    let add = call_body(method_id("add"), 0, &number(1));
    let mut cases = vec![
        ("call too short", frame(CALL, 0, 0, 0, 0, &[0; 15])),
        ("cancel with a body", frame(CANCEL, 0, 0, 0, 0, &[0])),
        ("kind 0", frame(0, 0, 0, 0, 0, &[])),
        ("stop", frame(STOP, 0, 0, 0, 0, &[])),
        ("stop with a body", frame(STOP, 0, 0, 0, 0, &[0])),
        ("kind 13", frame(13, 0, 0, 0, 0, &[])),
        ("kind 127", frame(127, 0, 0, 0, 0, &[])),
        ("call with a channel", frame(CALL, 0, 1, 0, 0, &add)),
        ("call with aux", frame(CALL, 0, 0, 0, 1, &add)),
        ("call with descriptors", frame(CALL, 0x20, 1, 0, 0, &add)),
        ("cancel with aux", frame(CANCEL, 0, 0, 0, 1, &[])),
        ("ping with a call id", frame(PING, 0, 0, 1, 0, &[])),
        ("ping with a channel", frame(PING, 0, 1, 0, 0, &[])),
        ("reply", frame(REPLY, 0, 0, 0, 0, &number(1))),
        ("failure", frame(FAILURE, 0, 0, 0, code::REFUSED, b"no")),
        ("item", frame(ITEM, 0, 0, 0, 0, &number(1))),
        ("end", frame(END, 0, 0, 0, 0, &[])),
        ("credit", frame(CREDIT, 0, 0, 0, 1, &[])),
        ("credit of nothing", frame(CREDIT, 0, 0, 0, 0, &[])),
        ("chunk", frame(CHUNK, 0, 0, 0, 0, &number(1))),
        ("goaway too short", frame(GOAWAY, 0, 0, 0, 0, &[0; 7])),
    ];
    for bit in [1, 2, 3, 6, 7] {
        cases.push(("flag of a call", frame(CALL, 1 << bit, 0, 0, 0, &add)));
    }
    for bit in 0..8 {
        cases.push(("flag of a cancel", frame(CANCEL, 1 << bit, 0, 0, 0, &[])));
    }
    for at in 40..48 {
        let mut padded = frame(CALL, 0, 0, 0, 0, &add);
        padded[at] = 1;
        cases.push(("padding", padded));
    }
    for (what, bytes) in cases {
        let goaway = goaway_for(&bytes);
        assert_eq!(goaway.aux, code::PROTOCOL, "{what}: {}", goaway.text());
        assert!(!goaway.text().is_empty(), "{what}");
    }
    // F15: its first four bytes are a length.
    let second = goaway_for(&PREFACE);
    assert_eq!(second.aux, code::FRAME_TOO_LARGE);
    assert!(
        second.text().ends_with("(a second preface?)"),
        "{}",
        second.text()
    );
}

/// P-20, P-31: bodies in chunks that are no such.
#[test]
fn chunks_that_break_a_rule_end_the_connection() {
    let add = call_body(method_id("add"), 0, &number(1));
    let cases = [
        ("chunked call that is whole", frame(CALL, 1, 0, 0, 24, &add)),
        (
            "chunked call that is too long",
            frame(CALL, 1, 0, 0, (4 << 20) + 1, &add),
        ),
        (
            "chunk longer than what is missing",
            [frame(CALL, 1, 0, 0, 25, &add), frame(CHUNK, 0, 0, 0, 0, &[1, 2])].concat(),
        ),
        (
            "chunk of nothing",
            [frame(CALL, 1, 0, 0, 25, &add), frame(CHUNK, 0, 0, 0, 0, &[])].concat(),
        ),
        (
            "chunk of another call",
            [frame(CALL, 1, 0, 0, 25, &add), frame(CHUNK, 0, 0, 1, 0, &[1])].concat(),
        ),
        (
            "call on a slot that is arriving",
            [frame(CALL, 1, 0, 0, 25, &add), frame(CALL, 0, 0, 0, 0, &add)].concat(),
        ),
        (
            "bodies that are too long together",
            (0..3)
                .flat_map(|call| frame(CALL, 1, 0, call, 3 << 20, &add))
                .collect(),
        ),
    ];
    for (what, bytes) in cases {
        let goaway = goaway_for(&bytes);
        assert_eq!(goaway.aux, code::PROTOCOL, "{what}: {}", goaway.text());
    }
}

/// P3, P-31: the first call is not affected until then; then it is stopped.
#[test]
fn a_call_on_a_busy_slot_ends_the_connection() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&call(3, "hold", &number(1)));
    until_blocking("handler started", || lab.saw(Event::Started(1)));
    peer.send(&call(3, "add", &number(1)));
    let goaway = peer.expect_goaway();
    assert_eq!(
        (goaway.aux, goaway.text().as_str()),
        (code::PROTOCOL, "call id 3 is busy")
    );
    assert_eq!(goaway.body[..8], 1_u64.to_be_bytes(), "one call was taken");
    until_blocking("handler stopped", || lab.saw(Event::Dropped(1)));
    assert_eq!(lab.additions(), 0);
}

/// F11, P16, P19, P22, P25, P-12, P-31, P-32, P-38, P-50: what is ignored, and what fails one call only.
#[test]
fn mistakes_about_one_call_leave_the_connection_alone() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&frame(CALL, 0, 0, 0, 0, &call_body(0x1234, 0, &number(1))));
    let (unknown, text) = peer.failure();
    assert_eq!(
        (unknown, text.as_str()),
        (code::UNKNOWN_METHOD, "no method with id 0000000000001234")
    );
    for id in [1_024, u32::MAX] {
        peer.send(&call(id, "add", &number(1)));
        let (refused, text) = peer.failure();
        assert_eq!(refused, code::REFUSED);
        assert!(text.contains(&id.to_string()) && text.contains("1024"), "{text}");
    }
    // Metadata that reaches beyond its frame, and metadata above the limit.
    for len in [1_000_u32, 8_193] {
        let mut body = call_body(method_id("add"), 0, &number(1));
        body[12..16].copy_from_slice(&len.to_be_bytes());
        peer.send(&frame(CALL, 0, 0, 0, 0, &body));
        assert_eq!(peer.failure().0, code::METADATA_TOO_LARGE);
    }
    assert_eq!(lab.additions(), 0);
    peer.send(&[cancel(0), cancel(u32::MAX), frame(PONG, 0, 0, 0, 7, &[])].concat());
    peer.send(&[frame(128, 0xff, 1, 2, 3, &[4; 100]), frame(255, 0, 0, 0, 0, &[])].concat());
    peer.send(&frame(PING, 0, 0, 0, 77, &[]));
    let pong = peer.frame();
    assert_eq!((pong.kind, pong.aux), (PONG, 77));
    peer.send(&call(1_023, "add", &number(1)));
    assert_eq!(peer.answer().number(), 1);
    assert_eq!(server.stats().connections_failed, 0);
}

#[message(max_depth = 8)]
#[derive(Debug)]
#[allow(clippy::use_self, reason = "as users write it")]
struct Tree {
    children: Vec<Tree>,
}

#[service]
trait Forest {
    async fn leaves(&self, tree: &Archived<Tree>) -> u64;
    fn leaves_at_work(&self, tree: &Archived<Tree>) -> u64;
    async fn text(&self, text: &str, number: u32) -> u32;
}

struct Woods;

fn leaves(tree: &Archived<Tree>) -> u64 {
    tree.children.iter().map(leaves).sum::<u64>().max(1)
}

impl Forest for Woods {
    async fn leaves(&self, tree: &Archived<Tree>) -> u64 {
        leaves(tree)
    }

    fn leaves_at_work(&self, tree: &Archived<Tree>) -> u64 {
        leaves(tree)
    }

    async fn text(&self, _text: &str, number: u32) -> u32 {
        number
    }
}

/// A branch of so many levels below the root: each node is a vector of one node, which lies right in front of it (P-70).
fn branch(levels: usize) -> Vec<u8> {
    let leaf = [0, 0, 0, 0, 0, 0, 0, 0];
    let node = [(-8_i32).to_le_bytes(), 1_u32.to_le_bytes()].concat();
    [&leaf[..], &node.repeat(levels)].concat()
}

fn serve_woods() -> Server {
    Server::builder()
        .service(ForestServer::new(Woods))
        .reactors(1)
        .workers(1)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap()
}

/// Calls a method of the forest with an archive. The body of the reply, or `None` if the archive was refused.
fn call_forest(peer: &mut RawPeer, method: &str, archive: &[u8]) -> Option<Vec<u8>> {
    let methods = &ForestClient::descriptor().methods;
    let id = methods.iter().find(|known| known.name == method).unwrap().id.0;
    let body = call_body(id, 0, archive);
    let piece = Limits::default().max_frame as usize;
    peer.send(&match body.len() <= piece {
        true => frame(CALL, 0, 0, 0, 0, &body),
        false => chunked(CALL, 0, 0, &body, piece),
    });
    let answer = peer.answer();
    match (answer.kind, answer.aux) {
        (REPLY, 0) => Some(answer.body),
        (FAILURE, code::INVALID_ARCHIVE) => None,
        _ => panic!("{answer:?}"),
    }
}

/// A7, P-37, P-71: up to the longest body there is.
#[test]
fn arguments_that_are_nested_too_deeply_fail_their_call_only() {
    let server = serve_woods();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    for method in ["leaves", "leaves_at_work"] {
        // Eight vectors within each other, of which the innermost is empty.
        for levels in [0, 1, 7] {
            let counted = call_forest(&mut peer, method, &branch(levels));
            assert_eq!(counted, Some(number(1).to_vec()), "{levels} levels are allowed");
        }
        for levels in [8, 9, 64, 1_000, 500_000] {
            let counted = call_forest(&mut peer, method, &branch(levels));
            assert_eq!(counted, None, "{levels} levels are too many");
        }
    }
    assert!(call_forest(&mut peer, "leaves", &branch(0)).is_some());
    assert_eq!(server.stats().connections_failed, 0);
}

/// A2 to A5, F17, P-37, P-71, P-72
#[test]
fn arguments_that_are_no_valid_archive_fail_their_call_only() {
    /// How a text of 64 bytes that lies elsewhere begins.
    const LONG: [u8; 4] = [0x80, 1, 0, 0];
    let server = serve_woods();
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    let seven = 7_u32.to_le_bytes();
    let short = [&short_text("text")[..], &seven].concat();
    let long_at = |pointer: i32| [&[b'x'; 64][..], &LONG, &pointer.to_le_bytes(), &seven].concat();
    for valid in [&short, &long_at(-64)] {
        assert_eq!(call_forest(&mut peer, "text", valid), Some(seven.to_vec()));
    }
    let mut endless = long_at(-64);
    endless[64..68].copy_from_slice(&[0xbf, 0xff, 0xff, 0xff]);
    let invalid = [
        ("nothing", vec![]),
        ("too short", short[..11].to_vec()),
        ("bytes behind it", [&short[..], &[0; 4]].concat()),
        ("bytes in front of it", [&[0; 4][..], &short].concat()),
        ("no UTF-8", [&[0xfe; 8][..], &seven].concat()),
        ("pointer before the start", long_at(-65)),
        ("pointer to bytes that leave some in front", long_at(-60)),
        ("pointer to itself", long_at(0)),
        ("pointer far behind the end", long_at(i32::MAX)),
        ("pointer far before the start", long_at(i32::MIN)),
        ("length without end", endless),
    ];
    for (what, archive) in invalid {
        assert_eq!(call_forest(&mut peer, "text", &archive), None, "{what}");
    }
    assert!(call_forest(&mut peer, "text", &short).is_some());
    assert_eq!(
        (server.stats().connections_failed, server.stats().handler_panics),
        (0, 0)
    );
}

/// F3, F4, P-17
#[test]
fn a_call_that_does_not_arrive_whole_is_never_run() {
    let lab = Lab::default();
    let server = serve_unix(&lab, patient_limits());
    let mut probe = Probe::new(&server);
    let session = [&PREFACE[..], &call(0, "add", &number(1))].concat();
    for len in 0..session.len() {
        let mut peer = RawPeer::connect(&server.addresses()[0]);
        peer.send(&session[..len]);
        peer.finish();
        match len {
            // The magic is not complete: it may be anybody.
            0..4 => assert_eq!(peer.read_to_end(), [], "{len} bytes"),
            4..32 => assert_eq!(peer.read_to_end().len(), 32, "{len} bytes"),
            32 => assert_eq!(peer.read_to_end().len(), 32, "an orderly end"),
            _ => {
                peer.read_preface();
                assert_eq!(peer.expect_goaway().aux, code::PROTOCOL, "{len} bytes");
            }
        }
    }
    probe.assert_works();
    assert_eq!(lab.additions(), 0);
    let mut peer = RawPeer::connect(&server.addresses()[0]);
    peer.send(&session);
    peer.finish();
    peer.read_preface();
    assert_eq!(peer.answer().number(), 1);
}

/// F5, P-18
#[test]
fn bytes_that_come_one_by_one_mean_the_same() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::connect(&server.addresses()[0]);
    for byte in [
        &PREFACE[..],
        &call(0, "add", &number(5)),
        &call(1, "add", &number(6)),
    ]
    .concat()
    {
        peer.send(&[byte]);
    }
    peer.read_preface();
    assert_eq!((peer.answer().number(), peer.answer().number()), (5, 11));
}

fn impatient_limits() -> Limits {
    Limits {
        handshake_timeout: Duration::from_millis(100),
        ..Limits::default()
    }
}

/// R1, P-07: the time counts from the start of the connection and not from the last byte.
#[test]
fn silent_and_slow_handshakes_are_ended_by_the_timeout() {
    let lab = Lab::default();
    let server = builder(&lab)
        .limits(impatient_limits())
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let address = &server.addresses()[0];
    let mut silent = RawPeer::connect(address);
    let mut slow = RawPeer::connect(address);
    let start = Instant::now();
    let (magic, rest) = PREFACE.split_at(4);
    slow.send(magic);
    for (byte, due) in rest.iter().zip((1..).map(|at| Duration::from_millis(8 * at))) {
        // The last byte is sent after 224 ms, none is due more than 8 ms after the one before.
        until_blocking("time passes", || start.elapsed() >= due);
        if slow.try_send(&[*byte]).is_err() {
            break;
        }
    }
    slow.read_preface();
    let goaway = slow.expect_goaway();
    assert_eq!(goaway.aux, code::HANDSHAKE_TIMEOUT);
    assert!(
        goaway.text().ends_with("of 32 bytes of the preface"),
        "{}",
        goaway.text()
    );
    assert_eq!(silent.read_to_end(), []);
    assert_eq!(server.stats().connections_failed, 2);
    // A connection that has greeted may be silent for as long as it likes.
    let mut greeted = RawPeer::greeted(address);
    let mut other = RawPeer::connect(address);
    assert_eq!(other.read_to_end(), []);
    greeted.send(&call(0, "add", &number(1)));
    assert_eq!(greeted.answer().number(), 1);
}

/// R2: beyond the limit, connections wait without being closed.
#[tokio::test]
async fn handshakes_beyond_the_limit_wait_for_the_timeout_of_others() {
    let lab = Lab::default();
    let server = builder(&lab)
        .limits(impatient_limits())
        .max_handshakes(2)
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let silent: Vec<_> = (0..6).map(|_| RawPeer::connect(&server.addresses()[0])).collect();
    let client = client(&server).await;
    assert_eq!(within(client.add(1).owned()).await, Ok(1));
    drop(silent);
}

/// R2: what is given back is room for the next one at once.
#[test]
fn a_handshake_that_ends_makes_room_for_the_next() {
    let lab = Lab::default();
    let server = builder(&lab)
        .limits(patient_limits())
        .max_handshakes(2)
        // Whoever waits on one listener does not need the room of another.
        .listen("tcp://127.0.0.1:0")
        .listen("tcp://127.0.0.1:0")
        .listen("tcp://127.0.0.1:0")
        .start()
        .unwrap();
    let address = &server.addresses()[2];
    let silent = RawPeer::connect(address);
    let mut slow = RawPeer::connect(address);
    let mut third = RawPeer::connect(address);
    third.send(&[&PREFACE[..], &call(0, "add", &number(1))].concat());
    until_blocking("two are served", || server.stats().connections == 2);
    slow.send(&PREFACE);
    third.read_preface();
    assert_eq!(third.answer().number(), 1);
    let _silent_too = RawPeer::connect(address);
    let mut fifth = RawPeer::connect(address);
    fifth.send(&[&PREFACE[..], &call(0, "add", &number(1))].concat());
    until_blocking("four are served", || server.stats().connections == 4);
    drop(silent);
    fifth.read_preface();
    assert_eq!(fifth.answer().number(), 2);
    slow.read_preface();
    for peer in [&mut slow, &mut third] {
        peer.send(&call(9, "echo", &short_text("text")));
        assert_eq!(peer.answer().call, 9);
    }
}

/// F18: every bit of a recorded session, flipped.
#[test]
fn any_flipped_bit_has_a_typed_outcome() {
    let lab = Lab::default();
    let server = serve_unix(&lab, patient_limits());
    let mut probe = Probe::new(&server);
    let session = [
        &PREFACE[..],
        &timed_call(0, "add", 60_000_000, &number(1)),
        &call(1, "weigh_at_work", &weigh_arguments()),
    ]
    .concat();
    for bit in 0..session.len() * 8 {
        let mut flipped = session.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let mut peer = RawPeer::connect(&server.addresses()[0]);
        let _ = peer.try_send(&flipped);
        peer.finish();
        let answers = answers_to(&mut peer);
        assert!(
            answers.iter().filter(|kind| **kind != GOAWAY).count() <= 2,
            "{bit}: {answers:?}"
        );
        if bit % 64 == 0 {
            probe.assert_works();
        }
    }
    assert_eq!(server.stats().handler_panics, 0);
    let mut peer = RawPeer::connect(&server.addresses()[0]);
    peer.send(&session);
    peer.finish();
    assert_eq!(answers_to(&mut peer), [REPLY, REPLY]);
    until_blocking("all are gone", || server.stats().connections == 1);
}

/// The archive of a tuple of one vector of three bytes.
fn weigh_arguments() -> Vec<u8> {
    [&[1, 2, 3, 0][..], &(-4_i32).to_le_bytes(), &3_u32.to_le_bytes()].concat()
}

/// Reads to the end; what was sent has to be nothing, or a preface and whole frames that a server may send.
fn answers_to(peer: &mut RawPeer) -> Vec<u8> {
    let bytes = peer.read_to_end();
    let Some(mut frames) = bytes.get(32..) else {
        assert_eq!(bytes, []);
        return Vec::new();
    };
    assert_eq!(bytes[..8], PREFACE[..8]);
    let mut kinds = Vec::new();
    while !frames.is_empty() {
        let len = u32::from_be_bytes(frames[..4].try_into().unwrap()) as usize;
        kinds.push(frames[4]);
        frames = &frames[16 + len.next_multiple_of(16)..];
    }
    kinds.retain(|kind| *kind != PING && *kind != PONG);
    assert!(
        kinds.iter().all(|kind| [REPLY, FAILURE, GOAWAY].contains(kind)),
        "{kinds:?}"
    );
    kinds
}

const REPLY_LEN: u32 = 60_000;

/// Calls with many bytes to answer.
fn fill_calls(numbers: std::ops::Range<u32>) -> Vec<u8> {
    numbers
        .flat_map(|number| call(number % 1_024, "fill", &REPLY_LEN.to_le_bytes()))
        .collect()
}

/// R10, P29: what is held for a peer that does not read its replies is bounded, and it gets them all when it does.
#[test]
fn a_peer_that_does_not_read_is_not_read_from() {
    let lab = Lab::default();
    let limits = Limits {
        max_body: 65_536,
        max_held: 262_144,
        ..patient_limits()
    };
    let server = serve_unix(&lab, limits);
    let mut probe = Probe::new(&server);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    let (mut calls, mut unsent, mut refusals) = (0, Vec::new(), 0);
    // The socket takes no more, and goes on taking no more while the server has every opportunity to read.
    while refusals < 20 {
        if unsent.is_empty() {
            unsent = fill_calls(calls..calls + 100);
            calls += 100;
        }
        let sent = peer.send_some(&unsent);
        unsent.drain(..sent);
        if sent == 0 {
            refusals += 1;
            probe.assert_works();
        }
    }
    let answered = server.stats().calls - probe.calls;
    // 5 replies are above the limit; the socket's own buffer holds some more.
    assert!(
        (5..24).contains(&answered),
        "{answered} replies of {REPLY_LEN} bytes to {calls} calls"
    );
    let expected = pattern(REPLY_LEN);
    for call in 0..calls {
        let sent = peer.send_some(&unsent);
        unsent.drain(..sent);
        let reply = peer.answer();
        assert_eq!((reply.kind, reply.call), (REPLY, call % 1_024));
        assert!(reply.body[..expected.len()] == expected);
    }
    probe.assert_works();
}

/// A connection that was full has to notice that it is not any more, also when nobody wakes it.
#[test]
fn a_connection_reads_on_when_its_answers_are_written() {
    let lab = Lab::default();
    let limits = Limits {
        max_body: 16_384,
        max_held: 16_384,
        ..patient_limits()
    };
    let server = serve_unix(&lab, limits);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    for _ in 0..3 {
        // Each reply is above what may be held, and fits into the socket.
        peer.send(&fill_calls(0..1));
        assert_eq!(peer.answer().kind, REPLY);
        // Of those that arrive together, all but the first wait in the buffer.
        peer.send(&fill_calls(0..50));
        for id in 0..50 {
            assert_eq!(peer.answer().call, id);
        }
    }
    // Also at the end of its input.
    peer.send(&fill_calls(0..50));
    peer.finish();
    for id in 0..50 {
        assert_eq!(peer.answer().call, id);
    }
    assert_eq!(peer.read_to_end(), []);
    assert_eq!(server.stats().connections_failed, 0);
}

/// P31, R12: on one reactor, a connection that never stops calling does not keep another from being served, nor its own deadlines from passing.
#[test]
fn a_connection_that_floods_does_not_starve_another() {
    let lab = Lab::default();
    let server = serve_unix(&lab, patient_limits());
    let mut probe = Probe::new(&server);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| flood(&server.addresses()[0], &done));
        }
        until_blocking("the flood has come", || server.stats().calls > 2_000);
        for _ in 0..100 {
            probe.assert_works();
        }
        done.store(true, Ordering::Release);
    });
    assert!(server.stats().calls > 10_000, "{:?}", server.stats());
    let started = lab.count(|event| *event == Event::Started(9));
    assert_eq!(lab.count(|event| *event == Event::Dropped(9)), started);
    assert_eq!(server.stats().connections_failed, 0);
}

/// Calls without a pause until `done`, and at least until the deadline of a call that would never end by itself has passed.
fn flood(address: &Address, done: &AtomicBool) {
    const WINDOW: u32 = 500;
    let mut peer = RawPeer::greeted(address);
    let deadline = 1_000;
    peer.send(&timed_call(deadline, "hold", 100_000, &number(9)));
    let calls = |ids: std::ops::Range<u32>| -> Vec<u8> {
        ids.flat_map(|id| call(id, "echo", &short_text("flood")))
            .collect()
    };
    peer.send(&calls(0..WINDOW));
    let mut has_expired = false;
    // Half of them are always under way.
    for half in [0..WINDOW / 2, WINDOW / 2..WINDOW].into_iter().cycle() {
        for _ in 0..WINDOW / 2 {
            let mut answer = peer.answer();
            while answer.call == deadline {
                assert!(
                    [code::DEADLINE, code::EXPIRED].contains(&answer.aux),
                    "{answer:?}"
                );
                has_expired = true;
                answer = peer.answer();
            }
        }
        if done.load(Ordering::Acquire) && has_expired {
            peer.finish();
            peer.read_to_end();
            return;
        }
        peer.send(&calls(half));
    }
}

/// P28, P-51: a client's goaway.
#[test]
fn a_goaway_of_the_client_ends_the_connection_as_its_code_says() {
    let lab = Lab::default();
    let server = serve(&lab);
    let mut peer = RawPeer::greeted(&server.addresses()[0]);
    peer.send(&call(0, "hold", &number(1)));
    peer.send(&frame(GOAWAY, 0, 0, 0, 0, &[0; 8]));
    until_blocking("handler started", || lab.saw(Event::Started(1)));
    lab.release(1);
    assert_eq!(peer.answer().number(), 1, "an orderly goaway lets calls end");
    peer.send(&frame(GOAWAY, 0, 0, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(
        peer.expect_goaway().aux,
        code::PROTOCOL,
        "a second one must not raise the number"
    );
    let mut angry = RawPeer::greeted(&server.addresses()[0]);
    angry.send(&call(0, "hold", &number(2)));
    until_blocking("handler started", || lab.saw(Event::Started(2)));
    angry.send(&frame(GOAWAY, 0, 0, 0, code::PROTOCOL, &[0; 8]));
    assert_eq!(angry.read_to_end(), []);
    until_blocking("handler stopped", || lab.saw(Event::Dropped(2)));
}

/// L3: the client goes while its request is being answered, at every point.
#[tokio::test]
async fn connections_that_are_reset_at_any_time_harm_nobody() {
    let lab = Lab::default();
    let server = serve(&lab);
    let client = client(&server).await;
    let session = [&PREFACE[..], &call(0, "fill", &100_000_u32.to_le_bytes())].concat();
    for len in (0..=session.len()).step_by(3) {
        let mut peer = RawPeer::connect(&server.addresses()[0]);
        peer.send(&session[..len]);
        peer.reset();
        assert_eq!(within(client.echo("text").owned()).await.unwrap(), "text");
    }
    until("all are gone", || server.stats().connections == 1).await;
}
