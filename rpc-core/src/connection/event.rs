//! Events: everything a connection tells its owner.

use std::time::Instant;

use bytes::Bytes;

use crate::code::Code;
use crate::id::{CallId, MethodId};
use crate::metadata::Metadata;

/// What a server's connection tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServerEvent {
    /// The client's preface has arrived, and the two can talk.
    Greeted,
    /// A call. It is to be ended by exactly one [`reply`](crate::connection::ServerConnection::reply) or [`fail`](crate::connection::ServerConnection::fail).
    Call {
        /// Which call of the connection.
        call: CallId,
        /// Which method.
        method: MethodId,
        /// When the client stops waiting.
        deadline: Option<Instant>,
        /// Whether the client wants no answer; it is to be ended all the same.
        oneway: bool,
        /// What was sent besides the arguments.
        metadata: Metadata,
        /// Channels on which the client sends. [`open`](crate::connection::ServerConnection::open) the others, if the method has such.
        channels: u16,
        /// The archive of the arguments, 16-aligned, not validated.
        arguments: Bytes,
    },
    /// The client gave up the call: stop the handler, then fail the call with `cancelled`, or reply if it was quicker (P-32).
    Cancel(CallId),
    /// The client broke the rules of a channel, or the server has no memory for what it sends on one: stop the handler, then fail the call with this code.
    Breach {
        /// Which call.
        call: CallId,
        /// `stream_state`, `flow_control` or `internal`.
        code: Code,
        /// What is wrong.
        text: &'static str,
    },
    /// What happened on a channel of a running call.
    Channel(ChannelEvent),
    /// The deadline of a running call has passed: stop the handler, then fail the call with `deadline` (P-35).
    Expire(CallId),
    /// The client takes no more answers than it has coming; with any code but `ok` and `draining` an error follows.
    Goaway {
        /// Its code.
        code: Code,
        /// Its text, for people.
        text: String,
    },
    /// The answer to the last ping.
    Pong(u32),
    /// The client has sent all that it will. Answers are still owed to it (P-52).
    PeerFinished,
}

/// What the peer did on a channel of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelEvent {
    /// Which call.
    pub call: CallId,
    /// Which of its channels, counted among those on which the same side sends.
    pub channel: u16,
    /// What.
    pub what: ChannelSignal,
}

/// See [`ChannelEvent`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelSignal {
    /// Items on a channel on which the peer sends.
    Item {
        /// The body of the frame, 16-aligned, not validated.
        body: Bytes,
        /// Whether it is a run of items.
        packed: bool,
    },
    /// The peer has ended a channel on which it sends.
    End {
        /// `ok`, or why before its time.
        code: Code,
        /// What was sent besides.
        metadata: Metadata,
    },
    /// This side may send more on a channel.
    Credit(u32),
    /// The peer wants no more of a channel on which this side sends; the connection has ended it.
    Stop,
}

/// What a client's connection tells its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientEvent {
    /// The server's preface has arrived: its limits are in force.
    Greeted,
    /// The method returned.
    Reply {
        /// Which call.
        call: CallId,
        /// Whether the archive is the method's error.
        error: bool,
        /// What was sent besides the value.
        metadata: Metadata,
        /// The archive, 16-aligned, not validated.
        body: Bytes,
    },
    /// The call failed.
    Failure {
        /// Which call.
        call: CallId,
        /// Why.
        code: Code,
        /// The server's text, for people.
        text: String,
        /// What was sent besides.
        metadata: Metadata,
    },
    /// What happened on a channel of a call.
    Channel(ChannelEvent),
    /// The call's deadline has passed; the server was asked to stop it, if any of it was sent.
    Expired(CallId, Sent),
    /// The server's goaway did not take the call: it has not run, and will not.
    Refused(CallId),
    /// The slot of a call that was over for its owner before is free again.
    Released,
    /// The server takes no further calls. With any code but `ok` and `draining` an error follows.
    Goaway {
        /// Its code.
        code: Code,
        /// How many calls of this connection it has taken. One `Refused` follows for each waiting call beyond.
        taken: u64,
        /// Its text, for people.
        text: String,
    },
    /// The answer to the last ping.
    Pong(u32),
    /// The server has ended the connection behind a whole frame. Calls that still wait are not answered.
    PeerFinished,
}

/// Whether a call left this side before its connection was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Its frame was not written whole, so it has not run (P-17).
    NotSent,
    /// It may have run.
    MaybeSent,
}
