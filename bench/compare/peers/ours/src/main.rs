//! This project.

mod client;
mod service;

use std::process::ExitCode;
use std::time::Duration;

use harness::{Address, Call, Options, Peer, Ready, Result, Workload};
use rpc_core::Limits;
use rpc_server::Server;

use crate::client::Ours;
use crate::service::{CompareServer, Service};

fn main() -> ExitCode {
    harness::main::<Project>()
}

struct Project;

/// How the server is run: `here`, in the runtime that the options name, or `threads`, on two reactors of its own.
const SERVER_MODE: &str = "server-mode";

/// How many connections a channel may have.
const CHANNEL_CONNECTIONS: &str = "channel-connections";

/// For how many microseconds both sides look for more before they sleep.
const BUSY_POLL: &str = "busy-poll";

impl Peer for Project {
    const PACKAGE: &'static str = "rpc-core";
    const EXTRA: &'static [&'static str] = &[SERVER_MODE, CHANNEL_CONNECTIONS, BUSY_POLL];
    type Connection = Ours;

    fn name(_: &Options) -> &'static str {
        "ours"
    }

    fn absent(options: &Options) -> Option<String> {
        let is_missing = options.blocking && !client::can_block_for(options.workload.call());
        is_missing.then(|| "the blocking client is measured with echoes only".to_owned())
    }

    fn note(options: &Options) -> Option<String> {
        if options.blocking {
            return Some("blocking: BlockingChannel, without a runtime".to_owned());
        }
        (options.workload == Workload::W5l).then(|| "max_body 65 MiB, max_held 256 MiB".to_owned())
    }

    async fn serve(address: Address, options: &Options, ready: Ready) -> Result<()> {
        let blob_len = match options.workload.call() {
            Call::Blob(len) => len,
            Call::Echo | Call::List | Call::Items(_) => 0,
        };
        let server = Server::builder()
            .service(CompareServer::new(Service::new(blob_len)))
            .limits(limits(options))
            .busy_poll(busy_poll(options)?)
            .listen(address.to_string());
        let server = match options.extra(SERVER_MODE) {
            None | Some("here") => server.start_here()?,
            Some("threads") => server.reactors(2).start()?,
            Some(other) => return Err(format!("--{SERVER_MODE} is here or threads, not {other}").into()),
        };
        let address = server.addresses().first().ok_or("the server has no address")?;
        ready.listening(&address.to_string().parse()?)?;
        std::future::pending().await
    }
}

/// How long both sides look for more before they sleep.
fn busy_poll(options: &Options) -> Result<Duration> {
    let micros = options.extra(BUSY_POLL).map_or(Ok(0), str::parse)?;
    Ok(Duration::from_micros(micros))
}

/// Limits are the default ones, but where a body of 64 MiB has to pass.
fn limits(options: &Options) -> Limits {
    if options.workload != Workload::W5l {
        return Limits::default();
    }
    Limits {
        max_body: 65 << 20,
        max_held: 256 << 20,
        ..Limits::default()
    }
}
