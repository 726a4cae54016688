//! BlockingChannel: the handle by which threads without a runtime call one server.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rpc_core::{Caller, FrameBuf, OutgoingCall};
use rpc_net::{Address, AddressError};

use super::call::BlockingCall;
use super::connection::Shared;
use super::link::Link;
use crate::config::{ChannelBuilder, Settings};
use crate::error::ConnectError;
use crate::frame_pool;
use crate::keep_alive::KeepAlive;

/// A connection to a server that is made again when it is lost, for programs without a runtime. Cloning it is cheap; clones share the connection, also between
/// threads. See [the module](super).
///
/// Lost connections and many calls are dealt with as by [`Channel`](crate::Channel): calls under way fail and say whether the method may have run, the next call dials again,
/// and what the server has no slot for waits its turn. It is the thread of that call that dials, within the call's time.
#[derive(Clone)]
pub struct BlockingChannel(pub(super) Arc<Inner>);

/// What the clones of a channel share.
pub(super) struct Inner {
    pub(super) address: Address,
    /// The same as text.
    peer: String,
    pub(super) settings: Settings,
    pub(super) link: Link,
    keep_alive: Option<Arc<KeepAlive>>,
    /// The longest call that the server accepts, as it said when it last greeted.
    max_body: AtomicU32,
}

impl BlockingChannel {
    /// Connects to a server, with default settings, and waits until it has greeted. See [`ChannelBuilder::connect_blocking`].
    ///
    /// # Errors
    ///
    /// [`ConnectError`] says who is at fault: the address, nobody there, a stranger there, or another version.
    pub fn connect<A>(address: A) -> Result<Self, ConnectError>
    where
        A: TryInto<Address>,
        A::Error: Into<AddressError>,
    {
        Self::builder().connect_blocking(address)
    }

    /// Begins the configuration of a channel.
    pub fn builder() -> ChannelBuilder {
        ChannelBuilder::new()
    }

    /// Where the server is.
    pub fn address(&self) -> &Address {
        &self.0.address
    }

    pub(crate) fn open(address: Address, settings: Settings) -> Result<Self, ConnectError> {
        let keep_alive = settings
            .keep_alive
            .map(|interval| Arc::new(KeepAlive::new(interval, settings.keep_alive_timeout)));
        let inner = Inner {
            peer: address.to_string(),
            address,
            settings,
            link: Link::default(),
            keep_alive,
            max_body: AtomicU32::new(0),
        };
        let shared = inner.dial(None)?;
        inner.link.begin(shared);
        Ok(Self(Arc::new(inner)))
    }
}

impl Inner {
    /// Makes a connection, until `deadline` at most.
    pub(super) fn dial(&self, deadline: Option<Instant>) -> Result<Arc<Shared>, ConnectError> {
        let shared = Shared::connect(&self.address, &self.settings, self.keep_alive.clone(), deadline)?;
        self.max_body.store(shared.max_body(), Ordering::Relaxed);
        Ok(Arc::new(shared))
    }
}

impl Caller for BlockingChannel {
    type Pending = BlockingCall;

    fn frame(&self) -> FrameBuf {
        frame_pool::take()
    }

    fn max_body(&self) -> usize {
        usize::try_from(self.0.max_body.load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    fn start(&self, call: OutgoingCall) -> BlockingCall {
        BlockingCall::new(self.clone(), call)
    }

    fn into_start(self, call: OutgoingCall) -> BlockingCall {
        BlockingCall::new(self, call)
    }

    fn peer(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0.peer)
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.0.settings.call_timeout
    }
}

impl fmt::Debug for BlockingChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingChannel")
            .field("address", &self.0.address)
            .finish_non_exhaustive()
    }
}
