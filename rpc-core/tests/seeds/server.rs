//! Seeds of `server_bytes`: what a client sends, and what the server's owner does meanwhile.
//!
//! Operations 0: a frame or bytes are sent, 7: all arrives, 8: reply, 10: fail, 11: time, 14: goaway, memory or end, 16: an item, 17: an end, 18: a grant.

use super::Seeds;
use super::script::{
    CALL, CANCEL, CHUNK, CREDIT, END, GOAWAY, ITEM, PING, PONG, REPLY, STOP, call, frame, item, last_credit,
    plain, preface, streaming,
};

pub(super) fn seeds() -> Seeds {
    [
        calls(),
        refusals(),
        connection(),
        prefaces(),
        cuts(),
        channels(),
        credit(),
        chunks(),
    ]
    .concat()
}

/// A read takes no more than there is room for: as many of them as the longest of these stories needs.
fn all_arrives() -> Vec<u8> {
    vec![7; 16]
}

/// With limits (0: tight ones), a preface and steps.
fn story(settings: u8, steps: &[Vec<u8>]) -> Vec<u8> {
    [&[settings][..], &preface(), &steps.concat()].concat()
}

fn send(frame: Vec<u8>) -> Vec<u8> {
    [vec![0, 0], frame].concat()
}

/// A call for each of these ids.
fn send_calls(ids: std::ops::Range<u8>) -> Vec<Vec<u8>> {
    ids.map(|id| send(call(id, 0, 0, b"arguments"))).collect()
}

/// Frames, and how they are cut.
fn cut(plan: [u8; 4], frames: &[Vec<u8>]) -> Vec<u8> {
    [&[0x81][..], &plan, &preface(), &frames.concat()].concat()
}

fn calls() -> Seeds {
    vec![
        (
            "call-and-reply",
            story(
                1,
                &[send(call(0, 0, 0, b"arguments")), vec![7, 8, 0, 5, 0, 12, 0xff]],
            ),
        ),
        (
            "call-and-failure",
            story(1, &[send(call(0, 0, 0, b"")), vec![7, 10, 0, 48, 255]]),
        ),
        (
            "cancel",
            story(
                1,
                &[
                    send(call(0, 0, 0, b"x")),
                    send(plain(CANCEL, 0)),
                    vec![7, 10, 0, 1, 0],
                ],
            ),
        ),
        (
            "cancel-then-deadline",
            story(
                1,
                &[
                    send(call(0, 9, 0, b"x")),
                    send(plain(CANCEL, 0)),
                    vec![7, 15, 10, 0, 1, 0],
                ],
            ),
        ),
        ("cancel-of-nothing", story(1, &[send(plain(CANCEL, 3)), vec![7]])),
        (
            "deadline",
            story(
                1,
                &[send(call(0, 1, 0, b"x")), vec![7, 11, 0xff, 15, 10, 0, 2, 0]],
            ),
        ),
        (
            "metadata",
            story(
                1,
                &[
                    send(call(0, 0, 5, b"\x01\x01\0ka\0\0\0\0\0\0\0\0\0\0\0rest")),
                    vec![7],
                ],
            ),
        ),
    ]
}

fn refusals() -> Seeds {
    vec![
        (
            "busy-id",
            story(
                1,
                &[send(call(5, 0, 0, b"x")), send(call(5, 0, 0, b"y")), vec![7]],
            ),
        ),
        (
            "id-above-the-limit",
            story(
                0,
                &[send(call(15, 0, 0, b"x")), send(call(16, 0, 0, b"x")), vec![7]],
            ),
        ),
        (
            "metadata-beyond-its-frame",
            story(1, &[send(call(0, 0, 200, b"short")), vec![7]]),
        ),
        (
            "more-held-than-allowed",
            story(
                0,
                &[
                    send_calls(0..14),
                    vec![
                        vec![0, 0],
                        frame(CALL, 0, &[1, 0, 0, 0], &[], 15, 0, Some(0xf3)),
                        vec![7, 8, 0, 0, 0, 7],
                    ],
                ]
                .concat(),
            ),
        ),
        ("wrong-direction", story(1, &[send(plain(REPLY, 0)), vec![7]])),
    ]
}

fn connection() -> Seeds {
    vec![
        (
            "draining",
            story(
                1,
                &[
                    send_calls(0..3),
                    vec![vec![7, 14, 33], send(call(9, 0, 0, b"late")), vec![7]],
                ]
                .concat(),
            ),
        ),
        (
            "drain-in-two-steps",
            story(1, &[send_calls(0..2), vec![vec![7, 19, 12, 0xff]]].concat()),
        ),
        (
            "goaway-of-the-client",
            story(
                1,
                &[
                    send(call(0, 0, 0, b"x")),
                    send(plain(GOAWAY, 0)),
                    vec![7, 14, 0xff],
                ],
            ),
        ),
        (
            "pings",
            story(
                1,
                &[send(plain(PING, 0)), send(plain(PONG, 0)), vec![13, 7, 12, 0xff]],
            ),
        ),
        (
            "end-within-a-frame",
            story(1, &[send(call(0, 0, 0, b"arguments")), vec![4, 40, 14, 0xff]]),
        ),
        (
            "end-within-a-header",
            story(
                1,
                &[
                    send(call(0, 0, 0, b"arguments")),
                    vec![0, 0xe0, 2, 0, 0, 7, 14, 0xff],
                ],
            ),
        ),
    ]
}

fn prefaces() -> Seeds {
    vec![
        (
            "another-protocol",
            [&[0x41, 0, 0xe0, 18][..], b"GET / HTTP/1.1\r\n\r\n", &[7]].concat(),
        ),
        (
            "preface-cut",
            [&[0x01][..], &preface(), &[4, 3, 4, 9, 15, 15, 15, 15, 15, 15]].concat(),
        ),
        (
            "preface-changed",
            [&[0x01, 0, 0, 128 + 5, 9][..], &[7, 12, 0xff]].concat(),
        ),
    ]
}

fn cuts() -> Seeds {
    vec![
        (
            "cut-calls",
            cut(
                [0, 3, 17, 90],
                &std::iter::once(vec![0])
                    .chain((0..9).map(|id| [call(id, 0, 0, b"cut"), vec![0]].concat()))
                    .collect::<Vec<_>>(),
            ),
        ),
        (
            "cut-every-kind",
            cut(
                [1, 0, 40, 7],
                &(CALL..=STOP)
                    .flat_map(|kind| [vec![0], plain(kind, 1)])
                    .collect::<Vec<_>>(),
            ),
        ),
    ]
}

fn channels() -> Seeds {
    vec![
        (
            "channels",
            story(
                1,
                &[
                    send(plain(ITEM, 0)),
                    send(plain(END, 0)),
                    send(plain(CREDIT, 0)),
                    send(plain(CHUNK, 0)),
                    vec![7],
                ],
            ),
        ),
        (
            "items-both-ways",
            story(
                0,
                &[
                    send(streaming(1, 2)),
                    send(frame(ITEM, 0, &[], b"item", 1, 0, None)),
                    vec![7, 16, 0, 0, 9, 18, 0, 0, 9, 17, 0, 0, 0],
                    send(plain(CREDIT, 1)),
                    send(plain(STOP, 1)),
                    send(plain(END, 1)),
                    vec![7, 8, 0, 5, 0, 12, 0xff],
                ],
            ),
        ),
    ]
}

/// P-53
fn credit() -> Seeds {
    vec![
        (
            "items-without-credit",
            story(
                0,
                &[
                    send(streaming(1, 1)),
                    send(frame(ITEM, 0, &[], &[], 1, 0, Some(0xf3))),
                    send(frame(ITEM, 0, &[], b"one too many", 1, 0, None)),
                    all_arrives(),
                    vec![10, 0, 21, 0],
                ],
            ),
        ),
        (
            "items-without-credit-at-zero",
            story(
                0,
                &[
                    send(streaming(1, 1)),
                    last_credit(1).map(send).concat(),
                    all_arrives(),
                    send(plain(ITEM, 1)),
                    all_arrives(),
                    vec![10, 0, 21, 0],
                ],
            ),
        ),
        (
            "items-behind-a-grant-without-credit",
            story(
                0,
                &[
                    send(streaming(1, 1)),
                    last_credit(1).map(send).concat(),
                    // 64 bytes: an item of 48, and 16 besides.
                    all_arrives(),
                    vec![18, 0, 0, 1],
                    send(frame(ITEM, 0, &[], &[7; 48], 1, 0, None)),
                    all_arrives(),
                    send(frame(ITEM, 0, &[], b"one too many", 1, 0, None)),
                    send(frame(ITEM, 0, &[], b"and another", 1, 0, None)),
                    all_arrives(),
                    vec![10, 0, 21, 0],
                ],
            ),
        ),
        (
            "items-of-several-frames-without-credit",
            story(
                1,
                &[
                    send(streaming(1, 1)),
                    // 68 KiB where 64 may be sent.
                    send(item(1, 0xf0, Some(0xfd))),
                    send(frame(CHUNK, 0, &[], &[], 1, 0, Some(0xff))),
                    all_arrives(),
                    send(item(1, 0xf1, Some(100))),
                    send(frame(CHUNK, 0, &[], &[7; 100], 1, 0, None)),
                    all_arrives(),
                    vec![10, 0, 21, 0],
                ],
            ),
        ),
    ]
}

fn chunks() -> Seeds {
    vec![
        (
            "call-in-chunks",
            story(
                1,
                &[
                    send(frame(CALL, 1, &[1, 0, 0, 0], b"first", 1, 10, None)),
                    send(frame(CHUNK, 0, &[], b"seconds", 1, 0, None)),
                    send(frame(CHUNK, 0, &[], b"end", 1, 0, None)),
                    vec![7],
                ],
            ),
        ),
        (
            "call-in-chunks-with-metadata-beyond-it",
            story(
                1,
                &[
                    send(frame(CALL, 1, &[1, 0, 0, 200], b"", 1, 3, None)),
                    send(frame(CHUNK, 0, &[], b"end", 1, 0, None)),
                    send(plain(CANCEL, 1)),
                    vec![7],
                ],
            ),
        ),
    ]
}
