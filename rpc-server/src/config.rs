//! Builder and configuration of a server: every setting, its unit, its default.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use rpc_core::health::HealthServiceServer;
use rpc_core::{Dispatch, Limits};
use rpc_net::{Address, AddressError, ReceiveBuffer};

use crate::error::StartError;
use crate::health::HealthReporter;
use crate::lifecycle::Times;
use crate::router::Router;
use crate::server::{self, Server};

/// What a server is made of, before it runs. Made by [`Server::builder`].
#[must_use = "a builder does nothing until it is started"]
pub struct ServerBuilder {
    pub(crate) router: Router,
    pub(crate) addresses: Vec<Result<Address, AddressError>>,
    pub(crate) config: Config,
    health: HealthReporter,
    serves_health: bool,
}

/// The numbers of a server.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) limits: Limits,
    pub(crate) reactors: usize,
    pub(crate) workers: usize,
    pub(crate) worker_queue: usize,
    pub(crate) max_connections: usize,
    pub(crate) max_handshakes: usize,
    pub(crate) grace: Duration,
    pub(crate) times: Times,
    pub(crate) unix_mode: Option<u32>,
    pub(crate) backlog: u32,
    pub(crate) receive_buffer: ReceiveBuffer,
    pub(crate) busy_poll: Duration,
    pub(crate) memory_budget: Option<usize>,
}

impl Config {
    pub(crate) fn memory_budget(&self) -> usize {
        let Limits {
            max_held, max_body, ..
        } = self.limits;
        let default = max_held.saturating_mul(HELD_PER_BUDGET);
        // With less, a connection that keeps its own limits could not go on alone.
        let least = max_held.saturating_add(2 * max_body as usize);
        self.memory_budget.unwrap_or(default).max(least)
    }
}

/// How many connections may hold all that one may hold before the budget of the server is used up, by default.
const HELD_PER_BUDGET: usize = 16;

impl ServerBuilder {
    pub(crate) fn new() -> Self {
        let cores = available_parallelism().map_or(1, NonZeroUsize::get);
        let config = Config {
            limits: Limits::default(),
            reactors: cores,
            workers: cores,
            worker_queue: 1_024,
            max_connections: 10_000,
            max_handshakes: 256,
            grace: Duration::from_secs(10),
            times: Times {
                keep_alive: Some(Duration::from_secs(60)),
                keep_alive_timeout: Duration::from_secs(20),
                write_stall: Duration::from_secs(30),
                max_idle: None,
                max_age: None,
                grace: Duration::from_secs(10),
            },
            unix_mode: None,
            backlog: 1_024,
            receive_buffer: ReceiveBuffer::default(),
            busy_poll: Duration::ZERO,
            memory_budget: None,
        };
        Self {
            router: Router::default(),
            addresses: Vec::new(),
            config,
            health: HealthReporter::new(),
            serves_health: true,
        }
    }

    /// Adds a service: the generated `…Server`. Several services, also two versions of one, share the server; methods that two
    /// versions have in common are answered by the one that was added first.
    ///
    /// Middleware is put in front of a service before it is added: `.service(service.layer(middleware))`, see [`layers`](crate::layers).
    pub fn service<D: Dispatch>(mut self, service: D) -> Self {
        self.health.add(service.descriptor().name);
        self.router.add(service);
        self
    }

    /// Sets whether the server has the built-in [health service](rpc_core::health::HealthService). Default: it has.
    pub fn health_service(mut self, serves: bool) -> Self {
        self.serves_health = serves;
        self
    }

    /// Adds an address to listen on: `tcp://127.0.0.1:7000`, `tcp://[::]:7000`, `unix:///run/app.sock`, `unix-abstract:app`.
    ///
    /// Port 0 takes a free one, see [`Server::addresses`]. A malformed address is reported when the server is started.
    pub fn listen<A>(mut self, address: A) -> Self
    where
        A: TryInto<Address>,
        A::Error: Into<AddressError>,
    {
        self.addresses.push(address.try_into().map_err(Into::into));
        self
    }

    /// Sets what each connection accepts. Default: [`Limits::default`].
    pub fn limits(mut self, limits: Limits) -> Self {
        self.config.limits = limits;
        self
    }

    /// Sets the number of threads that run connections and `async` handlers, when the server starts its own ([`ServerBuilder::start`]).
    /// Default: one per core. Zero counts as one.
    pub fn reactors(mut self, threads: usize) -> Self {
        self.config.reactors = threads.max(1);
        self
    }

    /// Sets the number of threads that run plain `fn` handlers. Default: one per core. They are started only if a service has such a method. Zero
    /// refuses every call of one.
    pub fn workers(mut self, threads: usize) -> Self {
        self.config.workers = threads;
        self
    }

    /// Sets how many calls may wait for a worker; further ones are refused at once. Default: 1,024.
    pub fn worker_queue(mut self, jobs: usize) -> Self {
        self.config.worker_queue = jobs;
        self
    }

    /// Sets how many connections may be open at once; further ones wait, mostly in the backlog of the listener. Default: 10,000.
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.config.max_connections = connections.max(1);
        self
    }

    /// Sets how many bytes all connections together may hold: arguments that arrive or are worked on, credit of channels, and answers that were not read yet. Default: 16 times
    /// [`Limits::max_held`], which is 1 GiB. One below what a single connection may hold, [`Limits::max_held`] and two bodies that arrive, counts as that.
    ///
    /// When it is used up, connections that hold 64 KiB or more, or are about to, are not read from; those that carry small calls go on. Whoever has waited for a second gives up bodies
    /// that are incomplete and refuses calls that need memory, with a code that says that they did not run, until there is some again. While calls with channels are in
    /// flight, which may need what comes next, a connection is not held up, and refuses at once.
    ///
    /// Besides it every connection has its buffers: some kilobytes when it is idle, up to half a megabyte under load; and where bodies of more than 16 MiB are allowed, each thread keeps
    /// memory of those that have come, up to 64 MiB, for the next ones: until it was of no use for ten seconds and one of its connections has had something to do. Memory of handlers is theirs.
    pub fn memory_budget(mut self, bytes: usize) -> Self {
        self.config.memory_budget = Some(bytes);
        self
    }

    /// Sets how many open connections may have their handshake still before them. At the limit no further ones are accepted until some have greeted or were
    /// closed by the handshake timeout. Default: 256.
    pub fn max_handshakes(mut self, connections: usize) -> Self {
        self.config.max_handshakes = connections.max(1);
        self
    }

    /// Sets how long [`Server::shutdown`] waits for calls that were taken. Default: 10 s.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.config.grace = grace;
        self
    }

    /// Sets after how long without a byte from a client it is asked whether it is there, and how long it may take to answer: then its calls are stopped and its
    /// connection is closed. Default: 60 s and 20 s. `None` never asks.
    pub fn keep_alive(mut self, interval: Option<Duration>, timeout: Duration) -> Self {
        self.config.times.keep_alive = interval;
        self.config.times.keep_alive_timeout = timeout;
        self
    }

    /// Sets how long a client may take nothing of what is written to it, before its connection is closed. Default: 30 s.
    pub fn write_stall(mut self, time: Duration) -> Self {
        self.config.times.write_stall = time;
        self
    }

    /// Sets how long a connection may be without calls, before it is closed in good order. Default: `None`, as long as the client likes.
    pub fn max_connection_idle(mut self, time: Option<Duration>) -> Self {
        self.config.times.max_idle = time;
        self
    }

    /// Sets how old a connection may get, give or take a tenth by chance: then it takes no further calls, finishes those that it has taken, and is closed, at the
    /// latest after the [grace period](Self::grace). Clients connect again, which spreads them anew. Default: `None`, as old as the client likes.
    pub fn max_connection_age(mut self, age: Option<Duration>) -> Self {
        self.config.times.max_age = age;
        self
    }

    /// Sets the permission bits of the socket files of Unix listeners, such as `0o660`. Default: as the process's umask leaves them.
    pub fn unix_mode(mut self, mode: u32) -> Self {
        self.config.unix_mode = Some(mode);
        self
    }

    /// Sets how many connections the kernel may keep waiting per listener. Default: 1,024.
    pub fn backlog(mut self, connections: u32) -> Self {
        self.config.backlog = connections;
        self
    }

    /// Sets how many bytes of a TCP connection the kernel keeps that were not read yet, which is what small calls wait for while long bodies are under way. Default:
    /// [`ReceiveBuffer::ByDistance`].
    ///
    /// Between containers of one machine the addresses do not tell how near the peer is: there [`ReceiveBuffer::Bytes`] with [`ReceiveBuffer::NEAR`] keeps small calls fast.
    pub fn receive_buffer(mut self, buffer: ReceiveBuffer) -> Self {
        self.config.receive_buffer = buffer;
        self
    }

    /// Sets how long a connection goes on looking for calls after bytes have last come or gone, before its thread may sleep. Default: zero, not at all.
    ///
    /// To wake a core that sleeps takes time: some microseconds, on virtual machines tens, of both sides and for every call that comes alone. A thread that looks does not sleep. It goes on with
    /// whatever else its runtime has to do, and gives way to other threads of its core if the runtime has one worker, as those of [`start`](Self::start) do; what it costs is
    /// processor time, up to this much after each call. 50 µs suits clients on the same machine that call in quick succession, and that are told the same, by `ChannelBuilder::busy_poll` of
    /// `rpc-client`. Where others keep the core busy a connection rests by itself; there are fewer calls all the same than without, 0.6 to 0.9 times as many.
    ///
    /// It is for clients that are trusted with that: whoever is connected can keep a thread awake, by a byte now and then.
    pub fn busy_poll(mut self, time: Duration) -> Self {
        self.config.busy_poll = time;
        self
    }

    /// Starts the server on threads of its own: one single-threaded runtime per core, each with its own listener where the kernel can share a
    /// port. A call is decoded, run and answered on one core, without a hand-over between threads.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running then.
    pub fn start(self) -> Result<Server, StartError> {
        server::start_threads(self.check()?)
    }

    /// Starts the server inside the tokio runtime of the caller, as tasks. The runtime needs its I/O and time drivers.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing is left running then.
    pub fn start_here(self) -> Result<Server, StartError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| StartError::NoRuntime)?;
        server::start_on(&[runtime], self.check()?)
    }

    fn check(mut self) -> Result<Checked, StartError> {
        self.config.limits.check()?;
        if self.serves_health {
            self.router.add(HealthServiceServer::new(self.health.clone()));
        }
        self.router.build()?;
        let addresses = self.addresses.into_iter().collect::<Result<Vec<_>, _>>()?;
        if addresses.is_empty() {
            return Err(StartError::NoAddress);
        }
        Ok(Checked {
            router: Arc::new(self.router),
            addresses,
            config: self.config,
            health: self.health,
        })
    }
}

/// What a server is made of, once everything about it is known to be right.
pub(crate) struct Checked {
    pub(crate) router: Arc<Router>,
    pub(crate) addresses: Vec<Address>,
    pub(crate) config: Config,
    pub(crate) health: HealthReporter,
}

impl std::fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("services", &self.router.service_count())
            .field("addresses", &self.addresses)
            .field("config", &self.config)
            .finish()
    }
}
