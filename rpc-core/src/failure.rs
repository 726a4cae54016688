//! Why a call did not return a value: the method's own error, or a failure of the call.

use std::convert::Infallible;
use std::fmt;

use crate::archive::ArchiveError;
use crate::code::Code;
use crate::encode::EncodeError;
use crate::metadata::Metadata;
use crate::schema;
use crate::service::MethodDescriptor;

/// The error of a call.
///
/// `E` is the error type of the method; for a method that does not return a `Result` it is [`Infallible`] and only
/// [`CallError::Failed`] can occur.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError<E = Infallible> {
    /// The method ran and returned its error.
    Method(E),
    /// The call failed: no answer of the method is known.
    Failed(CallFailure),
}

impl<E> CallError<E> {
    /// Whether the method may have run. `false` is certain: it did not, and calling again is safe.
    pub fn may_have_run(&self) -> bool {
        match self {
            Self::Method(_) => true,
            Self::Failed(failure) => failure.may_have_run(),
        }
    }

    /// The failure, if it is not the method's own error.
    pub fn failure(&self) -> Option<&CallFailure> {
        match self {
            Self::Method(_) => None,
            Self::Failed(failure) => Some(failure),
        }
    }
}

impl<E> From<CallFailure> for CallError<E> {
    fn from(failure: CallFailure) -> Self {
        Self::Failed(failure)
    }
}

impl<E: fmt::Display> fmt::Display for CallError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Method(error) => error.fmt(f),
            Self::Failed(failure) => failure.fmt(f),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for CallError<E> {}

/// What kind of failure ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// The call was cancelled: by its server, or because its client was closed.
    Cancelled,
    /// The connection broke after the call had left.
    ConnectionLost,
    /// The time ran out, at either end.
    DeadlineExceeded,
    /// The arguments were refused by the server as no valid archive.
    InvalidArguments,
    /// The reply is no valid archive, or broke the protocol.
    InvalidReply,
    /// A limit of this side: the arguments cannot be sent as they are.
    LocalLimit,
    /// The call never left this side: no connection.
    NotSent,
    /// The server refused the call and guarantees that the method did not run: saturated or shutting down.
    Refused,
    /// The server has a method of this name with another signature.
    SchemaMismatch,
    /// The handler panicked, or its reply could not be sent.
    ServerFailed,
    /// The server has no method of this name.
    UnknownMethod,
    /// A failure with a code that this build does not know.
    Other,
}

/// A failure of a call, as distinct from an error that the method returned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure(Box<Details>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Details {
    kind: FailureKind,
    may_have_run: bool,
    code: Option<Code>,
    /// `Service.method`, or empty while unknown.
    method: String,
    text: String,
    metadata: Metadata,
}

impl CallFailure {
    /// A failure that was found on this side.
    pub fn local(kind: FailureKind, may_have_run: bool, text: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind,
            may_have_run,
            code: None,
            method: String::new(),
            text: text.into(),
            metadata: Metadata::default(),
        }))
    }

    /// A failure that the server sent.
    pub fn from_peer(code: Code, text: impl Into<String>) -> Self {
        let kind = match code {
            Code::CANCELLED => FailureKind::Cancelled,
            Code::DEADLINE | Code::EXPIRED => FailureKind::DeadlineExceeded,
            Code::INVALID_ARCHIVE => FailureKind::InvalidArguments,
            Code::REFUSED | Code::DRAINING | Code::METADATA_TOO_LARGE => FailureKind::Refused,
            Code::SCHEMA_MISMATCH => FailureKind::SchemaMismatch,
            Code::INTERNAL | Code::REPLY_TOO_LARGE => FailureKind::ServerFailed,
            Code::UNKNOWN_METHOD => FailureKind::UnknownMethod,
            _ => FailureKind::Other,
        };
        let text = text.into();
        Self(Box::new(Details {
            kind,
            may_have_run: code.may_have_run(),
            code: Some(code),
            method: String::new(),
            text,
            metadata: Metadata::default(),
        }))
    }

    /// Adds which method was called; for a mismatch, sets both signatures side by side.
    #[must_use]
    pub fn of_method(mut self, method: &MethodDescriptor) -> Self {
        let details = &mut *self.0;
        details.method = format!("{}.{}", method.service, method.name);
        if details.kind == FailureKind::SchemaMismatch {
            let wanted = format!("{}(", details.method);
            // The server lists what shares 16 bits of hash: drop what only does so by accident.
            let theirs = details
                .text
                .split("\n\n")
                .filter(|candidate| candidate.starts_with(&wanted));
            details.text = theirs
                .map(|theirs| schema::compare(&method.signature, theirs))
                .collect::<Vec<_>>()
                .join("\n");
            if details.text.is_empty() {
                details.kind = FailureKind::UnknownMethod;
            }
        }
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> FailureKind {
        self.0.kind
    }

    /// Whether the method may have run. `false` is certain: it did not, and calling again is safe.
    pub fn may_have_run(&self) -> bool {
        self.0.may_have_run
    }

    /// The code that the server sent, if the failure came from there.
    pub fn code(&self) -> Option<Code> {
        self.0.code
    }

    /// Adds the metadata that came with the failure.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Metadata) -> Self {
        self.0.metadata = metadata;
        self
    }

    /// The metadata that the server sent with the failure.
    pub fn metadata(&self) -> &Metadata {
        &self.0.metadata
    }

    /// The cause in words, for people: texts may change.
    pub fn text(&self) -> &str {
        &self.0.text
    }
}

impl From<ArchiveError> for CallFailure {
    fn from(error: ArchiveError) -> Self {
        Self::local(FailureKind::InvalidReply, true, error.to_string())
    }
}

impl From<EncodeError> for CallFailure {
    fn from(error: EncodeError) -> Self {
        Self::local(FailureKind::LocalLimit, false, error.to_string())
    }
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Details {
            kind,
            may_have_run,
            method,
            text,
            code,
            metadata: _,
        } = &*self.0;
        if !method.is_empty() {
            write!(f, "{method}: ")?;
        }
        f.write_str(match kind {
            FailureKind::Cancelled => "cancelled",
            FailureKind::ConnectionLost => "connection lost",
            FailureKind::DeadlineExceeded => "deadline exceeded",
            FailureKind::InvalidArguments => "server refused the arguments",
            FailureKind::InvalidReply => "invalid reply",
            FailureKind::LocalLimit => "not sent",
            FailureKind::NotSent => "not sent",
            FailureKind::Refused => "refused by the server",
            FailureKind::SchemaMismatch => "client and server disagree about the method",
            FailureKind::ServerFailed => "server failed",
            FailureKind::UnknownMethod => "server has no such method",
            FailureKind::Other => "failed",
        })?;
        match (text.as_str(), code) {
            ("", Some(code)) if *kind == FailureKind::Other => write!(f, ": {code}")?,
            ("", _) => {}
            (text, _) if *kind == FailureKind::SchemaMismatch => write!(f, "\n{text}")?,
            (text, _) => write!(f, ": {text}")?,
        }
        if *kind != FailureKind::SchemaMismatch {
            f.write_str(if *may_have_run {
                " (the method may have run)"
            } else {
                " (the method did not run)"
            })?;
        }
        Ok(())
    }
}

impl std::error::Error for CallFailure {}
