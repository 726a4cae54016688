//! Seeds of `client_bytes`: what a server sends, and what the client's owner does meanwhile.
//!
//! Operations 0: a frame or bytes are sent, 6: all arrives, 7: a call is started, 10: cancel, 11: time, 14: goaway, memory or end, 16: an item, 17: an end, 18: a grant.

use super::Seeds;
use super::script::{
    CALL, CHUNK, END, FAILURE, GOAWAY, ITEM, REPLY, STOP, frame, item, last_credit, plain, preface,
};

pub(super) fn seeds() -> Seeds {
    [
        answers(),
        ends_of_calls(),
        drains(),
        connection(),
        channels(),
        credit(),
    ]
    .concat()
}

/// A read takes no more than there is room for: as many of them as the longest of these stories needs.
fn all_arrives() -> Vec<u8> {
    vec![6; 16]
}

/// With limits (0: tight ones), a preface and steps.
fn story(settings: u8, steps: &[Vec<u8>]) -> Vec<u8> {
    [&[settings][..], &preface(), &steps.concat()].concat()
}

fn send(frame: Vec<u8>) -> Vec<u8> {
    [vec![0, 0], frame].concat()
}

/// So many calls are started.
fn start(count: usize) -> Vec<u8> {
    [7, 40, 0, 0].repeat(count)
}

/// A goaway that says how many calls were taken.
fn taken(count: u8, code: u8) -> Vec<u8> {
    frame(GOAWAY, 0, &[count], b"bye", 0, code, None)
}

fn answers() -> Seeds {
    vec![
        (
            "reply",
            story(
                1,
                &[
                    vec![6],
                    start(1),
                    send(frame(REPLY, 0, &[], b"archive", 0, 0, None)),
                    vec![6],
                ],
            ),
        ),
        (
            "error",
            story(
                1,
                &[
                    start(1),
                    send(frame(REPLY, 4, &[], b"archive", 0, 0, None)),
                    vec![6],
                ],
            ),
        ),
        (
            "metadata",
            story(
                1,
                &[
                    start(1),
                    send(frame(
                        REPLY,
                        2,
                        &[3],
                        b"key\0\0\0\0\0\0\0\0\0\0\0\0\0a",
                        0,
                        0,
                        None,
                    )),
                    vec![6],
                ],
            ),
        ),
        (
            "failure",
            story(
                1,
                &[
                    start(2),
                    send(frame(FAILURE, 0, &[], b"why \xff", 1, 48, None)),
                    vec![6],
                ],
            ),
        ),
        ("not-called", story(1, &[vec![6], send(plain(REPLY, 4)), vec![6]])),
        (
            "answered-twice",
            story(
                1,
                &[start(1), send(plain(REPLY, 0)), send(plain(REPLY, 0)), vec![6]],
            ),
        ),
        ("cut-answers", {
            let answers: Vec<u8> = (0..9)
                .flat_map(|id| [vec![0], plain(REPLY, id)].concat())
                .collect();
            [&[0x8f, 0, 20, 1, 60][..], &preface(), &answers].concat()
        }),
    ]
}

fn ends_of_calls() -> Seeds {
    vec![
        (
            "cancel-and-release",
            story(
                1,
                &[start(1), vec![10, 0], send(plain(FAILURE, 0)), vec![6], start(1)],
            ),
        ),
        (
            "expired",
            story(
                1,
                &[vec![7, 3, 1, 0, 11, 0xff, 15], send(plain(REPLY, 0)), vec![6]],
            ),
        ),
        ("saturated", story(0, &[start(17), vec![6], start(1)])),
    ]
}

fn drains() -> Seeds {
    vec![
        (
            "draining",
            story(
                1,
                &[
                    start(4),
                    send(taken(2, 33)),
                    vec![6],
                    start(1),
                    send(plain(REPLY, 0)),
                    vec![6],
                ],
            ),
        ),
        (
            "goaway-raised",
            story(1, &[start(4), send(taken(2, 0)), send(taken(3, 0)), vec![6]]),
        ),
        (
            "goaway-for-good",
            story(1, &[start(4), send(taken(1, 70)), vec![6]]),
        ),
    ]
}

fn connection() -> Seeds {
    vec![
        (
            "before-the-greeting",
            story(1, &[vec![7, 0xf4, 0, 0, 12, 0xff, 6, 7, 0xf4, 0, 0]]),
        ),
        ("wrong-direction", story(1, &[send(plain(CALL, 0)), vec![6]])),
        (
            "end-with-calls",
            story(1, &[start(2), vec![12, 0xff, 6, 14, 0xff]]),
        ),
        (
            "another-protocol",
            [&[0x41, 0, 0xe0, 16][..], b"SSH-2.0-OpenSSH\n", &[6]].concat(),
        ),
    ]
}

fn channels() -> Seeds {
    vec![(
        "items-and-chunks",
        story(
            1,
            &[
                vec![7, 40, 0, 0x50],
                send(frame(ITEM, 0, &[], b"item", 0, 0, None)),
                send(frame(ITEM, 1, &[], b"first", 0, 4, None)),
                send(frame(CHUNK, 0, &[], b"last", 0, 0, None)),
                vec![6, 16, 0, 0, 20, 18, 0, 0, 4, 18, 0, 0, 0],
                send(plain(STOP, 0)),
                send(plain(END, 0)),
                send(frame(REPLY, 1, &[], b"value", 0, 3, None)),
                send(frame(CHUNK, 0, &[], b"end", 0, 0, None)),
                vec![6],
            ],
        ),
    )]
}

/// P-53
fn credit() -> Seeds {
    vec![
        (
            "items-without-credit",
            story(
                0,
                &[
                    vec![7, 40, 0, 0x50],
                    send(item(0, 0xf3, None)),
                    send(frame(ITEM, 0, &[], b"one too many", 0, 0, None)),
                    all_arrives(),
                ],
            ),
        ),
        (
            "items-without-credit-at-zero",
            story(
                0,
                &[
                    vec![7, 40, 0, 0x50],
                    last_credit(0).map(send).concat(),
                    all_arrives(),
                    send(plain(ITEM, 0)),
                    all_arrives(),
                ],
            ),
        ),
        (
            "items-behind-a-grant-without-credit",
            story(
                0,
                &[
                    vec![7, 40, 0, 0x50],
                    last_credit(0).map(send).concat(),
                    // 64 bytes: an item of 48, and 16 besides.
                    all_arrives(),
                    vec![18, 0, 0, 1],
                    send(frame(ITEM, 0, &[], &[7; 48], 0, 0, None)),
                    all_arrives(),
                    send(frame(ITEM, 0, &[], b"one too many", 0, 0, None)),
                    send(frame(ITEM, 0, &[], b"and another", 0, 0, None)),
                    all_arrives(),
                ],
            ),
        ),
        (
            "items-of-several-frames-without-credit",
            story(
                1,
                &[
                    vec![7, 40, 0, 0x50],
                    // 68 KiB where 64 may be sent.
                    send(item(0, 0xf0, Some(0xfd))),
                    send(frame(CHUNK, 0, &[], &[], 0, 0, Some(0xff))),
                    all_arrives(),
                    send(item(0, 0xf1, Some(100))),
                    send(frame(CHUNK, 0, &[], &[7; 100], 0, 0, None)),
                    all_arrives(),
                ],
            ),
        ),
    ]
}
