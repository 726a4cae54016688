//! Seeds: inputs by which the fuzzer starts where it gets interesting, in the formats of `rpc_core::fuzzing`.

mod script;

use rpc_core::fuzzing::archive_sample;

use self::script::{
    CALL, CANCEL, CHUNK, CREDIT, END, FAILURE, GOAWAY, ITEM, PING, PONG, REPLY, STOP, call, frame, plain,
    preface, streaming,
};

/// A seed: its target, its file name, its bytes.
pub(crate) type Seed = (&'static str, String, Vec<u8>);

/// All seeds.
pub(crate) fn all() -> Vec<Seed> {
    let named = |target: &'static str, seeds: Vec<(&'static str, Vec<u8>)>| {
        seeds
            .into_iter()
            .map(move |(name, bytes)| (target, format!("seed-{name}"), bytes))
    };
    named("frames", frames())
        .chain(named("server_bytes", server()))
        .chain(named("client_bytes", client()))
        .chain(named("pair", pair()))
        .chain(archive())
        .chain(dispatch())
        .collect()
}

/// Settings: bits 0 and 1 the limit, bit 2 whether frames are built, bits 4 to 7 how many more chunk lengths follow.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let raw = |chunk: u8, stream: &[u8]| [&[0x03, chunk], stream].concat();
    let built = |settings: u8, plan: &[u8], cut: u8, frames: &[Vec<u8>]| {
        let count = u8::try_from(plan.len() - 1).unwrap() << 4;
        [&[settings | 4 | count], plan, &[cut], &frames.concat()].concat()
    };
    let all: Vec<_> = (CALL..=STOP).map(|kind| plain(kind, 1)).collect();
    let large = |kind| frame(kind, 0, &[], &[7; 100], 1, 0, Some(0xf8));
    let mut padded = script::header(4, 200);
    padded.extend([1, 2, 3, 4, 1]);
    vec![
        ("every-kind-by-bytes", built(3, &[0], 0, &all)),
        ("every-kind-by-chunks", built(3, &[9, 0x28, 0xff, 3], 0, &all)),
        (
            "large-bodies-held",
            built(3, &[0xc9, 0x11, 0xe9], 0, &vec![large(128 + 0x7f); 8]),
        ),
        (
            "large-bodies-released",
            built(3, &[0xff, 0xce], 0, &vec![large(ITEM); 5]),
        ),
        ("cut-frame", built(3, &[1], 5, &[plain(CALL, 1), large(REPLY)])),
        ("body-above-the-limit", built(0, &[1], 0, &[large(REPLY)])),
        ("header-of-http", raw(1, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")),
        ("longest-length", raw(1, &script::header(u32::MAX, 1))),
        ("padding-not-zero", raw(0, &padded)),
        ("preface-as-frame", raw(0x50, &script::PREFACE)),
        ("unknown-kind", raw(1, &script::header(0, 12))),
    ]
}

/// Operations 0: a frame or bytes are sent, 7: all arrives, 8: reply, 10: fail, 11: time, 14: goaway, memory or end.
#[expect(clippy::too_many_lines, reason = "a table, one entry per seed")]
fn server() -> Vec<(&'static str, Vec<u8>)> {
    let story = |settings: u8, steps: &[Vec<u8>]| [&[settings][..], &preface(), &steps.concat()].concat();
    let send = |frame: Vec<u8>| [vec![0, 0], frame].concat();
    let all = |first: u8| -> Vec<Vec<u8>> {
        (first..=STOP)
            .flat_map(|kind| [vec![0], plain(kind, 1)])
            .collect()
    };
    let calls = |ids: std::ops::Range<u8>| -> Vec<Vec<u8>> {
        ids.map(|id| send(call(id, 0, 0, b"arguments"))).collect()
    };
    let cut =
        |plan: [u8; 4], frames: Vec<Vec<u8>>| [&[0x81][..], &plan, &preface(), &frames.concat()].concat();
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
        (
            "metadata-beyond-its-frame",
            story(1, &[send(call(0, 0, 200, b"short")), vec![7]]),
        ),
        (
            "more-held-than-allowed",
            story(
                0,
                &[
                    calls(0..14),
                    vec![
                        vec![0, 0],
                        frame(CALL, 0, &[1, 0, 0, 0], &[], 15, 0, Some(0xf3)),
                        vec![7, 8, 0, 0, 0, 7],
                    ],
                ]
                .concat(),
            ),
        ),
        (
            "draining",
            story(
                1,
                &[
                    calls(0..3),
                    vec![vec![7, 14, 33], send(call(9, 0, 0, b"late")), vec![7]],
                ]
                .concat(),
            ),
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
        ("wrong-direction", story(1, &[send(plain(REPLY, 0)), vec![7]])),
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
        (
            "cut-calls",
            cut(
                [0, 3, 17, 90],
                [
                    vec![vec![0]],
                    (0..9)
                        .map(|id| [call(id, 0, 0, b"cut"), vec![0]].concat())
                        .collect(),
                ]
                .concat(),
            ),
        ),
        ("cut-every-kind", cut([1, 0, 40, 7], all(CALL))),
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
        (
            "items-without-credit",
            story(
                0,
                &[
                    send(streaming(1, 1)),
                    send(frame(ITEM, 0, &[], &[], 1, 0, Some(0xf3))),
                    send(frame(ITEM, 0, &[], b"one too many", 1, 0, None)),
                    vec![7, 10, 0, 21, 0],
                ],
            ),
        ),
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
        (
            "drain-in-two-steps",
            story(1, &[calls(0..2), vec![vec![7, 19, 12, 0xff]]].concat()),
        ),
    ]
}

/// Operations 0: a frame or bytes are sent, 6: all arrives, 7: a call is started, 10: cancel, 11: time, 14: goaway, memory or end.
#[expect(clippy::too_many_lines, reason = "a table, one entry per seed")]
fn client() -> Vec<(&'static str, Vec<u8>)> {
    let story = |settings: u8, steps: &[Vec<u8>]| [&[settings][..], &preface(), &steps.concat()].concat();
    let send = |frame: Vec<u8>| [vec![0, 0], frame].concat();
    let start = |count: usize| [7, 40, 0, 0].repeat(count);
    let taken = |count: u8, code: u8| frame(GOAWAY, 0, &[count], b"bye", 0, code, None);
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
        ("not-called", story(1, &[vec![6], send(plain(REPLY, 4)), vec![6]])),
        (
            "answered-twice",
            story(
                1,
                &[start(1), send(plain(REPLY, 0)), send(plain(REPLY, 0)), vec![6]],
            ),
        ),
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
        ("saturated", story(0, &[start(17), vec![6], start(1)])),
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
        (
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
        ),
        ("cut-answers", {
            let answers: Vec<u8> = (0..9)
                .flat_map(|id| [vec![0], plain(REPLY, id)].concat())
                .collect();
            [&[0x8f, 0, 20, 1, 60][..], &preface(), &answers].concat()
        }),
    ]
}

/// Operations 0: start, 3: cancel, 4: reply, 6: fail, 7 and 8: onto the way, 9 and 11: arrive, 13: time, 14: all moves, 15: rare ones.
#[expect(clippy::too_many_lines, reason = "a table, one entry per seed")]
fn pair() -> Vec<(&'static str, Vec<u8>)> {
    let start = |count: usize| [0, 40, 0, 0].repeat(count);
    vec![
        (
            "calls-and-replies",
            [vec![0, 14], start(3), vec![14, 4, 0, 9, 4, 0, 10, 4, 0, 200, 14]].concat(),
        ),
        (
            "calls-before-the-greeting",
            [vec![0], start(17), vec![7, 70, 9, 40, 8, 20, 11, 33, 14]].concat(),
        ),
        (
            "cancel-crosses-reply",
            [vec![0, 14], start(2), vec![14, 4, 0, 9, 3, 0, 3, 0, 14], start(2)].concat(),
        ),
        (
            "deadlines",
            vec![
                1, 14, 0, 5, 9, 0, 0, 6, 3, 0, 7, 255, 13, 15, 0, 14, 13, 0, 15, 14,
            ],
        ),
        (
            "drain-of-the-server",
            [
                vec![2, 14],
                start(3),
                vec![7, 40, 9, 60, 15, 2],
                start(1),
                vec![14],
            ]
            .concat(),
        ),
        (
            "drain-of-the-client",
            [vec![2, 14], start(3), vec![15, 3, 14, 6, 0, 14]].concat(),
        ),
        (
            "half-close",
            [vec![0, 14], start(3), vec![15, 7, 9, 30, 14, 4, 0, 3, 14]].concat(),
        ),
        (
            "lost",
            [vec![0, 14], start(4), vec![7, 90, 9, 90, 15, 6]].concat(),
        ),
        (
            "large-bodies",
            vec![
                3, 14, 0, 0xfc, 0, 0, 0, 0xfe, 0, 0, 14, 4, 0, 0xfd, 4, 0, 0xff, 8, 0xf1, 11, 0xf0, 14,
            ],
        ),
        (
            "pings-and-memory",
            vec![0, 15, 0, 14, 15, 0, 15, 1, 15, 4, 15, 5, 14],
        ),
        (
            "streams",
            vec![
                2, 14, 0, 9, 0, 8, 14, 16, 0, 0, 0xf1, 16, 0, 1, 5, 18, 0, 0, 0xff, 14, 22, 0, 0, 0, 23, 0,
                0, 0, 14, 20, 0, 0, 3, 21, 0, 0x40, 3, 22, 0, 0x41, 0, 14, 4, 0, 0xff, 14,
            ],
        ),
        (
            "drain-in-two-steps",
            [
                vec![2, 14],
                start(3),
                vec![15, 8],
                start(1),
                vec![14, 4, 0, 2, 14],
            ]
            .concat(),
        ),
    ]
}

/// For each type of the family: an archive, and a value that is archived and damaged.
fn archive() -> Vec<Seed> {
    let seed = |name: String, bytes| ("archive", format!("seed-{name}"), bytes);
    let whole = (0..TYPE_COUNT).map(|index| {
        seed(
            format!("{index:02}-archive"),
            [vec![index, 0], sample(index, 1)].concat(),
        )
    });
    let damaged = (0..TYPE_COUNT).map(|index| {
        let number = u32::from(index) + 101;
        let mut mutations = noise(number, 24);
        mutations[0] = index % 5;
        seed(
            format!("{index:02}-value"),
            [vec![index, 1], mutations, noise(number, 96)].concat(),
        )
    });
    // Around the depth that the type states: an odd byte is one more child, and zeros from the end are empty labels.
    let deep = (4..=8).map(|depth| {
        let archive = archive_sample(TALL_TREE, &[vec![1; depth], vec![0; 64]].concat()).unwrap();
        seed(format!("12-depth-{depth}"), [vec![TREE, 0], archive].concat())
    });
    // P-72
    let leading = IN_ONE_PLACE.map(|index| {
        seed(
            format!("{index:02}-behind-others"),
            [vec![index, 0], vec![0; 16], sample(index, 1)].concat(),
        )
    });
    whole.chain(damaged).chain(deep).chain(leading).collect()
}

/// For each method: a call as it is, and one that is damaged on its way there or back.
fn dispatch() -> Vec<Seed> {
    let seed = |name: String, bytes| ("dispatch", format!("seed-{name}"), bytes);
    let calls = (0..METHOD_COUNT).map(|method| {
        let values = noise(u32::from(method) + 201, 120);
        seed(
            format!("{method:02}-call"),
            [vec![1], vec![0; 32], vec![method], values].concat(),
        )
    });
    let damaged = (0..METHOD_COUNT).map(|method| {
        let number = u32::from(method) + 301;
        let mut mutations = noise(number, 32);
        mutations[0] = method % 3;
        mutations[16] = 1;
        seed(
            format!("{method:02}-damaged"),
            [vec![1], mutations, vec![method], noise(number, 120)].concat(),
        )
    });
    let requests = (0..=METHOD_COUNT).map(|method| {
        let archive = sample(method, 401);
        seed(
            format!("{method:02}-request"),
            [vec![0, method], archive].concat(),
        )
    });
    calls.chain(damaged).chain(requests).collect()
}

/// The archive of a value; of several attempts the first that is not nested too deep.
fn sample(index: u8, number: u32) -> Vec<u8> {
    (0..100)
        .find_map(|attempt| archive_sample(index, &noise(number + u32::from(index) + 1_000 * attempt, 96)))
        .unwrap()
}

/// Bytes without pattern, always the same; most are odd, which is what makes lists long.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let [byte, other, ..] = state.to_le_bytes();
        byte | u8::from(!other.is_multiple_of(8))
    };
    (0..len).map(|_| next()).collect()
}

const TYPE_COUNT: u8 = 22;
/// The places of types without parts that lie elsewhere.
const IN_ONE_PLACE: [u8; 3] = [0, 9, 19];
/// The place of `Tree` in the family, and of the deeper type of the same layout.
const TREE: u8 = 12;
const TALL_TREE: u8 = 21;
const METHOD_COUNT: u8 = 12;
