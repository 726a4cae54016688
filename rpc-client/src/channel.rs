//! Channel: the handle by which calls to one server are started.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rpc_core::{Caller, FrameBuf, OutgoingCall};
use rpc_net::{Address, AddressError};
use tokio::runtime::Handle;

use crate::config::{ChannelBuilder, Settings};
use crate::dial::dial;
use crate::error::ConnectError;
use crate::frame_pool;
use crate::keep_alive::KeepAlive;
use crate::links::Links;
use crate::pending::PendingCall;

/// A connection to a server that is made again when it is lost, or [several](ChannelBuilder::connections). Cloning it is cheap; clones share the connections.
///
/// Generated clients take it as their caller. A call may be polled on any thread and in any runtime; the connection lives in the runtime in
/// which the channel was connected, and ends when the last clone and the last call are gone.
///
/// # Lost connections
///
/// When the connection is lost, every call that waits for an answer fails, and says whether the method may have run; none is repeated.
/// The next call dials again. While that fails, calls fail at once with the last error, and the server is tried again after a
/// pause that grows from 50 ms to 2 s (30 s if it is of another build). A server that announces its shutdown finishes the calls that it has taken; new ones go to a new connection, and so
/// does, once for each connection that the channel may have, a call of up to 4 KiB that it says it did not take.
///
/// # Many calls
///
/// A server states how many calls it takes at a time on a connection. Further ones wait for their turn, in order, within their deadlines.
///
/// # Several connections
///
/// With [`ChannelBuilder::connections`], a call goes to the least busy connection, and what was said of lost ones holds for each of them, but for this: as long as another one takes calls, none waits or
/// fails for the one that is lost, and a call of up to 4 KiB of which nothing had left goes to another by itself.
#[derive(Clone)]
pub struct Channel(pub(crate) Arc<Inner>);

/// What the clones of a channel share.
pub(crate) struct Inner {
    pub(crate) address: Address,
    /// The same as text.
    peer: String,
    pub(crate) settings: Settings,
    /// Where drivers live. A call may be polled elsewhere.
    pub(crate) runtime: Handle,
    pub(crate) links: Links,
    pub(crate) keep_alive: Option<Arc<KeepAlive>>,
}

impl Channel {
    /// Connects to a server, with default settings, and waits until it has greeted. See [`ChannelBuilder::connect`].
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says who is at fault: the address, nobody there, a stranger there, or another version.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime with I/O and time enabled.
    pub async fn connect<A>(address: A) -> Result<Self, ConnectError>
    where
        A: TryInto<Address>,
        A::Error: Into<AddressError>,
    {
        Self::builder().connect(address).await
    }

    /// Begins the configuration of a channel.
    pub fn builder() -> ChannelBuilder {
        ChannelBuilder::new()
    }

    /// Where the server is.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    /// Bytes of frames that were copied from one buffer to another on the connections in use: small ones gathered into one write, and the beginnings of
    /// frames that a read had cut. Zero without a connection.
    pub fn copied_bytes(&self) -> u64 {
        let connections = self.0.links.current();
        connections
            .map(|shared| shared.lock().calls.connection.copied_bytes())
            .sum()
    }

    pub(crate) async fn open(address: Address, settings: Settings) -> Result<Self, ConnectError> {
        let keep_alive = settings
            .keep_alive
            .map(|interval| Arc::new(KeepAlive::new(interval, settings.keep_alive_timeout)));
        let shared = dial(&address, &settings, keep_alive.clone()).await?;
        let inner = Inner {
            peer: address.to_string(),
            address,
            settings,
            runtime: Handle::current(),
            links: Links::new(shared, settings.connections),
            keep_alive,
        };
        Ok(Self(Arc::new(inner)))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.links.close();
    }
}

impl Caller for Channel {
    type Pending = PendingCall;

    fn frame(&self) -> FrameBuf {
        frame_pool::take()
    }

    fn max_body(&self) -> usize {
        usize::try_from(self.0.links.max_body()).unwrap_or(usize::MAX)
    }

    #[inline]
    fn start(&self, call: OutgoingCall) -> PendingCall {
        PendingCall::new(self.clone(), call)
    }

    #[inline]
    fn into_start(self, call: OutgoingCall) -> PendingCall {
        PendingCall::new(self, call)
    }

    fn peer(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0.peer)
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.0.settings.call_timeout
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("address", &self.0.address)
            .finish_non_exhaustive()
    }
}
