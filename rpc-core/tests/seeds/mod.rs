//! Seeds: inputs by which the fuzzer starts where it gets interesting, in the formats of `rpc_core::fuzzing`.

mod client;
mod pair;
mod script;
mod server;

use rpc_core::fuzzing::archive_sample;

use self::script::{CALL, ITEM, REPLY, STOP, frame, plain};

/// A seed: its target, its file name, its bytes.
pub(crate) type Seed = (&'static str, String, Vec<u8>);

/// Seeds of one target: their names and their bytes.
pub(crate) type Seeds = Vec<(&'static str, Vec<u8>)>;

/// All seeds.
pub(crate) fn all() -> Vec<Seed> {
    let named = |target: &'static str, seeds: Seeds| {
        seeds
            .into_iter()
            .map(move |(name, bytes)| (target, format!("seed-{name}"), bytes))
    };
    named("frames", frames())
        .chain(named("server_bytes", server::seeds()))
        .chain(named("client_bytes", client::seeds()))
        .chain(named("pair", pair::seeds()))
        .chain(archive())
        .chain(dispatch())
        .chain(items("channels", 6, 80, 501))
        .chain(items("bridge", 3, 2, 601))
        .collect()
}

/// Settings: bits 0 and 1 the limit, bit 2 whether frames are built, bits 4 to 7 how many more chunk lengths follow.
fn frames() -> Seeds {
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

/// For each of so many types of items: steps without pattern, with a window of a few items and with a wide one.
fn items(target: &'static str, types: u8, few: u8, number: u32) -> Vec<Seed> {
    let seeds = (0..types).flat_map(|item| {
        [("narrow", few, 120), ("wide", 0xff, 0xff)].map(|(name, window, longest)| {
            let steps = noise(u32::from(item) + u32::from(window) + number, 900);
            let bytes = [vec![item, window, longest], steps].concat();
            (target, format!("seed-{item:02}-{name}"), bytes)
        })
    });
    seeds.collect()
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
