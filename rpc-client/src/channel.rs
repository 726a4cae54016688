//! Channel: the handle by which calls to one server are started.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rpc_core::{Caller, FrameBuf, OutgoingCall};
use rpc_net::{Address, AddressError};
use tokio::runtime::Handle;

use crate::config::{ChannelBuilder, Settings};
use crate::dial::dial;
use crate::error::ConnectError;
use crate::frame_pool;
use crate::keep_alive::KeepAlive;
use crate::pending::PendingCall;
use crate::reconnect::Link;

/// A connection to a server that is made again when it is lost. Cloning it is cheap; clones share the connection.
///
/// Generated clients take it as their caller. A call may be polled on any thread and in any runtime; the connection lives in the runtime in
/// which the channel was connected, and ends when the last clone and the last call are gone.
///
/// # Lost connections
///
/// When the connection is lost, every call that waits for an answer fails, and says whether the method may have run; none is repeated.
/// The next call dials again. While that fails, calls fail at once with the last error, and the server is tried again after a
/// pause that grows from 50 ms to 2 s (30 s if it is of another build). A server that announces its shutdown finishes the calls that it has taken; new ones go to a new connection, and so
/// does, once, a call of up to 4 KiB that it says it did not take.
///
/// # Many calls
///
/// A server states how many calls it takes at a time. Further ones wait for their turn, in order, within their deadlines.
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
    pub(crate) link: Link,
    pub(crate) keep_alive: Option<Arc<KeepAlive>>,
    /// The longest call that the server accepts, as it said when it last greeted.
    max_body: AtomicU32,
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

    /// Bytes of frames that were copied from one buffer to another on the connection in use: small ones gathered into one write, and the beginnings of
    /// frames that a read had cut. Zero without a connection.
    pub fn copied_bytes(&self) -> u64 {
        self.0
            .link
            .current()
            .map_or(0, |shared| shared.lock().calls.connection.copied_bytes())
    }

    pub(crate) async fn open(address: Address, settings: Settings) -> Result<Self, ConnectError> {
        let keep_alive = settings
            .keep_alive
            .map(|interval| Arc::new(KeepAlive::new(interval, settings.keep_alive_timeout)));
        let shared = dial(&address, &settings, keep_alive.clone()).await?;
        let max_body = AtomicU32::new(shared.max_body());
        let inner = Inner {
            peer: address.to_string(),
            address,
            settings,
            runtime: Handle::current(),
            link: Link::new(shared),
            keep_alive,
            max_body,
        };
        Ok(Self(Arc::new(inner)))
    }
}

impl Inner {
    pub(crate) fn set_max_body(&self, len: u32) {
        self.max_body.store(len, Ordering::Relaxed);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.link.close();
    }
}

impl Caller for Channel {
    type Pending = PendingCall;

    fn frame(&self) -> FrameBuf {
        frame_pool::take()
    }

    fn max_body(&self) -> usize {
        usize::try_from(self.0.max_body.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    fn start(&self, call: OutgoingCall) -> PendingCall {
        PendingCall::new(self.clone(), call)
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
