//! Link: what both roles share. Prefaces, frames that are about the connection, goaway, the end.

use std::time::Instant;

use bytes::{Buf, Bytes};

use crate::budget::{Cost, Patience};
use crate::code::Code;
use crate::connection::body::{cut_text, read_text, write_metadata};
use crate::error::{ConnectionError, HandshakeError, ProtocolError};
use crate::frame_buf::FrameBuf;
use crate::header::{Flags, FrameHeader, Kind};
use crate::id::CallId;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::preface::{PREFACE_LEN, Preface, Side};
use crate::reassembly::{Inbox, Received};
use crate::send_queue::SendQueue;

/// One end of a connection, without calls.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) recv: Inbox,
    pub(crate) send: SendQueue,
    pub(crate) limits: Limits,
    pub(crate) patience: Patience,
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
    /// The same of the ping behind an announced goaway.
    drain_ping: Option<u32>,
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
    /// The header of a frame about a call that the peer's side may send, without flags that were not offered. One that begins a chunked body says how
    /// long that is within the limits. The role takes the body.
    Frame(FrameHeader),
    Event(LinkEvent),
}

/// What has come that is no frame of a call.
#[derive(Debug)]
pub(crate) enum LinkEvent {
    Greeted,
    /// The body of a call that came in chunks is complete.
    Body {
        call: CallId,
        body: Bytes,
    },
    /// One that was discarded has come to its end.
    Dropped(CallId),
    Goaway {
        code: Code,
        taken: u64,
        text: String,
    },
    Pong(u32),
    /// Nothing follows; the stream ended behind a whole frame.
    Ended,
}

/// How much memory of long answers a client keeps for the next ones, besides that of the last.
const RECYCLED: usize = 8 << 20;

impl Link {
    pub(crate) fn new(side: Side, limits: Limits, now: Instant) -> Self {
        debug_assert!(limits.check().is_ok(), "{limits:?}");
        // A timeout beyond what the clock can count is as good as none: half a century.
        let until = now.checked_add(limits.handshake_timeout).unwrap_or(now + FOREVER);
        let mut link = Self {
            recv: match side {
                // Answers are the owner's business; what clients upload is not kept for each of them.
                Side::Client => Inbox::recycling(RECYCLED),
                Side::Server => Inbox::new(),
            },
            send: SendQueue::new(),
            limits,
            patience: Patience::new(now, limits.max_calls),
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
            drain_ping: None,
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

    /// Whether [`next`](Self::next) may find something before more bytes have come.
    pub(crate) fn may_have_more(&self) -> bool {
        let is_greeted = matches!(self.greeting, Greeting::Done(_));
        !is_greeted || self.pending_error.is_some() || self.input == Input::Ended || self.recv.may_have_more()
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

    /// Asks whether the peer has read what was sent before: an answer is [`Incoming::Pong`], whatever else is asked meanwhile.
    pub(crate) fn ping_behind_goaway(&mut self, number: u32) {
        self.drain_ping = Some(number);
        let header = FrameHeader {
            aux: number,
            ..FrameHeader::new(Kind::Ping, CallId(0))
        };
        self.send.push_control(header, &[]);
    }

    /// Ends a channel, behind what was sent on it.
    pub(crate) fn push_end(&mut self, call: CallId, channel: u16, code: Code, metadata: &Metadata) {
        let mut frame = FrameBuf::new();
        let mut header = FrameHeader {
            channel,
            aux: code.number(),
            ..FrameHeader::new(Kind::End, call)
        };
        if !metadata.is_empty() {
            header.flags = Flags::METADATA;
            write_metadata(&mut frame, metadata);
        }
        self.send.push(&mut frame, header);
    }

    /// Wants no more of a channel.
    pub(crate) fn push_stop(&mut self, call: CallId, channel: u16) {
        let header = FrameHeader {
            channel,
            ..FrameHeader::new(Kind::Stop, call)
        };
        self.send.push_control(header, &[]);
    }

    /// Likewise, behind what is being sent for the call.
    pub(crate) fn push_stop_behind(&mut self, call: CallId, channel: u16) {
        let header = FrameHeader {
            channel,
            ..FrameHeader::new(Kind::Stop, call)
        };
        self.send.push(&mut FrameBuf::new(), header);
    }

    /// Grants credit; nothing is not worth a frame.
    pub(crate) fn push_credit(&mut self, call: CallId, channel: u16, bytes: u32) {
        if bytes > 0 {
            let header = FrameHeader {
                channel,
                aux: bytes,
                ..FrameHeader::new(Kind::Credit, call)
            };
            self.send.push_control(header, &[]);
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
        self.push_goaway(code, self.taken, text);
        self.goaway_sent = true;
        self.closed = !is_orderly(code);
    }

    /// Queues a goaway that says only that there will be another one: calls that are on their way are still taken.
    pub(crate) fn announce_goaway(&mut self, code: Code, text: &str) {
        if !self.closed && self.is_preface_sent() && !self.goaway_sent {
            self.push_goaway(code, u64::MAX, text);
        }
    }

    fn push_goaway(&mut self, code: Code, taken: u64, text: &str) {
        let text = cut_text(text, Limits::MAX_TEXT);
        let mut body = Vec::with_capacity(8 + text.len());
        body.extend_from_slice(&taken.to_be_bytes());
        body.extend_from_slice(text.as_bytes());
        let header = FrameHeader {
            aux: code.number(),
            ..FrameHeader::new(Kind::Goaway, CallId(0))
        };
        self.send.push_control(header, &body);
    }

    /// Ends the connection for good and tells the peer, where the rules want that.
    #[cold]
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
            ConnectionError::Calm { .. } | ConnectionError::Truncated { .. } => Some(error.to_string()),
        };
        if let Some(text) = told {
            self.goaway(error.code(), &text);
        }
        self.closed = true;
        error
    }

    /// Charges what the peer costs without use.
    pub(crate) fn charge(&mut self, now: Instant, cost: Cost) -> Result<(), ConnectionError> {
        self.patience.charge(now, cost)
    }

    /// The next thing for the role, after what the link deals with by itself. Errors are final: the role lets the link [`fail`](Self::fail).
    pub(crate) fn next(&mut self, now: Instant) -> Result<Option<Incoming>, ConnectionError> {
        if self.closed {
            return Ok(None);
        }
        if self.pending_error.is_some() {
            return self.pending_error.take().map_or(Ok(None), Err);
        }
        if self.peer().is_none() {
            return Ok(self.greet()?.map(Incoming::Event));
        }
        loop {
            let header = match self.recv.next(self.limits.frame_limit())? {
                Some(Received::Frame(header)) => header,
                Some(Received::Body { call, body }) => {
                    return Ok(Some(Incoming::Event(LinkEvent::Body { call, body })));
                }
                Some(Received::Dropped { call }) => {
                    return Ok(Some(Incoming::Event(LinkEvent::Dropped(call))));
                }
                Some(Received::Stray(header) | Received::Misfit { header, .. }) => {
                    return Err(ProtocolError::ChunkUnexpected { call: header.call }.into());
                }
                None if self.input == Input::Ended => {
                    return self.end_of_input().map(|event| Some(Incoming::Event(event)));
                }
                None => return Ok(None),
            };
            let event = match header.kind {
                Kind::Ping => self.on_ping(&header, now)?,
                Kind::Pong => self.on_pong(&header),
                Kind::Goaway => self.on_goaway(&header)?,
                Kind::Extension(_) => self.on_extension(&header, now)?,
                Kind::Call
                | Kind::Reply
                | Kind::Failure
                | Kind::Item
                | Kind::End
                | Kind::Credit
                | Kind::Cancel
                | Kind::Chunk
                | Kind::Stop => {
                    self.check(&header)?;
                    return Ok(Some(Incoming::Frame(header)));
                }
            };
            if let Some(event) = event {
                return Ok(Some(Incoming::Event(event)));
            }
        }
    }

    /// What the end of the peer's bytes means, where no frame is left.
    fn end_of_input(&mut self) -> Result<LinkEvent, ConnectionError> {
        let (received, announced) = (self.recv.received(), self.recv.announced());
        if received == 0 && announced == 0 {
            self.input = Input::Drained;
            return Ok(LinkEvent::Ended);
        }
        // P-17: neither a frame nor a body that is incomplete will ever be complete.
        let (received, expected) = if received == 0 {
            let expected = usize::try_from(announced).unwrap_or(usize::MAX);
            (self.recv.arrived(), expected)
        } else {
            (received, self.recv.expected())
        };
        Err(ConnectionError::Truncated { received, expected })
    }

    fn greet(&mut self) -> Result<Option<LinkEvent>, ConnectionError> {
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
            self.send
                .set_limits(preface.max_frame, 2 * u64::from(preface.body_limit()));
            self.greeting = Greeting::Done(preface);
            return Ok(Some(LinkEvent::Greeted));
        }
        let received = bytes.len();
        match (self.input, &self.greeting) {
            // A client that goes before it has said anything: a probe of the port.
            (Input::Ended, _) if received == 0 && self.side == Side::Server => {
                self.input = Input::Drained;
                Ok(Some(LinkEvent::Ended))
            }
            (Input::Ended, _) => Err(HandshakeError::Truncated { received }.into()),
            (_, Greeting::Magic { timed_out: true, .. } | Greeting::Preface { timed_out: true, .. }) => {
                Err(HandshakeError::Timeout { received }.into())
            }
            (Input::Open | Input::Drained, _) => Ok(None),
        }
    }

    /// A frame about a call: whether the peer's side may send it.
    #[inline]
    fn check(&self, header: &FrameHeader) -> Result<(), ProtocolError> {
        let FrameHeader {
            kind, flags, call, ..
        } = *header;
        let is_misdirected = match self.side {
            Side::Client => matches!(kind, Kind::Call | Kind::Cancel),
            Side::Server => matches!(kind, Kind::Reply | Kind::Failure),
        };
        if is_misdirected {
            return Err(ProtocolError::WrongDirection { kind });
        }
        if flags.contains(Flags::DESCRIPTORS) {
            return Err(ProtocolError::DescriptorsNotOffered { call });
        }
        if flags.contains(Flags::CHUNKED) {
            self.check_chunked(header)?;
        }
        Ok(())
    }

    fn on_ping(&mut self, header: &FrameHeader, now: Instant) -> Result<Option<LinkEvent>, ConnectionError> {
        self.recv.take_body(header);
        self.charge(now, Cost::Ping)?;
        let pong = FrameHeader {
            aux: header.aux,
            ..FrameHeader::new(Kind::Pong, CallId(0))
        };
        self.send.push_control(pong, &[]);
        Ok(None)
    }

    fn on_pong(&mut self, header: &FrameHeader) -> Option<LinkEvent> {
        self.recv.take_body(header);
        let asked = self.drain_ping.take_if(|number| *number == header.aux);
        let asked = asked.or_else(|| self.ping.take_if(|number| *number == header.aux));
        asked.map(LinkEvent::Pong)
    }

    /// P-12: read over, but not for nothing.
    fn on_extension(
        &mut self,
        header: &FrameHeader,
        now: Instant,
    ) -> Result<Option<LinkEvent>, ConnectionError> {
        self.recv.take_body(header);
        let len = header.body_len;
        self.charge(now, Cost::Ignored { len }).map(|()| None)
    }

    /// P-20: what the first frame of a chunked body announces.
    fn check_chunked(&self, header: &FrameHeader) -> Result<(), ProtocolError> {
        let FrameHeader {
            kind,
            call,
            aux: total,
            body_len,
            ..
        } = *header;
        let limit = self.limits.max_body;
        if total <= body_len || total > limit {
            return Err(ProtocolError::BodyLength { call, total, limit });
        }
        if self.recv.is_incomplete(call) {
            return Err(ProtocolError::Interleaved { kind, call });
        }
        let (sum, limit) = (self.recv.announced() + u64::from(total), 2 * u64::from(limit));
        if sum > limit {
            return Err(ProtocolError::BodiesTooLarge {
                call,
                total: sum,
                limit,
            });
        }
        Ok(())
    }

    /// P-51
    fn on_goaway(&mut self, header: &FrameHeader) -> Result<Option<LinkEvent>, ConnectionError> {
        let code = Code::from_number(header.aux);
        let mut body = self.recv.take_body(header);
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
        Ok(Some(LinkEvent::Goaway { code, taken, text }))
    }

    fn send_preface(&mut self) {
        self.send
            .push_bytes(&Preface::new(self.side, &self.limits).encode());
    }

    fn is_preface_sent(&self) -> bool {
        self.send.enqueued() > 0
    }
}

/// Grants below this length are hardly worth their frame.
pub(crate) const SMALL_GRANT: u32 = 256;

/// The header of an item frame.
pub(crate) fn item_header(call: CallId, channel: u16, packed: bool) -> FrameHeader {
    FrameHeader {
        flags: if packed { Flags::PACKED } else { Flags::NONE },
        channel,
        ..FrameHeader::new(Kind::Item, call)
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
