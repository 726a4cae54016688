//! Trace context: which trace a call belongs to, as W3C Trace Context carries it, and the spans of both sides.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};

use crate::metadata::Metadata;
#[cfg(feature = "tracing")]
use crate::service::MethodDescriptor;

/// The metadata key of the trace context.
pub const TRACEPARENT: &str = "traceparent";

/// The place of a call in a trace: the value of `traceparent` (W3C Trace Context, version 00).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace: u128,
    span: u64,
    flags: u8,
}

impl TraceContext {
    /// The beginning of a trace, to be recorded.
    pub fn root() -> Self {
        let trace = (u128::from(random()) << 64) | u128::from(random());
        Self {
            trace,
            span: random(),
            flags: 1,
        }
    }

    /// A step below this one in the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self {
            span: random(),
            ..self
        }
    }

    /// Reads the value of `traceparent`. None if it is malformed: then a trace begins anew, as the specification wants.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let version = hex(parts.next()?, 2)?;
        let trace = hex(parts.next()?, 32)?;
        let span = hex(parts.next()?, 16)?;
        let flags = hex(parts.next()?, 2)?;
        let is_whole = parts.next().is_none() || version > 0;
        if version == 0xff || trace == 0 || span == 0 || !is_whole {
            return None;
        }
        Some(Self {
            trace,
            span: u64::try_from(span).ok()?,
            flags: u8::try_from(flags).ok()?,
        })
    }

    /// The context that came with a call.
    pub fn of(metadata: &Metadata) -> Option<Self> {
        Self::parse(metadata.get_str(TRACEPARENT)?)
    }

    /// The id of the trace: 32 hexadecimal digits on the wire.
    pub const fn trace_id(&self) -> u128 {
        self.trace
    }

    /// The id of the step: 16 hexadecimal digits on the wire.
    pub const fn span_id(&self) -> u64 {
        self.span
    }

    /// Whether the caller records the trace.
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceContext {
    /// The value of `traceparent`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

/// Lower-case digits only, as many as there have to be.
fn hex(text: &str, len: usize) -> Option<u128> {
    let is_hex = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (text.len() == len && is_hex).then(|| u128::from_str_radix(text, 16).ok())?
}

/// A number that is different each time, and never zero. The standard library seeds its hash tables from the operating system.
fn random() -> u64 {
    RandomState::new().build_hasher().finish().max(1)
}

/// The span of a call on its caller's side.
#[cfg(feature = "tracing")]
pub(crate) fn caller_span(method: &MethodDescriptor, trace: TraceContext) -> tracing::Span {
    tracing::info_span!(
        "rpc call",
        otel.kind = "client",
        rpc.service = method.service,
        rpc.method = method.name,
        trace_id = %format_args!("{:032x}", trace.trace),
        span_id = %format_args!("{:016x}", trace.span),
        outcome = tracing::field::Empty,
    )
}

/// The span of a call on its handler's side, below the caller's.
#[cfg(feature = "tracing")]
pub(crate) fn handler_span(
    method: &MethodDescriptor,
    peer: &crate::context::Peer,
    parent: Option<TraceContext>,
    trace: TraceContext,
) -> tracing::Span {
    let span = tracing::info_span!(
        "rpc handler",
        otel.kind = "server",
        rpc.service = method.service,
        rpc.method = method.name,
        peer = %peer.address,
        trace_id = %format_args!("{:032x}", trace.trace),
        span_id = %format_args!("{:016x}", trace.span),
        parent_id = tracing::field::Empty,
        outcome = tracing::field::Empty,
    );
    if let Some(parent) = parent {
        span.record(
            "parent_id",
            tracing::field::display(format_args!("{:016x}", parent.span)),
        );
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_read_as_it_was_written() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let context = TraceContext::parse(text).unwrap();
        assert_eq!(context.to_string(), text);
        assert_eq!(context.trace_id(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(
            (context.span_id(), context.is_sampled()),
            (0x00f0_67aa_0ba9_02b7, true)
        );
        let child = context.child();
        assert_eq!(child.trace_id(), context.trace_id());
        assert_ne!(child.span_id(), context.span_id());
        let root = TraceContext::root();
        assert_eq!(TraceContext::parse(&root.to_string()), Some(root));
    }

    #[test]
    fn what_the_specification_does_not_allow_is_no_context() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-+0f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
        let later = "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more";
        assert!(TraceContext::parse(later).is_some(), "a later version may add");
    }
}
