//! Configuration: what a channel is told before it connects.

use std::time::Duration;

use rpc_core::Limits;
use rpc_net::{Address, AddressError, ReceiveBuffer};

use crate::blocking::BlockingChannel;
use crate::channel::Channel;
use crate::error::ConnectError;

/// Settings of a channel that is about to be connected. Made by [`Channel::builder`].
#[derive(Clone, Debug)]
pub struct ChannelBuilder {
    settings: Settings,
}

/// Settings of a channel. See [`ChannelBuilder`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) limits: Limits,
    /// At least one.
    pub(crate) connections: usize,
    pub(crate) connect_timeout: Duration,
    pub(crate) call_timeout: Option<Duration>,
    pub(crate) keep_alive: Option<Duration>,
    pub(crate) keep_alive_timeout: Duration,
    pub(crate) receive_buffer: ReceiveBuffer,
    pub(crate) busy_poll: Duration,
}

impl ChannelBuilder {
    pub(crate) fn new() -> Self {
        Self {
            settings: Settings::default(),
        }
    }

    /// Sets what this side accepts: the longest reply, calls in flight, and with `handshake_timeout` how long the server may take to greet.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.settings.limits = limits;
        self
    }

    /// Sets how many connections the channel may have. Default: 1. Zero counts as one.
    ///
    /// [`connect`](Self::connect) makes the first. A call that finds all of them busy has another one made, for the calls that follow: it does not wait for it. So a channel whose calls
    /// come one after the other stays with one connection. Each is dialled, asked whether it is there, lost and made again by itself, and what becomes of one fails no call that another could
    /// take. A connection stays until its server closes it or the last clone of the channel is gone.
    ///
    /// A call goes to the connection that is least busy: the one with the fewest bytes waiting to be sent, or still to come of answers that have begun, where every call in flight counts as
    /// 4 KiB. Those that are equally busy take turns. A call waits for a slot only while no connection has one, and takes the first that becomes free on any of them.
    ///
    /// # When it helps
    ///
    /// With long bodies among small calls over TCP: what the kernel holds of a body, nothing on the same connection can overtake. And with a server of several reactors, since a connection
    /// belongs to one of them. Many small calls alone are better off with one connection, where each write carries more of them.
    ///
    /// A server's limits are for each connection: calls in flight, memory. Choosing looks at all of them, so a handful is meant. Calls are no more in order than on one
    /// connection: the server may see two of them in either.
    ///
    /// ```no_run
    /// # async fn connect() -> Result<(), rpc_client::ConnectError> {
    /// use rpc_client::Channel;
    ///
    /// let channel = Channel::builder().connections(2).connect("tcp://127.0.0.1:7000").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn connections(mut self, connections: usize) -> Self {
        self.settings.connections = connections.max(1);
        self
    }

    /// Sets how long dialling may take, the look-up of a host name included. Default 5 s.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// Sets how long a call may take that says nothing itself: no timeout, no deadline, and none in its declaration. Default `None`: as long as
    /// the server likes.
    pub fn call_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.settings.call_timeout = timeout;
        self
    }

    /// Sets after how long without a byte from the server it is asked whether it is there, while calls wait for it, and how long it may take to answer: then the
    /// connection is given up, and its calls fail as *may have run*. Default: 30 s and 20 s. `None` never asks.
    pub fn keep_alive(mut self, interval: Option<Duration>, timeout: Duration) -> Self {
        self.settings.keep_alive = interval;
        self.settings.keep_alive_timeout = timeout;
        self
    }

    /// Sets how many bytes of a TCP connection the kernel keeps that were not read yet, which is what small calls wait for while long bodies are under way. Default:
    /// [`ReceiveBuffer::ByDistance`].
    ///
    /// Between containers of one machine the addresses do not tell how near the peer is: there [`ReceiveBuffer::Bytes`] with [`ReceiveBuffer::NEAR`] keeps small calls fast.
    pub fn receive_buffer(mut self, buffer: ReceiveBuffer) -> Self {
        self.settings.receive_buffer = buffer;
        self
    }

    /// Sets how long the client goes on looking for an answer, after the call was made or something else has come, before its thread may sleep. Default: zero, not at all.
    ///
    /// To wake a core that sleeps takes time: some microseconds, on virtual machines tens, of both sides and for every call that is alone. A thread that looks does not sleep. It goes on with whatever
    /// else its runtime has to do, and gives way to other threads of its core if the runtime has one worker, or if the client is a blocking one; what it costs is processor time, up to this much
    /// for each call. 50 µs suits servers on the same machine that answer within that time, and that are told the same. Where others keep the core busy the connection rests by itself; there
    /// are fewer calls all the same than without, 0.6 to 0.9 times as many.
    ///
    /// Calls one after the other between two cores of a virtual machine took 8 to 16 µs with it, and a fifth to a half of the processor time, instead of 83 to 120 µs.
    ///
    /// ```no_run
    /// # async fn connect() -> Result<(), rpc_client::ConnectError> {
    /// use std::time::Duration;
    ///
    /// use rpc_client::Channel;
    ///
    /// let channel = Channel::builder().busy_poll(Duration::from_micros(50)).connect("unix:///run/app.sock").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn busy_poll(mut self, time: Duration) -> Self {
        self.settings.busy_poll = time;
        self
    }

    /// Connects, and waits until the server has greeted: on one connection, however many the channel may have.
    ///
    /// # Errors
    ///
    /// [`ConnectError`]. There is one attempt: whoever starts before the server does has to repeat it.
    ///
    /// # Cancellation
    ///
    /// Dropping the future closes the socket.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn connect<A>(self, address: A) -> Result<Channel, ConnectError>
    where
        A: TryInto<Address>,
        A::Error: Into<AddressError>,
    {
        let address = address
            .try_into()
            .map_err(|error| ConnectError::Address(error.into()))?;
        self.settings.limits.check().map_err(ConnectError::Limits)?;
        Channel::open(address, self.settings).await
    }

    /// Connects a channel that needs no runtime, and blocks the thread until the server has greeted. See [`blocking`](crate::blocking).
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect).
    pub fn connect_blocking<A>(self, address: A) -> Result<BlockingChannel, ConnectError>
    where
        A: TryInto<Address>,
        A::Error: Into<AddressError>,
    {
        let address = address
            .try_into()
            .map_err(|error| ConnectError::Address(error.into()))?;
        self.settings.limits.check().map_err(ConnectError::Limits)?;
        BlockingChannel::open(address, self.settings)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            connections: 1,
            connect_timeout: Duration::from_secs(5),
            call_timeout: None,
            keep_alive: Some(Duration::from_secs(30)),
            keep_alive_timeout: Duration::from_secs(20),
            receive_buffer: ReceiveBuffer::default(),
            busy_poll: Duration::ZERO,
        }
    }
}
