//! The caller's side of a call with channels: made with its ends, then opened.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::call_channels::CallChannels;
use super::inbound::Inbound;
use super::outbound::Outbound;
use super::receiver::Receiver;
use super::sender::{Sender, SenderSide};
use crate::blocking::block_on;
use crate::call::{Call, Caller, DetailedCall, MethodError, OwnedCall, Reply};
use crate::encode::Encoder;
use crate::failure::CallError;
use crate::metadata::Metadata;
use crate::service::MethodDescriptor;
use crate::wire::Wire;

/// A call with channels under construction. Generated clients use it.
#[derive(Debug)]
pub struct Opening<'a, C> {
    caller: &'a C,
    method: &'static MethodDescriptor,
    outbound: Vec<Arc<Outbound>>,
    inbound: Vec<Arc<Inbound>>,
}

impl<'a, C: Caller> Opening<'a, C> {
    /// Begins a call of a method.
    pub fn new(caller: &'a C, method: &'static MethodDescriptor) -> Self {
        Self {
            caller,
            method,
            outbound: Vec::new(),
            inbound: Vec::new(),
        }
    }

    /// The caller's end for the next parameter that is a `Receiver`.
    pub fn sender<T: Wire>(&mut self) -> Sender<T> {
        let channel = Arc::new(Outbound::new());
        self.outbound.push(Arc::clone(&channel));
        Sender::new(channel, SenderSide::Caller)
    }

    /// The caller's end for the next parameter that is a `Sender`.
    pub fn receiver<T: Wire>(&mut self) -> Receiver<T> {
        let channel = Arc::new(Inbound::new());
        self.inbound.push(Arc::clone(&channel));
        Receiver::new(channel)
    }

    /// Completes the call with its arguments.
    pub fn call<A, Ends, T: Wire, E>(self, arguments: &A, ends: Ends) -> StreamCall<C, Ends, T, E>
    where
        A: for<'e> rkyv::Serialize<Encoder<'e>>,
    {
        let channels = Arc::new(CallChannels::new(self.outbound, self.inbound));
        StreamCall {
            call: Call::with_channels(self.caller, self.method, arguments, channels),
            ends,
        }
    }
}

/// A call with channels that waits to be opened.
///
/// ```
/// # use rpc_core::{service, Caller, Sender, Receiver};
/// #[service]
/// pub trait Directory {
///     async fn scan(&self, prefix: &str, names: Sender<String>) -> u64;
/// }
///
/// # async fn example<C: Caller>(directory: DirectoryClient<C>) -> Result<(), Box<dyn std::error::Error>> {
/// let (mut names, scan) = directory.scan("a").open().await?;
/// while let Some(name) = names.recv().await? {
///     println!("{}", name.as_str()); // read where it was received
/// }
/// println!("{} in all", *scan.await?);
/// # Ok(())
/// # }
/// ```
#[must_use = "a call does nothing until it is opened"]
pub struct StreamCall<C: Caller, Ends, T: Wire, E = Infallible> {
    call: Call<C, T, E>,
    ends: Ends,
}

impl<C: Caller, Ends: ChannelEnds, T: Wire, E: MethodError> StreamCall<C, Ends, T, E> {
    /// Sets how long the call may take, streams included, counted from when it is opened.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call = self.call.timeout(timeout);
        self
    }

    /// Sets when the call has to be over, streams included.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.call = self.call.deadline(deadline);
        self
    }

    /// Sets the metadata that is sent with the call.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.call = self.call.metadata(metadata);
        self
    }

    /// Sends the call. Then its channels are there, in the order of the method's parameters, and behind them the call itself, which is a future of what the method
    /// returns. They can be moved to different tasks; none has to be polled for another to go on.
    ///
    /// # Errors
    ///
    /// [`CallError`] if the call could not be sent. What fails later is told by the channels and by the call.
    ///
    /// # Cancellation
    ///
    /// Dropping the call, before or after, cancels it: the handler stops, and every channel ends with an error.
    pub async fn open(self) -> Result<Ends::Opened<RunningCall<C, T, E>>, CallError<E>> {
        let Self { mut call, ends } = self;
        std::future::poll_fn(|cx| call.poll_open(cx)).await?;
        Ok(ends.with(RunningCall(call)))
    }

    /// Does what [`open`](Self::open) does, blocking the thread: for programs without a runtime, and with the care of [`Call::wait`]. The caller has to be one that is driven
    /// elsewhere, such as a channel in the runtime of other threads.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    #[expect(clippy::type_complexity, reason = "it is the type of `open`")]
    pub fn blocking_open(self) -> Result<Ends::Opened<RunningCall<C, T, E>>, CallError<E>> {
        let Self { mut call, ends } = self;
        block_on(|cx| call.poll_open(cx))?;
        Ok(ends.with(RunningCall(call)))
    }
}

impl<C: Caller, Ends, T: Wire, E> fmt::Debug for StreamCall<C, Ends, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.call.fmt(f)
    }
}

/// A call with channels that was opened: a future of what its method returns.
///
/// # Cancellation
///
/// Dropping it cancels the call.
#[must_use = "dropping a call cancels it; await it for what the method returns"]
pub struct RunningCall<C: Caller, T: Wire, E = Infallible>(Call<C, T, E>);

impl<C: Caller, T: Wire, E> RunningCall<C, T, E> {
    /// Makes the call return an owned value instead of a reply that is read in place.
    pub fn owned(self) -> OwnedCall<C, T, E> {
        self.0.owned()
    }

    /// Makes the call return the metadata of the answer as well, also that of an error.
    pub fn detailed(self) -> DetailedCall<C, T, E> {
        self.0.detailed()
    }
}

impl<C: Caller, T: Wire, E: MethodError> RunningCall<C, T, E> {
    /// Blocks the thread until the call has ended. See [`Call::wait`].
    ///
    /// # Errors
    ///
    /// As the call itself.
    pub fn wait(self) -> Result<Reply<T>, CallError<E>> {
        self.0.wait()
    }
}

impl<C: Caller, T: Wire, E: MethodError> Future for RunningCall<C, T, E> {
    type Output = Result<Reply<T>, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<C: Caller, T: Wire, E> fmt::Debug for RunningCall<C, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The caller's ends of the channels of a method, to which the call itself is added when it is opened.
pub trait ChannelEnds {
    /// The ends, and the call behind them.
    type Opened<R>;

    /// Adds the call.
    fn with<R>(self, call: R) -> Self::Opened<R>;
}

macro_rules! ends {
    ($($name:ident)*) => {
        impl<$($name),*> ChannelEnds for ($($name,)*) {
            type Opened<R> = ($($name,)* R);

            #[allow(non_snake_case, reason = "a variable per type")]
            fn with<R>(self, call: R) -> Self::Opened<R> {
                let ($($name,)*) = self;
                ($($name,)* call)
            }
        }
    };
}

ends!(A);
ends!(A B);
ends!(A B D);
ends!(A B D F);
ends!(A B D F G);
ends!(A B D F G H);
ends!(A B D F G H I);
ends!(A B D F G H I J);
