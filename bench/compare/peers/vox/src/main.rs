//! vox, formerly roam, in the comparison.

#[allow(
    missing_docs,
    unreachable_pub,
    reason = "the macro makes public items, whatever the trait is"
)]
mod api;
mod client;
mod service;

use std::process::ExitCode;

use harness::{Address, Options, Peer, Ready, Result};

struct Vox;

impl Peer for Vox {
    const PACKAGE: &'static str = "vox";
    type Connection = client::Caller;

    fn name(_: &Options) -> &'static str {
        "vox"
    }

    fn note(_: &Options) -> Option<String> {
        // It has no settings for what is measured here: the window of a channel, 16 items, is fixed.
        Some("its defaults; TCP_NODELAY".to_owned())
    }

    async fn serve(address: Address, _: &Options, ready: Ready) -> Result<()> {
        service::serve(address, ready).await
    }
}

fn main() -> ExitCode {
    harness::main::<Vox>()
}
