//! Connection: a socket, which one task or one thread at a time has for itself.

use std::sync::{Arc, PoisonError};

use harness::{Address, Call, Connection, LaneReport, Lanes, Options, Result, Task};
use tokio::task::spawn_blocking;

use crate::blocking::{self, Blocking};
use crate::socket::Socket;
use crate::tasks::Tasks;
use crate::{Flavour, blob, echo, list, read_buffer};

/// A socket, and who uses it.
pub(crate) enum RawConnection {
    /// A task.
    Task {
        /// The socket.
        socket: Arc<tokio::sync::Mutex<Socket>>,
        /// How many bytes of echoes one read takes.
        room: usize,
    },
    /// A task for each call.
    Tasks(Tasks),
    /// A thread.
    Thread(Arc<std::sync::Mutex<Box<dyn Blocking>>>),
}

impl Connection for RawConnection {
    async fn connect(address: &Address, options: &Options) -> Result<Self> {
        if options.blocking || Flavour::of(options) == Flavour::Std {
            let socket = blocking::connect(address)?;
            return Ok(Self::Thread(Arc::new(std::sync::Mutex::new(socket))));
        }
        if Flavour::of(options) == Flavour::Tasks {
            return Ok(Self::Tasks(Tasks::connect(address).await?));
        }
        let socket = Socket::connect(address).await?;
        Ok(Self::Task {
            socket: Arc::new(tokio::sync::Mutex::new(socket)),
            room: read_buffer(options)?,
        })
    }

    /// One task or thread, unless each call has its own, with a window of as many calls as are to be in flight.
    fn spawn(&self, lanes: &Lanes) -> Vec<Task> {
        let lanes = lanes.clone();
        let task = match self {
            Self::Task { socket, room } => {
                let (socket, room) = (Arc::clone(socket), *room);
                tokio::spawn(async move { call(&mut *socket.lock_owned().await, &lanes, room).await })
            }
            Self::Tasks(tasks) => return lanes.start(|lane| tokio::spawn(lane.run(tasks.clone()))),
            Self::Thread(socket) => {
                let socket = Arc::clone(socket);
                spawn_blocking(move || {
                    let mut socket = socket.lock().unwrap_or_else(PoisonError::into_inner);
                    call_blocking(&mut **socket, &lanes)
                })
            }
        };
        vec![task]
    }
}

async fn call(socket: &mut Socket, lanes: &Lanes, room: usize) -> Result<LaneReport> {
    match lanes.lane.call {
        Call::Echo => echo::call(socket, lanes, room).await,
        Call::List => list::call(socket, lanes).await,
        Call::Blob(len) => blob::call(socket, lanes, len).await,
        Call::Items(_) => Err("there are no streams".into()),
    }
}

fn call_blocking(socket: &mut dyn Blocking, lanes: &Lanes) -> Result<LaneReport> {
    match lanes.lane.call {
        Call::Echo => blocking::call_echo(socket, lanes),
        Call::Blob(len) => blocking::call_blob(socket, lanes, len),
        Call::List | Call::Items(_) => Err("threads echo and take bodies only".into()),
    }
}
