//! volo-thrift in the comparison.

mod client;
mod service;
mod settings;

use std::process::ExitCode;

use harness::{Address, Options, Peer, Ready, Result, Workload};

/// What `build.rs` has made of `bench.thrift`.
#[allow(
    elided_lifetimes_in_paths,
    missing_docs,
    unreachable_pub,
    unsafe_code,
    unused_qualifications,
    clippy::all,
    clippy::needless_pass_by_value,
    clippy::redundant_clone,
    clippy::too_many_lines,
    clippy::undocumented_unsafe_blocks,
    clippy::unimplemented,
    clippy::unwrap_used,
    clippy::use_self,
    reason = "generated code"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/volo_gen.rs"));
}

struct Volo;

impl Peer for Volo {
    const PACKAGE: &'static str = "volo-thrift";
    type Connection = client::Caller;

    fn name(_: &Options) -> &'static str {
        "volo"
    }

    fn absent(options: &Options) -> Option<String> {
        let is_stream = options.workload == Workload::W6;
        is_stream.then(|| "Thrift has no streams".to_owned())
    }

    fn note(_: &Options) -> Option<String> {
        Some(settings::NOTE.to_owned())
    }

    async fn serve(address: Address, options: &Options, ready: Ready) -> Result<()> {
        service::serve(address, options, ready).await
    }
}

fn main() -> ExitCode {
    harness::main::<Volo>()
}
