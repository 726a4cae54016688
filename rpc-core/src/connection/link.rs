//! Link: what both roles share. Prefaces, frames that are about the connection, goaway, the end.

use std::time::Instant;

use bytes::Buf;

use crate::buffer::Frame;
use crate::code::Code;
use crate::connection::body::{cut_text, read_text};
use crate::error::{ConnectionError, HandshakeError, ProtocolError};
use crate::header::{Flags, FrameHeader, Kind};
use crate::id::CallId;
use crate::limits::Limits;
use crate::preface::{PREFACE_LEN, Preface, Side};
use crate::reassembly::{Inbox, Received};
use crate::send_queue::SendQueue;

/// One end of a connection, without calls.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) recv: Inbox,
    pub(crate) send: SendQueue,
    pub(crate) limits: Limits,
    /// Call frames that the peer sent and this side took, refused ones included; stands still once a goaway was sent (P-51).
    pub(crate) taken: u64,
    side: Side,
    greeting: Greeting,
    input: Input,
    goaway_sent: bool,
    /// The number of calls taken in the peer's last goaway.
    goaway_received: Option<u64>,
    /// The number of a ping that waits for its pong.
    ping: Option<u32>,
    /// An error that was found ahead of the events that come before it.
    pending_error: Option<ConnectionError>,
    closed: bool,
}

/// How far the peer's preface has come.
#[derive(Debug)]
enum Greeting {
    /// The magic is not complete: a server has sent nothing.
    Magic {
        until: Instant,
        timed_out: bool,
    },
    /// The magic is there and answered.
    Preface {
        until: Instant,
        timed_out: bool,
    },
    Done(Preface),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    Open,
    /// The peer has ended its direction; what has arrived is being read.
    Ended,
    /// All has been read, and the owner knows.
    Drained,
}

/// What a role has to deal with.
#[derive(Debug)]
pub(crate) enum Incoming {
    Greeted,
    /// A frame about a call that the peer's side may send, without flags that were not offered.
    Frame(Frame),
    Goaway {
        code: Code,
        taken: u64,
        text: String,
    },
    Pong(u32),
    /// Nothing follows; the stream ended behind a whole frame.
    Ended,
}

impl Link {
    pub(crate) fn new(side: Side, limits: Limits, now: Instant) -> Self {
        debug_assert!(limits.check().is_ok(), "{limits:?}");
        // A timeout beyond what the clock can count is as good as none: half a century.
        let until = now.checked_add(limits.handshake_timeout).unwrap_or(now + FOREVER);
        let mut link = Self {
            recv: Inbox::new(),
            send: SendQueue::new(),
            limits,
            taken: 0,
            side,
            greeting: Greeting::Magic {
                until,
                timed_out: false,
            },
            input: Input::Open,
            goaway_sent: false,
            goaway_received: None,
            ping: None,
            pending_error: None,
            closed: false,
        };
        if side == Side::Client {
            link.send_preface();
        }
        link
    }

    /// The peer's preface, once it has arrived.
    pub(crate) fn peer(&self) -> Option<&Preface> {
        match &self.greeting {
            Greeting::Done(preface) => Some(preface),
            Greeting::Magic { .. } | Greeting::Preface { .. } => None,
        }
    }

    /// The longest body that may be sent to the peer.
    pub(crate) fn body_limit(&self) -> u32 {
        self.peer().map_or(Limits::GUARANTEED_BODY, Preface::body_limit)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a goaway has passed in either direction: no new calls.
    pub(crate) fn is_draining(&self) -> bool {
        self.goaway_sent || self.goaway_received.is_some()
    }

    pub(crate) fn is_goaway_sent(&self) -> bool {
        self.goaway_sent
    }

    /// Whether the peer has ended its direction and all of it was read.
    pub(crate) fn is_drained(&self) -> bool {
        self.input == Input::Drained
    }

    /// Whether more bytes of the peer are of use.
    pub(crate) fn wants_read(&self) -> bool {
        !self.closed && self.input == Input::Open
    }

    pub(crate) fn handle_eof(&mut self) {
        if self.input == Input::Open {
            self.input = Input::Ended;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.greeting {
            Greeting::Magic {
                until,
                timed_out: false,
            }
            | Greeting::Preface {
                until,
                timed_out: false,
            } => (!self.closed).then_some(*until),
            Greeting::Magic { .. } | Greeting::Preface { .. } | Greeting::Done(_) => None,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Greeting::Magic { until, timed_out } | Greeting::Preface { until, timed_out } =
            &mut self.greeting
        {
            *timed_out |= *until <= now;
        }
    }

    pub(crate) fn ping(&mut self, number: u32) {
        if !self.closed && self.is_preface_sent() {
            self.ping = Some(number);
            self.send.push_control(
                FrameHeader {
                    aux: number,
                    ..FrameHeader::new(Kind::Ping, CallId(0))
                },
                &[],
            );
        }
    }

    /// Queues a goaway. After any code but `ok` and `draining` nothing is sent behind it.
    pub(crate) fn goaway(&mut self, code: Code, text: &str) {
        if self.closed {
            return;
        }
        if !self.is_preface_sent() {
            // Nobody has greeted, so nothing is owed to anybody.
            self.closed = true;
            return;
        }
        let text = cut_text(text);
        let mut body = Vec::with_capacity(8 + text.len());
        body.extend_from_slice(&self.taken.to_be_bytes());
        body.extend_from_slice(text.as_bytes());
        let header = FrameHeader {
            aux: code.number(),
            ..FrameHeader::new(Kind::Goaway, CallId(0))
        };
        self.send.push_control(header, &body);
        self.goaway_sent = true;
        self.closed = !is_orderly(code);
    }

    /// Ends the connection for good and tells the peer, where the rules want that.
    pub(crate) fn fail(&mut self, error: ConnectionError) -> ConnectionError {
        let told = match &error {
            // P-02, P-07: a stranger gets no answer, and whoever has gone needs none.
            ConnectionError::Handshake(HandshakeError::NotRpc { .. } | HandshakeError::Truncated { .. })
            | ConnectionError::Goaway { .. } => None,
            // P-03, P-04, P-07: the server says why, the client closes.
            ConnectionError::Handshake(
                cause @ (HandshakeError::Feature { .. }
                | HandshakeError::Format { .. }
                | HandshakeError::Timeout { .. }
                | HandshakeError::Version { .. }),
            ) => (self.side == Side::Server).then(|| cause.to_string()),
            ConnectionError::Handshake(
                cause @ (HandshakeError::Limit { .. } | HandshakeError::ReservedNotZero { .. }),
            ) => Some(cause.to_string()),
            ConnectionError::Decode(cause) => Some(cause.to_string()),
            ConnectionError::Protocol(cause) => Some(cause.to_string()),
            ConnectionError::Truncated { .. } => Some(error.to_string()),
        };
        if let Some(text) = told {
            self.goaway(error.code(), &text);
        }
        self.closed = true;
        error
    }

    /// The next thing for the role, after what the link deals with by itself. Errors are final.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, ConnectionError> {
        if self.closed {
            return Ok(None);
        }
        self.try_next().map_err(|error| self.fail(error))
    }

    fn try_next(&mut self) -> Result<Option<Incoming>, ConnectionError> {
        if let Some(error) = self.pending_error.take() {
            return Err(error);
        }
        if self.peer().is_none() {
            return self.greet();
        }
        while let Some(received) = self.recv.next(self.limits.max_body)? {
            let frame = match received {
                Received::Frame(frame) => frame,
                // P-20: nothing that may be chunked is taken here, so no body is ever begun.
                Received::Body { call, .. }
                | Received::Stray(FrameHeader { call, .. })
                | Received::Misfit {
                    header: FrameHeader { call, .. },
                    ..
                } => {
                    let kind = Kind::Chunk;
                    return Err(ProtocolError::Chunked { kind, call }.into());
                }
            };
            if let Some(incoming) = self.receive(frame)? {
                return Ok(Some(incoming));
            }
        }
        match self.input {
            Input::Open | Input::Drained => Ok(None),
            Input::Ended if self.recv.received() == 0 => {
                self.input = Input::Drained;
                Ok(Some(Incoming::Ended))
            }
            // P-17
            Input::Ended => {
                let (received, expected) = (self.recv.received(), self.recv.expected());
                Err(ConnectionError::Truncated { received, expected })
            }
        }
    }

    fn greet(&mut self) -> Result<Option<Incoming>, ConnectionError> {
        let bytes = self.recv.unread();
        if let Greeting::Magic { until, timed_out } = self.greeting
            && Preface::starts(bytes)?
        {
            self.greeting = Greeting::Preface { until, timed_out };
            if self.side == Side::Server {
                self.send_preface();
            }
        }
        let bytes = self.recv.unread();
        if let Some(preface) = bytes.first_chunk::<PREFACE_LEN>() {
            let preface = Preface::decode(preface, self.side.peer())?;
            self.recv.consume(PREFACE_LEN);
            self.greeting = Greeting::Done(preface);
            return Ok(Some(Incoming::Greeted));
        }
        let received = bytes.len();
        match (self.input, &self.greeting) {
            // A client that goes before it has said anything: a probe of the port.
            (Input::Ended, _) if received == 0 && self.side == Side::Server => {
                self.input = Input::Drained;
                Ok(Some(Incoming::Ended))
            }
            (Input::Ended, _) => Err(HandshakeError::Truncated { received }.into()),
            (_, Greeting::Magic { timed_out: true, .. } | Greeting::Preface { timed_out: true, .. }) => {
                Err(HandshakeError::Timeout { received }.into())
            }
            (Input::Open | Input::Drained, _) => Ok(None),
        }
    }

    /// One frame: what is about the connection is dealt with here, what is about a call goes to the role.
    fn receive(&mut self, frame: Frame) -> Result<Option<Incoming>, ConnectionError> {
        let FrameHeader {
            kind,
            flags,
            channel,
            call,
            aux,
            ..
        } = frame.header;
        match (kind, self.side) {
            (Kind::Ping, _) => {
                self.send.push_control(
                    FrameHeader {
                        aux,
                        ..FrameHeader::new(Kind::Pong, CallId(0))
                    },
                    &[],
                );
                Ok(None)
            }
            (Kind::Pong, _) => Ok(self.ping.take_if(|number| *number == aux).map(Incoming::Pong)),
            (Kind::Goaway, _) => self.receive_goaway(frame).map(Some),
            (Kind::Extension(_), _) => Ok(None),
            (Kind::Chunk, _) => Err(ProtocolError::Chunked { kind, call }.into()),
            // P-33: no method has channels.
            (Kind::Item | Kind::End | Kind::Credit, _) => {
                Err(ProtocolError::NoSuchChannel { kind, call, channel }.into())
            }
            (Kind::Call | Kind::Cancel, Side::Client) | (Kind::Reply | Kind::Failure, Side::Server) => {
                Err(ProtocolError::WrongDirection { kind }.into())
            }
            (Kind::Call | Kind::Cancel, Side::Server) | (Kind::Reply | Kind::Failure, Side::Client) => {
                if flags.contains(Flags::CHUNKED) {
                    return Err(ProtocolError::Chunked { kind, call }.into());
                }
                if flags.contains(Flags::DESCRIPTORS) {
                    return Err(ProtocolError::DescriptorsNotOffered { call }.into());
                }
                Ok(Some(Incoming::Frame(frame)))
            }
        }
    }

    /// P-51
    fn receive_goaway(&mut self, frame: Frame) -> Result<Incoming, ConnectionError> {
        let code = Code::from_number(frame.header.aux);
        let mut body = frame.body;
        let taken = body.try_get_u64().unwrap_or_default();
        let text = read_text(&body);
        match self.goaway_received {
            Some(before) if taken > before => {
                return Err(ProtocolError::GoawayRaised { taken, before }.into());
            }
            Some(_) | None => self.goaway_received = Some(taken),
        }
        if !is_orderly(code) {
            self.pending_error = Some(ConnectionError::Goaway {
                code,
                text: text.clone(),
            });
        }
        Ok(Incoming::Goaway { code, taken, text })
    }

    fn send_preface(&mut self) {
        self.send
            .push_bytes(&Preface::new(self.side, &self.limits).encode());
    }

    fn is_preface_sent(&self) -> bool {
        self.send.enqueued() > 0
    }
}

/// Whether a goaway of that code lets calls in flight finish (P-51).
fn is_orderly(code: Code) -> bool {
    code == Code::OK || code == Code::DRAINING
}

/// Longer than any connection, and within what every clock can count.
const FOREVER: std::time::Duration = std::time::Duration::from_secs(50 * 365 * 24 * 3600);

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Instant;

    /// An instant to count from. Tests compare instants with it and never with the clock.
    #[expect(clippy::disallowed_methods, reason = "there is no other way to an instant")]
    pub(crate) fn instant() -> Instant {
        Instant::now()
    }
}
