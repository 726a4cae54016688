//! Entry points of the fuzz targets: each takes the fuzzer's bytes and panics if a promise of this crate does not hold.
//!
//! They live here, and not beside libFuzzer in `fuzz/`, so that `cargo test` replays the corpora with the stable compiler.

mod archive;
mod bell;
mod bridge;
mod channels;
mod client;
mod credit;
mod dispatch;
mod ends;
mod frames;
mod input;
mod messages;
mod mutate;
mod pair;
mod pair_channels;
mod script;
mod server;
mod trace;

use std::time::Instant;

use self::input::Input;

/// An entry point.
pub type Target = fn(&[u8]);

/// Every target: its name, which is also that of its corpus, and its entry point.
pub const TARGETS: [(&str, Target); 8] = [
    ("frames", frames),
    ("archive", archive),
    ("server_bytes", server_bytes),
    ("client_bytes", client_bytes),
    ("pair", pair),
    ("dispatch", dispatch),
    ("channels", channels),
    ("bridge", bridge),
];

/// Any chunking of a byte stream yields the frames that are in it, with bodies at multiples of 16.
pub fn frames(data: &[u8]) {
    frames::run(&mut Input::new(data));
}

/// What is accepted as an archive can be read completely, with bounded work; what was archived is read back as it was.
pub fn archive(data: &[u8]) {
    archive::run(&mut Input::new(data));
}

/// The archive of a value of the family's type number `index`, made from `entropy`: what seeds of [`archive()`] start from.
pub fn archive_sample(index: u8, entropy: &[u8]) -> Option<Vec<u8>> {
    archive::sample(index, &mut Input::new(entropy))
}

/// Whatever a client sends, the server's connection stays within its bounds and owes nothing at the end.
pub fn server_bytes(data: &[u8]) {
    server::run(&mut Input::new(data));
}

/// Whatever a server sends, every call of the client's connection ends exactly once.
pub fn client_bytes(data: &[u8]) {
    client::run(&mut Input::new(data));
}

/// Any operations on a client and a server that talk to each other end with every call ended once, and both idle.
pub fn pair(data: &[u8]) {
    pair::run(&mut Input::new(data));
}

/// A generated dispatcher answers any request; a generated client survives any reply.
pub fn dispatch(data: &[u8]) {
    dispatch::run(&mut Input::new(data));
}

/// A channel's receiver gets what its sender sent, in order, and then the end; nobody waits for nothing.
pub fn channels(data: &[u8]) {
    channels::run(&mut Input::new(data));
}

/// The same of a call within one process, with a channel in each direction; its answer comes behind its items, and nothing is left of it.
pub fn bridge(data: &[u8]) {
    bridge::run(&mut Input::new(data));
}

/// An instant to count from. Only differences matter, so inputs replay alike at any time.
#[expect(clippy::disallowed_methods, reason = "there is no other way to an instant")]
fn start() -> Instant {
    Instant::now()
}
