//! capnp-rpc in the comparison: Cap'n Proto.

mod client;
mod service;
mod settings;

use std::process::ExitCode;

use harness::{Address, Options, Peer, Ready, Result, RuntimeKind};

/// What `build.rs` has made of `bench.capnp`.
#[allow(
    elided_lifetimes_in_paths,
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::needless_pass_by_value,
    clippy::redundant_clone,
    clippy::too_many_lines,
    clippy::unimplemented,
    clippy::unwrap_used,
    clippy::use_self,
    reason = "generated code"
)]
mod bench_capnp {
    include!(concat!(env!("OUT_DIR"), "/bench_capnp.rs"));
}

struct Capnp;

impl Peer for Capnp {
    const PACKAGE: &'static str = "capnp-rpc";
    const IS_LOCAL: bool = true;
    type Connection = client::Caller;

    fn name(_: &Options) -> &'static str {
        "capnp"
    }

    fn absent(options: &Options) -> Option<String> {
        let is_threaded = options.runtime == RuntimeKind::Mt2;
        is_threaded.then(|| "its objects stay on one thread (not Send)".to_owned())
    }

    fn note(_: &Options) -> Option<String> {
        Some(settings::NOTE.to_owned())
    }

    async fn serve(address: Address, _: &Options, ready: Ready) -> Result<()> {
        service::serve(address, ready).await
    }
}

fn main() -> ExitCode {
    harness::main::<Capnp>()
}
