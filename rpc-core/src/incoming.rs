//! IncomingCall: one call on its way through a dispatcher, from validated arguments to an encoded answer.

use std::sync::Arc;

use bytes::Bytes;

use crate::archive::{ArchiveError, Decoder, access};
use crate::code::Code;
use crate::connection::write_metadata;
use crate::context::{CallControl, Context};
use crate::encode::{EncodeError, Encoder, encode};
use crate::frame_buf::FrameBuf;
use crate::job::Verdict;
pub use crate::job::{Job, Workers, WorkersFull};
use crate::metadata::Metadata;
use crate::stream::UserChannels;
use crate::wire::{Archived, Wire};

/// A call that has arrived: what a dispatcher works on.
#[derive(Debug)]
pub struct IncomingCall {
    /// Index of the method in its service's descriptor.
    pub method: usize,
    /// The archive of the arguments, not validated yet.
    pub arguments: Bytes,
    /// What the handler may know.
    pub context: Context,
    /// The handler's ends of the call's channels.
    pub channels: UserChannels,
    /// Memory for the answer.
    pub reply: FrameBuf,
    /// The longest answer that the caller accepts, in bytes.
    pub max_reply: usize,
}

impl IncomingCall {
    /// Length of the arguments and the metadata together, in bytes.
    pub fn len(&self) -> usize {
        self.arguments.len() + self.context.metadata().encoded_len()
    }

    /// Whether the call has neither arguments nor metadata.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Validates the arguments and returns them in place.
    ///
    /// # Errors
    ///
    /// [`ArchiveError`] if they are not an archive of `A`.
    pub fn arguments<A: Wire>(&self) -> Result<&Archived<A>, ArchiveError> {
        access::<A>(&self.arguments)
    }

    /// Deserialises one argument for a handler that takes it by value.
    ///
    /// # Errors
    ///
    /// See [`Archive::deserialize`](crate::Archive::deserialize).
    pub fn owned<T: Wire>(&self, archived: &Archived<T>) -> Result<T, ArchiveError> {
        Decoder::of::<T>(&self.arguments).read::<T>(archived)
    }

    /// Takes the memory for the answer out of the call, so that the arguments can stay borrowed while it is written.
    pub fn take_reply(&mut self) -> ReplyBuf {
        ReplyBuf {
            frame: std::mem::take(&mut self.reply),
            max_len: self.max_reply,
            control: Arc::clone(self.context.control()),
        }
    }

    /// Does the same for generated code, which keeps the call until it has answered.
    #[doc(hidden)]
    pub fn take_frame(&mut self) -> FrameBuf {
        std::mem::take(&mut self.reply)
    }

    /// See [`ReplyBuf::value`].
    #[doc(hidden)]
    pub fn value<V>(&self, frame: FrameBuf, value: &V) -> Completed
    where
        V: for<'a> rkyv::Serialize<Encoder<'a>>,
    {
        reply(frame, self.max_reply, self.context.control(), value, false)
    }

    /// See [`ReplyBuf::error`].
    #[doc(hidden)]
    pub fn error<V>(&self, frame: FrameBuf, error: &V) -> Completed
    where
        V: for<'a> rkyv::Serialize<Encoder<'a>>,
    {
        reply(frame, self.max_reply, self.context.control(), error, true)
    }

    /// See [`ReplyBuf::invalid`].
    #[doc(hidden)]
    pub fn invalid(&self, frame: FrameBuf, error: ArchiveError) -> Completed {
        fail(
            frame,
            self.context.control(),
            Code::INVALID_ARCHIVE,
            error.to_string(),
        )
    }

    /// Takes the handler's ends of the channels out of the call, so that the arguments can stay borrowed while they are used.
    pub fn take_channels(&mut self) -> UserChannels {
        std::mem::take(&mut self.channels)
    }

    /// Runs a blocking handler on the worker pool and waits for it.
    ///
    /// The job owns the call, and so the frame that its arguments borrow from. A full queue refuses at once; a job whose call has expired or was
    /// cancelled before its turn is not run.
    ///
    /// # Cancellation
    ///
    /// Dropping the future does not stop a job that runs: [`Context::is_cancelled`] tells it.
    pub async fn on_workers(mut self, handler: impl FnOnce(Self) -> Completed + Send + 'static) -> Completed {
        let control = Arc::clone(self.context.control());
        let (deadline, scope) = (self.context.deadline(), self.context.scope());
        control.move_to_worker();
        let run = move |verdict| match verdict {
            Verdict::Run => scope.run(|| handler(self)),
            Verdict::Expired => self
                .take_reply()
                .fail(Code::EXPIRED, "time ran out in the worker queue"),
            Verdict::Cancelled => self
                .take_reply()
                .fail(Code::CANCELLED, "cancelled in the worker queue"),
        };
        match control.workers().submit(Job::new(deadline, &control, run)) {
            Ok(()) => std::future::poll_fn(|cx| control.desk().poll(cx.waker())).await,
            Err(WorkersFull { limit }) => {
                // What the dropped job has left.
                control.desk().clear();
                Completed::failure(
                    Code::REFUSED,
                    format!("worker queue is full: {limit} jobs (worker_queue)"),
                )
            }
        }
    }
}

/// Memory for the answer to one call.
#[derive(Debug)]
pub struct ReplyBuf {
    frame: FrameBuf,
    max_len: usize,
    control: Arc<CallControl>,
}

impl ReplyBuf {
    /// Answers with a value.
    pub fn value<V>(self, value: &V) -> Completed
    where
        V: for<'a> rkyv::Serialize<Encoder<'a>>,
    {
        reply(self.frame, self.max_len, &self.control, value, false)
    }

    /// Answers with the method's own error.
    pub fn error<V>(self, error: &V) -> Completed
    where
        V: for<'a> rkyv::Serialize<Encoder<'a>>,
    {
        reply(self.frame, self.max_len, &self.control, error, true)
    }

    /// Answers that the arguments are no valid archive (P-37).
    pub fn invalid(self, error: ArchiveError) -> Completed {
        self.fail(Code::INVALID_ARCHIVE, error.to_string())
    }

    /// Answers that the dispatcher was handed a method that its service does not have: a mistake of the server, not of the peer.
    pub fn unknown_method(self) -> Completed {
        self.fail(Code::UNKNOWN_METHOD, "method index out of range")
    }

    /// Answers with a failure of the framework. So a middleware refuses a call: the code says to the caller whether the method may have run
    /// ([`Code::may_have_run`]), so it is [`Code::REFUSED`] for one that was not passed on.
    pub fn fail(self, code: Code, text: impl Into<String>) -> Completed {
        fail(self.frame, &self.control, code, text.into())
    }
}

/// Encodes what the method returned.
fn reply<V>(mut frame: FrameBuf, max_len: usize, control: &CallControl, value: &V, error: bool) -> Completed
where
    V: for<'a> rkyv::Serialize<Encoder<'a>>,
{
    let metadata = control.take_reply_metadata();
    if !metadata.is_empty() {
        write_metadata(&mut frame, &metadata);
    }
    let text = match encode(&mut frame, value, max_len) {
        Ok(()) => {
            let metadata = !metadata.is_empty();
            return Completed {
                frame,
                outcome: Outcome::Reply { error, metadata },
                metadata: Metadata::default(),
            };
        }
        Err(EncodeError::TooLarge { limit }) => {
            format!("reply exceeds the client's limit of {limit} bytes (max_body)")
        }
        Err(cause @ (EncodeError::TooDeep { .. } | EncodeError::Unencodable)) => cause.to_string(),
    };
    fail(frame, control, Code::REPLY_TOO_LARGE, text)
}

#[cold]
fn fail(mut frame: FrameBuf, control: &CallControl, code: Code, text: String) -> Completed {
    frame.clear();
    Completed {
        frame,
        outcome: Outcome::Failure(code, text),
        metadata: control.take_reply_metadata(),
    }
}

/// The answer to one call, ready to be sent.
#[derive(Debug)]
pub struct Completed {
    /// The archive for [`Outcome::Reply`]; else only memory to be used again.
    pub frame: FrameBuf,
    /// How the call ended.
    pub outcome: Outcome,
    /// What is sent with a failure; that of a reply is in its frame already.
    pub metadata: Metadata,
}

/// How a call ended at the server.
#[derive(Debug)]
pub enum Outcome {
    /// The method returned.
    Reply {
        /// Whether it returned its error.
        error: bool,
        /// Whether the frame begins with metadata.
        metadata: bool,
    },
    /// It did not, for this reason.
    Failure(Code, String),
}

impl Completed {
    /// A failure without memory to be used again.
    pub fn failure(code: Code, text: impl Into<String>) -> Self {
        Self {
            frame: FrameBuf::new(),
            outcome: Outcome::Failure(code, text.into()),
            metadata: Metadata::default(),
        }
    }

    /// How the call ended: [`Code::OK`] if the method returned, its value or its own error.
    pub fn code(&self) -> Code {
        match self.outcome {
            Outcome::Reply { .. } => Code::OK,
            Outcome::Failure(code, _) => code,
        }
    }

    /// Whether the call ended in anything but a value: in the method's own error, or in a failure.
    pub fn is_error(&self) -> bool {
        match self.outcome {
            Outcome::Reply { error, .. } => error,
            Outcome::Failure(..) => true,
        }
    }

    /// Length of the answer and its metadata, in bytes: of a failure, of its text.
    pub fn len(&self) -> usize {
        match &self.outcome {
            Outcome::Reply { .. } => self.frame.body_len(),
            Outcome::Failure(_, text) => text.len() + self.metadata.encoded_len(),
        }
    }

    /// Whether nothing is sent but how the call ended.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The handler panicked. What it has said about its answer goes with that.
    pub fn panicked(control: &CallControl) -> Self {
        Self {
            metadata: control.take_reply_metadata(),
            ..Self::failure(Code::INTERNAL, "handler panicked")
        }
    }
}
