//! tonic in the comparison: gRPC over HTTP/2.

mod client;
mod service;
mod settings;

use std::process::ExitCode;

use harness::{Address, Options, Peer, Ready, Result};

/// What `build.rs` has made of `bench.proto`.
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
mod bench_proto {
    tonic::include_proto!("bench");
}

struct Tonic;

impl Peer for Tonic {
    const PACKAGE: &'static str = "tonic";
    type Connection = client::Caller;

    fn name(_: &Options) -> &'static str {
        "tonic"
    }

    fn note(_: &Options) -> Option<String> {
        Some(settings::NOTE.to_owned())
    }

    async fn serve(address: Address, _: &Options, ready: Ready) -> Result<()> {
        service::serve(address, ready).await
    }
}

fn main() -> ExitCode {
    harness::main::<Tonic>()
}
