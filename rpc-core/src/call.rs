//! Call: one call from the caller's side, a builder that is also a future.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::archive::{Archive, ArchiveError};
use crate::blocking::block_on;
use crate::context::inherited_deadline;
use crate::encode::{EncodeError, Encoder, encode};
use crate::extensions::Extensions;
use crate::failure::{CallError, CallFailure, FailureKind};
use crate::frame_buf::FrameBuf;
use crate::metadata::Metadata;
use crate::middleware::{ClientLayer, ClientMiddleware};
use crate::service::MethodDescriptor;
use crate::stream::CallChannels;
use crate::wire::{Archived, Wire};

/// The first bytes of a call's body: method, time left, length of the metadata (PROTOCOL.md section 3).
pub const CALL_PRELUDE_LEN: usize = 16;

/// By what calls are started: a connection to a server, or a service in the same process. Generated clients are generic over it.
pub trait Caller: Clone + Send + Sync + 'static {
    /// A call under way. Dropping it cancels the call.
    type Pending: Future<Output = Result<Answer, CallFailure>> + Send + Unpin;

    /// Memory for the frame of a call, used again where possible.
    fn frame(&self) -> FrameBuf {
        FrameBuf::new()
    }

    /// The longest call that can be sent, prelude included, in bytes.
    fn max_body(&self) -> usize;

    /// Starts a call.
    fn start(&self, call: OutgoingCall) -> Self::Pending;

    /// Does what [`start`](Self::start) does, for a handle that is not needed any more: it may become part of the call.
    fn into_start(self, call: OutgoingCall) -> Self::Pending {
        self.start(call)
    }

    /// Who is called, for people: the address of a server. Empty if it has none.
    fn peer(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    /// How long a call may take that says nothing about it.
    fn call_timeout(&self) -> Option<Duration> {
        None
    }

    /// Puts a middleware in front of this caller. See [`middleware`](crate::middleware).
    fn layer<M: ClientMiddleware>(self, middleware: M) -> ClientLayer<M, Self> {
        ClientLayer::new(middleware, self)
    }
}

/// A call on its way from a generated client to what starts it.
#[derive(Debug)]
#[non_exhaustive]
pub struct OutgoingCall {
    /// What is called.
    pub method: &'static MethodDescriptor,
    /// Space for the prelude, and then the arguments.
    pub frame: FrameBuf,
    /// What the caller said about it.
    pub options: CallOptions,
    /// What is sent besides the arguments.
    pub metadata: Metadata,
    /// The caller's side of its channels, if the method has some.
    pub channels: Option<Arc<CallChannels>>,
    /// What layers leave for those behind them. Nothing of it is sent.
    pub extensions: Extensions,
}

impl OutgoingCall {
    /// A call without metadata and channels.
    pub fn new(method: &'static MethodDescriptor, frame: FrameBuf, options: CallOptions) -> Self {
        Self {
            method,
            frame,
            options,
            metadata: Metadata::default(),
            channels: None,
            extensions: Extensions::default(),
        }
    }

    /// Length of the arguments and the metadata together, in bytes.
    pub fn len(&self) -> usize {
        self.frame.body_len().saturating_sub(CALL_PRELUDE_LEN) + self.metadata.encoded_len()
    }

    /// Whether the call has neither arguments nor metadata.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes a deadline of what the call says about its time, counted from `now`; `otherwise`, as a rule [`Caller::call_timeout`], if it says nothing. For middleware
    /// that makes calls wait or repeats them: the time does not begin anew when the call is passed on.
    pub fn fix_deadline(&mut self, now: Instant, otherwise: Option<Duration>) -> Option<Instant> {
        let mut options = self.options;
        if options.timeout.is_none() && options.deadline.is_none() {
            options.timeout = otherwise;
        }
        self.options.deadline = options.deadline_from(now);
        self.options.timeout = None;
        self.options.deadline
    }

    /// The same call once more, with its arguments copied; none if it has channels, which exist once.
    pub fn duplicate(&self) -> Option<Self> {
        self.duplicate_into(FrameBuf::new())
    }

    /// The same, with the arguments copied into memory that is there already.
    pub fn duplicate_into(&self, mut frame: FrameBuf) -> Option<Self> {
        if self.channels.is_some() {
            return None;
        }
        frame.copy_from(&self.frame);
        Some(Self {
            method: self.method,
            frame,
            options: self.options,
            metadata: self.metadata.clone(),
            channels: None,
            extensions: self.extensions.clone(),
        })
    }
}

/// What the caller may say about one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallOptions {
    /// How long it may take, from its start; counts besides `deadline`.
    pub timeout: Option<Duration>,
    /// When it has to be over.
    pub deadline: Option<Instant>,
}

impl CallOptions {
    /// The earlier of both, for a call that starts at `now`.
    pub fn deadline_from(&self, now: Instant) -> Option<Instant> {
        // A timeout beyond what the clock can count is none.
        let by_timeout = self.timeout.and_then(|timeout| now.checked_add(timeout));
        earlier(self.deadline, by_timeout)
    }
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Whether the archive is the method's error.
    pub error: bool,
    /// The archive.
    pub body: Bytes,
    /// What was sent besides.
    pub metadata: Metadata,
}

impl Answer {
    /// Length of the archive and the metadata together, in bytes.
    pub fn len(&self) -> usize {
        self.body.len() + self.metadata.encoded_len()
    }

    /// Whether there are neither: the answer to a one-way call.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A call that waits to be awaited.
///
/// Nothing is sent before the first poll. The arguments are archived when the call is made, so it borrows nothing: it can be moved to another task.
///
/// # Cancellation
///
/// Dropping the future after it was polled cancels the call: the server drops the handler's future, or tells the job on its worker pool.
#[must_use = "a call does nothing until it is awaited"]
pub struct Call<C: Caller, T: Wire, E = Infallible> {
    state: State<C>,
    method: &'static MethodDescriptor,
    options: CallOptions,
    metadata: Metadata,
    channels: Option<Arc<CallChannels>>,
    #[cfg(feature = "tracing")]
    span: Option<tracing::Span>,
    _types: PhantomData<fn() -> (T, E)>,
}

enum State<C: Caller> {
    /// Until it is polled. Taken out on its own: the state has room for a call under way, and is longer.
    Ready(Option<(C, Result<FrameBuf, EncodeError>)>),
    Running(C::Pending),
    /// Ended before its owner asked: a call with channels while it was opened, or one whose arguments could not be archived.
    Ended(Result<Answer, CallFailure>),
    Done,
}

impl<C: Caller, T: Wire, E> Call<C, T, E> {
    /// Makes a call. Generated clients do.
    pub fn new<A>(caller: &C, method: &'static MethodDescriptor, arguments: &A) -> Self
    where
        A: for<'a> rkyv::Serialize<Encoder<'a>>,
    {
        let mut frame = caller.frame();
        frame.extend(&[0; CALL_PRELUDE_LEN]);
        let encoded = encode(&mut frame, arguments, caller.max_body()).map(|()| frame);
        let options = CallOptions {
            timeout: method.timeout,
            deadline: None,
        };
        Self {
            state: State::Ready(Some((caller.clone(), encoded))),
            method,
            options,
            metadata: Metadata::default(),
            channels: None,
            #[cfg(feature = "tracing")]
            span: None,
            _types: PhantomData,
        }
    }

    pub(crate) fn with_channels<A>(
        caller: &C,
        method: &'static MethodDescriptor,
        arguments: &A,
        channels: Arc<CallChannels>,
    ) -> Self
    where
        A: for<'a> rkyv::Serialize<Encoder<'a>>,
    {
        Self {
            channels: Some(channels),
            ..Self::new(caller, method, arguments)
        }
    }

    /// Sets how long the call may take, counted from its first poll. The server stops the handler when the time is up.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = Some(timeout);
        self
    }

    /// Sets when the call has to be over.
    pub fn deadline(mut self, deadline: Instant) -> Self {
        self.options.deadline = Some(deadline);
        self
    }

    /// Sets the metadata that is sent with the call.
    pub fn metadata(mut self, metadata: Metadata) -> Self {
        self.metadata = metadata;
        self
    }

    /// Makes the call inherit from the one that a handler serves: its deadline, if that is earlier. Calls that a handler makes where it runs do so by themselves;
    /// this is for those that it makes in tasks of its own.
    pub fn within(mut self, context: &crate::context::Context) -> Self {
        self.options.deadline = earlier(self.options.deadline, context.deadline());
        self
    }

    /// Makes the call return the metadata of the answer as well, also that of an error.
    pub fn detailed(self) -> DetailedCall<C, T, E> {
        DetailedCall(self)
    }

    /// Makes the call return an owned value instead of a reply that is read in place.
    pub fn owned(self) -> OwnedCall<C, T, E> {
        OwnedCall(self)
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, CallFailure>> {
        #[cfg(feature = "tracing")]
        {
            let span = self.span.get_or_insert_with(|| {
                use crate::trace::{TRACEPARENT, TraceContext, caller_span};
                let own = TraceContext::of(&self.metadata);
                let trace = own.unwrap_or_else(|| {
                    let parent = crate::context::inherited_trace();
                    let trace = parent.map_or_else(TraceContext::root, TraceContext::child);
                    // Without room for it the call goes untraced rather than not at all.
                    let _ = self.metadata.set(TRACEPARENT, trace.to_string());
                    trace
                });
                caller_span(self.method, trace)
            });
            let span = span.clone();
            let polled = span.in_scope(|| self.poll_untraced(cx));
            match &polled {
                Poll::Ready(Ok(answer)) => {
                    span.record("outcome", if answer.error { "error" } else { "ok" });
                }
                Poll::Ready(Err(failure)) => {
                    span.record("outcome", tracing::field::display(failure));
                }
                Poll::Pending => {}
            }
            polled
        }
        #[cfg(not(feature = "tracing"))]
        self.poll_untraced(cx)
    }

    fn poll_untraced(&mut self, cx: &mut Context<'_>) -> Poll<Result<Answer, CallFailure>> {
        if let State::Ready(ready) = &mut self.state
            && let Some((caller, encoded)) = ready.take()
        {
            self.start(caller, encoded);
        }
        let poll = match &mut self.state {
            State::Running(pending) => Pin::new(pending).poll(cx),
            State::Ready(_) | State::Ended(_) | State::Done => Poll::Ready(self.ended()),
        };
        if poll.is_ready() {
            self.state = State::Done;
        }
        poll
    }

    fn start(&mut self, caller: C, encoded: Result<FrameBuf, EncodeError>) {
        let state = match encoded {
            Ok(frame) => {
                let mut options = self.options;
                options.deadline = earlier(options.deadline, inherited_deadline());
                State::Running(caller.into_start(OutgoingCall {
                    method: self.method,
                    frame,
                    options,
                    metadata: std::mem::take(&mut self.metadata),
                    channels: self.channels.clone(),
                    extensions: Extensions::default(),
                }))
            }
            Err(error) => State::Ended(Err(error.into())),
        };
        // `Ready(None)` has nothing to drop. Saying so lets the call under way be made where it stays.
        std::mem::forget(std::mem::replace(&mut self.state, state));
    }

    /// How a call ended that does not run.
    #[cold]
    fn ended(&mut self) -> Result<Answer, CallFailure> {
        match std::mem::replace(&mut self.state, State::Done) {
            State::Ended(answer) => answer,
            State::Ready(_) | State::Running(_) | State::Done => {
                let text = "call was polled after it had ended";
                Err(CallFailure::local(FailureKind::LocalLimit, true, text))
            }
        }
    }
}

impl<C: Caller, T: Wire, E: MethodError> Call<C, T, E> {
    /// Blocks the thread until the call has ended: for programs and threads without a runtime. It works with every caller; one that blocks anyway, as
    /// `rpc_client::blocking::BlockingChannel` does, makes the call on this very thread.
    ///
    /// Not for the threads of a runtime. All that a blocked one would run waits, and if the connection of the caller is among it, the call never ends. There, await the
    /// call, or wait for it in what the runtime has for work that blocks.
    ///
    /// ```
    /// # use rpc_core::{service, Caller};
    /// #[service]
    /// pub trait Greeter {
    ///     async fn greet(&self, name: &str) -> String;
    /// }
    ///
    /// # fn example<C: Caller>(greeter: GreeterClient<C>) -> Result<(), Box<dyn std::error::Error>> {
    /// let greeting = greeter.greet("world").wait()?;
    /// println!("{}", greeting.as_str()); // read where it was received
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As the call itself.
    pub fn wait(mut self) -> Result<Reply<T>, CallError<E>> {
        block_on(|cx| Pin::new(&mut self).poll(cx))
    }

    /// Goes on until the call was started or has failed before that.
    pub(crate) fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), CallError<E>>> {
        let answer = self.poll_answer(cx);
        let is_attached = self
            .channels
            .as_ref()
            .is_none_or(|channels| channels.is_attached());
        match answer {
            Poll::Ready(Err(failure)) if !is_attached => {
                Poll::Ready(Err(CallError::Failed(failure.of_method(self.method))))
            }
            Poll::Ready(answer) => {
                self.state = State::Ended(answer);
                Poll::Ready(Ok(()))
            }
            Poll::Pending if is_attached => Poll::Ready(Ok(())),
            Poll::Pending => Poll::Pending,
        }
    }

    fn read(&self, answer: Result<Answer, CallFailure>) -> Result<Reply<T>, CallError<E>> {
        let Answer {
            error,
            body,
            metadata,
        } = answer.map_err(|failure| self.failed(failure))?;
        if error {
            return Err(self.read_error(body));
        }
        let archive = Archive::validate(body).map_err(|invalid| self.failed(invalid.into()))?;
        Ok(Reply { archive, metadata })
    }

    #[cold]
    fn read_error(&self, body: Bytes) -> CallError<E> {
        E::read(body).map_or_else(|invalid| self.failed(invalid.into()), CallError::Method)
    }

    #[cold]
    fn failed(&self, failure: CallFailure) -> CallError<E> {
        CallError::Failed(failure.of_method(self.method))
    }
}

impl<C: Caller, T: Wire, E: MethodError> Future for Call<C, T, E> {
    type Output = Result<Reply<T>, CallError<E>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match this.poll_answer(cx) {
            Poll::Ready(answer) => Poll::Ready(this.read(answer)),
            Poll::Pending => Poll::Pending,
        }
    }
}

// The future holds no borrow of itself: `C::Pending` is `Unpin`, everything else is moved freely.
impl<C: Caller, T: Wire, E> Unpin for Call<C, T, E> {}

impl<C: Caller, T: Wire, E> fmt::Debug for Call<C, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("service", &self.method.service)
            .field("method", &self.method.name)
            .finish_non_exhaustive()
    }
}

/// The earlier of two deadlines.
fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// A call that returns the metadata of its answer besides the result. Made by [`Call::detailed`].
#[must_use = "a call does nothing until it is awaited"]
pub struct DetailedCall<C: Caller, T: Wire, E = Infallible>(Call<C, T, E>);

impl<C: Caller, T: Wire, E: MethodError> DetailedCall<C, T, E> {
    /// Blocks the thread until the call has ended. See [`Call::wait`].
    pub fn wait(mut self) -> (Result<Reply<T>, CallError<E>>, Metadata) {
        block_on(|cx| Pin::new(&mut self).poll(cx))
    }
}

impl<C: Caller, T: Wire, E: MethodError> Future for DetailedCall<C, T, E> {
    type Output = (Result<Reply<T>, CallError<E>>, Metadata);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(self.0.poll_answer(cx));
        let metadata = match &answer {
            Ok(answer) => answer.metadata.clone(),
            Err(failure) => failure.metadata().clone(),
        };
        Poll::Ready((self.0.read(answer), metadata))
    }
}

impl<C: Caller, T: Wire, E> fmt::Debug for DetailedCall<C, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A call that returns an owned value. Made by [`Call::owned`].
#[must_use = "a call does nothing until it is awaited"]
pub struct OwnedCall<C: Caller, T: Wire, E = Infallible>(Call<C, T, E>);

impl<C: Caller, T: Wire, E: MethodError> OwnedCall<C, T, E> {
    /// Blocks the thread until the call has ended. See [`Call::wait`].
    ///
    /// # Errors
    ///
    /// As the call itself.
    pub fn wait(mut self) -> Result<T, CallError<E>> {
        block_on(|cx| Pin::new(&mut self).poll(cx))
    }
}

impl<C: Caller, T: Wire, E: MethodError> Future for OwnedCall<C, T, E> {
    type Output = Result<T, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let method = self.0.method;
        let reply = ready!(Pin::new(&mut self.0).poll(cx))?;
        let value = reply
            .deserialize()
            .map_err(|error| CallFailure::from(error).of_method(method));
        Poll::Ready(value.map_err(CallError::Failed))
    }
}

impl<C: Caller, T: Wire, E> fmt::Debug for OwnedCall<C, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The error type of a method: a message, or [`Infallible`] for methods that do not return a `Result`.
pub trait MethodError: Sized {
    /// Reads the error from a reply's archive.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`] if the archive is not one of this type.
    fn read(body: Bytes) -> Result<Self, ArchiveError>;
}

impl<E: Wire> MethodError for E {
    fn read(body: Bytes) -> Result<Self, ArchiveError> {
        Archive::<E>::validate(body)?.deserialize()
    }
}

impl MethodError for Infallible {
    fn read(_: Bytes) -> Result<Self, ArchiveError> {
        Err(ArchiveError::Invalid)
    }
}

/// The value that a method returned, read in place: it owns the bytes that arrived and dereferences to the archived value.
///
/// ```
/// # fn show(reply: rpc_core::Reply<Vec<String>>) {
/// for name in reply.iter() {
///     let name: &str = name.as_str(); // points into the receive buffer
/// #   let _ = name;
/// }
/// # }
/// ```
pub struct Reply<T: Wire> {
    archive: Archive<T>,
    metadata: Metadata,
}

impl<T: Wire> Reply<T> {
    /// Copies the value into an owned one.
    ///
    /// # Errors
    ///
    /// See [`Archive::deserialize`].
    pub fn deserialize(&self) -> Result<T, ArchiveError> {
        self.archive.deserialize()
    }

    /// The valid archive.
    pub fn into_archive(self) -> Archive<T> {
        self.archive
    }

    /// What the handler sent besides the value.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The bytes of the archive.
    pub fn as_bytes(&self) -> &[u8] {
        self.archive.as_bytes()
    }
}

impl<T: Wire> Deref for Reply<T> {
    type Target = Archived<T>;

    #[inline]
    fn deref(&self) -> &Archived<T> {
        &self.archive
    }
}

impl<T: Wire> Clone for Reply<T> {
    fn clone(&self) -> Self {
        Self {
            archive: self.archive.clone(),
            metadata: self.metadata.clone(),
        }
    }
}

impl<T: Wire<Archived: fmt::Debug>> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.archive.fmt(f)
    }
}
