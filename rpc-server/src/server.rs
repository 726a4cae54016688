//! Server: starts reactors and acceptors, is the handle to them, and brings them to an end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc_net::{Address, BindOptions, BoundListener, Socket};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Semaphore;

use crate::acceptor::{Admission, accept};
use crate::config::{Checked, Config, ServerBuilder};
use crate::driver::Driver;
use crate::error::StartError;
use crate::health::HealthReporter;
use crate::lifecycle::Times;
use crate::memory::MemoryBudget;
use crate::pool::Pool;
use crate::shared::Shared;
use crate::shutdown::{Phase, Shutdown};
use crate::stats::{Counters, Stats};

/// A running server.
///
/// Dropping it closes it at once: connections are cut off and running calls stopped. [`Server::shutdown`] ends it in good order.
#[must_use = "a server is closed when it is dropped"]
pub struct Server {
    shared: Arc<Shared>,
    addresses: Vec<Address>,
    grace: Duration,
    health: HealthReporter,
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that were cut off because their calls were not done within the grace period, or because the server was closed meanwhile. Zero: every call
    /// that was taken has been answered.
    pub cut_off: usize,
}

impl Server {
    /// Begins a server. It needs a service and an address; everything else has a default.
    ///
    /// ```no_run
    /// # use rpc_server::Server;
    /// # fn f<D: rpc_core::Dispatch>(directory: D) -> Result<(), rpc_server::StartError> {
    /// let server = Server::builder().service(directory).listen("tcp://127.0.0.1:7000").listen("unix:///run/directory.sock").start()?;
    /// # drop(server);
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> ServerBuilder {
        ServerBuilder::new()
    }

    /// Where the server listens, in the order of the builder, with the real port where port 0 was asked for.
    pub fn addresses(&self) -> &[Address] {
        &self.addresses
    }

    /// What it has counted.
    pub fn stats(&self) -> Stats {
        let connections = self.shared.shutdown.open_connections();
        self.shared
            .counters
            .snapshot(connections, self.shared.memory.held())
    }

    /// By which the owner says how its services are, for those who ask the built-in health service.
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// Ends the server in good order: accepts nothing more, tells every client how many of its calls were taken, finishes those, and closes; at the latest after
    /// the grace period, whatever the peers do.
    ///
    /// # Cancellation
    ///
    /// Dropping the future drops the server with it, which closes it at once.
    pub async fn shutdown(self) -> Drained {
        self.begin();
        self.shared.shutdown.reached(Phase::Ended).await;
        self.drained()
    }

    /// Does what [`Server::shutdown`] does, blocking the thread: not one that the server's connections need, such as that of a single-threaded runtime in which
    /// [`start_here`](ServerBuilder::start_here) was called.
    pub fn shutdown_blocking(self) -> Drained {
        self.begin();
        self.shared.shutdown.wait(Phase::Ended);
        self.drained()
    }

    /// A handle that can close the server at once while somebody else waits for its shutdown: for a second signal.
    pub fn closer(&self) -> Closer {
        Closer {
            shutdown: Arc::clone(&self.shared.shutdown),
        }
    }

    /// Starts the thread that sees the shutdown through. It is a thread of its own, so that no handler that blocks its reactor can hold it up.
    fn begin(&self) {
        self.health.drain();
        self.shared.shutdown.advance(Phase::Draining);
        let (shared, grace) = (Arc::clone(&self.shared), self.grace);
        let see_through = move || {
            let start = Instant::now();
            shared.shutdown.wait_idle(grace, Phase::Closed);
            shared.shutdown.advance(Phase::Closed);
            // What was cut off closes at once, unless a handler blocks its reactor.
            shared.shutdown.wait_idle(CUT_OFF_PATIENCE, Phase::Ended);
            // Jobs whose callers have gone may still run; they were told to stop.
            shared.pool.join(grace.saturating_sub(start.elapsed()));
            shared.shutdown.advance(Phase::Ended);
        };
        let thread = std::thread::Builder::new().name("rpc-shutdown".to_owned());
        if thread.spawn(see_through).is_err() {
            // Without a thread to wait for them, connections cannot be waited for.
            self.shared.pool.stop();
            self.shared.shutdown.advance(Phase::Ended);
        }
    }

    fn drained(&self) -> Drained {
        Drained {
            cut_off: self.shared.shutdown.cut_off(),
        }
    }
}

/// How long a shutdown waits for connections that were cut off to close.
const CUT_OFF_PATIENCE: Duration = Duration::from_millis(100);

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.shutdown.advance(Phase::Closed);
        self.shared.pool.stop();
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("addresses", &self.addresses)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

/// Closes a server at once. Made by [`Server::closer`].
#[derive(Clone, Debug)]
pub struct Closer {
    shutdown: Arc<Shutdown>,
}

impl Closer {
    /// Cuts off every connection; a shutdown that is under way ends.
    pub fn close(&self) {
        self.shutdown.advance(Phase::Closed);
    }
}

/// Starts a server on reactor threads of its own.
pub(crate) fn start_threads(parts: Checked) -> Result<Server, StartError> {
    let reactors = (0..parts.config.reactors)
        .map(|_| Reactor::new())
        .collect::<Result<Vec<_>, _>>()
        .map_err(StartError::Threads)?;
    let handles: Vec<_> = reactors.iter().filter_map(Reactor::handle).collect();
    let server = start_on(&handles, parts)?;
    for (number, reactor) in reactors.into_iter().enumerate() {
        let shutdown = Arc::clone(&server.shared.shutdown);
        let thread = std::thread::Builder::new().name(format!("rpc-reactor-{number}"));
        thread
            .spawn(move || reactor.run(&shutdown))
            .map_err(StartError::Threads)?;
    }
    Ok(server)
}

/// A runtime that can be dropped anywhere. Tokio's own panics when it is dropped in a task, which is where a server is started that finds its port taken.
struct Reactor(Option<Runtime>);

impl Reactor {
    fn new() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        Ok(Self(Some(runtime)))
    }

    fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }

    /// Runs connections until the server is closed.
    fn run(self, shutdown: &Shutdown) {
        if let Some(runtime) = &self.0 {
            runtime.block_on(shutdown.reached(Phase::Closed));
        }
    }
}

impl Drop for Reactor {
    /// Drops what is left: handlers are stopped, sockets closed.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Starts a server on runtimes that are there already.
pub(crate) fn start_on(reactors: &[Handle], parts: Checked) -> Result<Server, StartError> {
    let Checked {
        router,
        addresses,
        config,
        health,
    } = parts;
    let counters = Arc::new(Counters::default());
    let workers = if router.needs_workers() { config.workers } else { 0 };
    // Before the threads: a port that is taken is the likeliest of failures.
    let listeners = bind(reactors.len(), &addresses, &config)?;
    let shared = Arc::new(Shared {
        router,
        limits: config.limits,
        times: Times {
            grace: config.grace,
            ..config.times
        },
        receive_buffer: config.receive_buffer,
        busy_poll: config.busy_poll,
        memory: Arc::new(MemoryBudget::new(config.memory_budget())),
        pool: Pool::start(workers, config.worker_queue, &counters).map_err(StartError::Threads)?,
        counters,
        shutdown: Arc::new(Shutdown::default()),
        connections: Arc::new(Semaphore::new(config.max_connections)),
        handshakes: Arc::new(Semaphore::new(config.max_handshakes)),
    });
    let local = listeners.iter().map(|bound| bound.address.clone()).collect();
    let server = Server {
        shared: Arc::clone(&shared),
        addresses: local,
        grace: config.grace,
        health,
    };
    for bound in listeners {
        let shares = bound.listeners.len();
        for (listener, reactor) in bound.listeners.into_iter().zip(reactors) {
            // One listener for several reactors: its connections are dealt out.
            let targets = if shares == 1 {
                reactors.to_vec()
            } else {
                vec![reactor.clone()]
            };
            let _guard = reactor.enter();
            let listener = listener.into_tokio().map_err(StartError::Threads)?;
            let (shared, accepting) = (Arc::clone(&shared), shared.shutdown.register_acceptor());
            let run = deal(targets, &shared);
            reactor.spawn(async move {
                accept(listener, shared, run).await;
                drop(accepting);
            });
        }
    }
    Ok(server)
}

/// The listeners of one address: one per reactor where the kernel can share the port among them, else one.
struct Bound {
    address: Address,
    listeners: Vec<BoundListener>,
}

fn bind(reactors: usize, addresses: &[Address], config: &Config) -> Result<Vec<Bound>, StartError> {
    let bind_one = |address: &Address| {
        let shared = matches!(address, Address::Tcp { .. }) && reactors > 1;
        let options = BindOptions {
            backlog: config.backlog,
            reuse_port: shared,
            unix_mode: config.unix_mode,
        };
        if shared {
            // Sharing a port would also share it with another server that shares its own. Taking it alone first finds that one.
            drop(BoundListener::bind(
                address,
                &BindOptions {
                    reuse_port: false,
                    ..options
                },
            )?);
        }
        let first = BoundListener::bind(address, &options)?;
        let address = first.local_address().map_err(StartError::Threads)?;
        let mut listeners = vec![first];
        for _ in 1..if shared { reactors } else { 1 } {
            listeners.push(BoundListener::bind(&address, &options)?);
        }
        Ok(Bound { address, listeners })
    };
    addresses.iter().map(bind_one).collect()
}

/// Spawns each accepted connection on the next of `reactors` in turn.
fn deal(reactors: Vec<Handle>, shared: &Arc<Shared>) -> impl FnMut(Socket, Admission) + use<> {
    let shared = Arc::clone(shared);
    let mut turn = 0_usize;
    move |socket, admission| {
        let Some(reactor) = reactors.get(turn % reactors.len().max(1)) else {
            return;
        };
        turn = turn.wrapping_add(1);
        if reactors.len() == 1 {
            reactor.spawn(Driver::new(socket, admission, &shared));
            return;
        }
        // A socket belongs to the reactor that waits for it, so it is handed over as a bare descriptor.
        let Ok(descriptor) = socket.into_fd() else { return };
        let shared = Arc::clone(&shared);
        reactor.spawn(async move {
            if let Ok(socket) = Socket::from_std_unix(descriptor.into()) {
                Driver::new(socket, admission, &shared).await;
            }
        });
    }
}
