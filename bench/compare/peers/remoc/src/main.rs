//! remoc in the comparison.

mod api;
mod client;
mod service;
mod settings;

use std::process::ExitCode;

use harness::{Address, Options, Peer, Ready, Result};

struct Remoc;

impl Peer for Remoc {
    const PACKAGE: &'static str = "remoc";
    type Connection = client::Caller;

    fn name(_: &Options) -> &'static str {
        "remoc"
    }

    fn note(_: &Options) -> Option<String> {
        Some(settings::NOTE.to_owned())
    }

    async fn serve(address: Address, _: &Options, ready: Ready) -> Result<()> {
        service::serve(address, ready).await
    }
}

fn main() -> ExitCode {
    harness::main::<Remoc>()
}
