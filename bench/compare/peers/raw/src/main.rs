//! The floors: frames with a length in front, and nothing above the socket.

mod blob;
mod blocking;
mod connection;
mod echo;
mod header;
mod list;
mod socket;
mod tasks;
mod window;

use std::process::ExitCode;
use std::sync::Arc;

use harness::{Address, Call, Options, Peer, Ready, Result, Workload};
use tokio::task::spawn_blocking;

use crate::connection::RawConnection;

fn main() -> ExitCode {
    harness::main::<Raw>()
}

struct Raw;

/// The option that chooses the flavour: `tokio`, the default, `tasks`, or `std`.
const FLAVOUR: &str = "flavour";

/// The option that says how many bytes of echoes one read takes, on either side of raw-tokio.
const READ_BUFFER: &str = "read-buffer";

/// What the options say about it.
fn read_buffer(options: &Options) -> Result<usize> {
    let room = match options.extra(READ_BUFFER) {
        Some(text) => text.parse()?,
        None => echo::READ,
    };
    if room < echo::FRAME {
        return Err(format!("--{READ_BUFFER} has room for a frame, {} bytes", echo::FRAME).into());
    }
    Ok(room)
}

/// By which sockets the server and, unless it is to block, the client work.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flavour {
    /// Those of tokio, each used by one task.
    Tokio,
    /// Those of tokio; the client's are each shared by as many tasks as calls are in flight.
    Tasks,
    /// Those of the standard library, with a thread for each.
    Std,
}

impl Flavour {
    fn of(options: &Options) -> Self {
        match options.extra(FLAVOUR) {
            Some("std") => Self::Std,
            Some("tasks") => Self::Tasks,
            _ => Self::Tokio,
        }
    }
}

impl Peer for Raw {
    const PACKAGE: &'static str = "tokio";
    const EXTRA: &'static [&'static str] = &[FLAVOUR, READ_BUFFER];
    type Connection = RawConnection;

    fn name(options: &Options) -> &'static str {
        match Flavour::of(options) {
            Flavour::Tokio => "raw-tokio",
            Flavour::Tasks => "raw-tasks",
            Flavour::Std => "raw-std",
        }
    }

    fn absent(options: &Options) -> Option<String> {
        let is_std = options.blocking || Flavour::of(options) == Flavour::Std;
        let reason = match options.workload.call() {
            _ if options.workload == Workload::W7 => "a buffer per connection is no floor for memory",
            Call::Items(_) => "there are no streams",
            Call::List if is_std => "lists are sent by raw-tokio",
            Call::List | Call::Blob(_) if Flavour::of(options) == Flavour::Tasks => "tasks echo only",
            Call::Echo | Call::List | Call::Blob(_) => return None,
        };
        Some(reason.to_owned())
    }

    async fn serve(address: Address, options: &Options, ready: Ready) -> Result<()> {
        let call = options.workload.call();
        if Flavour::of(options) == Flavour::Std {
            return spawn_blocking(move || blocking::serve(address, call, ready)).await?;
        }
        // A connection that fails is seen by its client.
        match call {
            Call::Echo | Call::Items(_) => {
                let room = read_buffer(options)?;
                let serve = |socket| drop(tokio::spawn(echo::serve(socket, room)));
                socket::accept(address, ready, serve).await
            }
            Call::List => {
                let records = Arc::new(list::records());
                let serve = |socket| {
                    let records = Arc::clone(&records);
                    tokio::spawn(async move { list::serve(socket, &records).await });
                };
                socket::accept(address, ready, serve).await
            }
            Call::Blob(len) => {
                let frame: Arc<[u8]> = blob::frame(len).into();
                let serve = |socket| {
                    let frame = Arc::clone(&frame);
                    tokio::spawn(async move { blob::serve(socket, &frame).await });
                };
                socket::accept(address, ready, serve).await
            }
        }
    }
}
