//! Pair: a client and a server connection with the bytes between them, a clock that stands still, and no sockets.

use std::time::{Duration, Instant};

use rpc_core::connection::{
    ChannelEvent, ChannelSignal, ClientConnection, ClientEvent, NewCall, ServerConnection, ServerEvent,
};
use rpc_core::error::{ConnectionError, StartError};
use rpc_core::header::Flags;
use rpc_core::{CallId, Code, Limits, Metadata, MethodId};

use super::{Endpoint, call_frame, frame, start};

pub const METHOD: MethodId = MethodId(0x1234_5678_9abc_def0);

pub struct Pair {
    pub client: ClientConnection,
    pub server: ServerConnection,
    pub now: Instant,
    /// Most bytes that are delivered at a time.
    pub chunk: usize,
    pub to_server: Vec<u8>,
    pub to_client: Vec<u8>,
    /// Channels on which the server sends in each call, opened as the call is reported.
    pub opens: u16,
    pub client_events: Vec<ClientEvent>,
    pub server_events: Vec<ServerEvent>,
    pub client_error: Option<ConnectionError>,
    pub server_error: Option<ConnectionError>,
}

impl Pair {
    /// A pair that has greeted.
    pub fn new() -> Self {
        let mut pair = Self::with_limits(Limits::default(), Limits::default());
        pair.drive();
        assert_eq!(pair.take_client_events(), [ClientEvent::Greeted]);
        assert_eq!(pair.take_server_events(), [ServerEvent::Greeted]);
        pair
    }

    /// A pair between which nothing has been delivered yet.
    pub fn with_limits(client: Limits, server: Limits) -> Self {
        let now = start();
        Self {
            client: ClientConnection::new(client, now),
            server: ServerConnection::new(server, now),
            now,
            chunk: usize::MAX,
            to_server: Vec::new(),
            to_client: Vec::new(),
            opens: 0,
            client_events: Vec::new(),
            server_events: Vec::new(),
            client_error: None,
            server_error: None,
        }
    }

    pub fn start(&mut self, arguments: &[u8]) -> CallId {
        self.start_within(arguments, None)
    }

    pub fn start_within(&mut self, arguments: &[u8], timeout: Option<Duration>) -> CallId {
        let new = NewCall {
            deadline: timeout.map(|timeout| self.now + timeout),
            ..NewCall::of(METHOD)
        };
        self.start_call(&new, arguments).unwrap()
    }

    pub fn start_call(&mut self, new: &NewCall<'_>, arguments: &[u8]) -> Result<CallId, StartError> {
        self.client.start_call(new, &mut call_frame(arguments), self.now)
    }

    /// A call with channels, which has arrived and whose method has as many.
    pub fn open(&mut self, sends: u16, receives: u16) -> CallId {
        let new = NewCall {
            sends,
            receives,
            ..NewCall::of(METHOD)
        };
        let call = self.start_call(&new, b"").unwrap();
        self.drive();
        assert_eq!(self.take_calls(), [call]);
        self.server.open(call, receives);
        call
    }

    pub fn reply(&mut self, call: CallId, body: &[u8]) {
        self.server.reply(call, &mut frame(body), Flags::NONE);
    }

    /// Time passes, and both notice.
    pub fn advance(&mut self, time: Duration) {
        self.now += time;
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
        self.poll();
    }

    /// Moves what is queued onto the way.
    pub fn transmit(&mut self) {
        self.to_server.extend(self.client.transmit(usize::MAX));
        self.to_client.extend(self.server.transmit(usize::MAX));
    }

    pub fn deliver_to_server(&mut self, limit: usize) -> usize {
        let len = limit.min(self.to_server.len());
        let len = self.server.receive(&self.to_server[..len]);
        self.to_server.drain(..len);
        self.poll();
        len
    }

    pub fn deliver_to_client(&mut self, limit: usize) -> usize {
        let len = limit.min(self.to_client.len());
        let len = self.client.receive(&self.to_client[..len]);
        self.to_client.drain(..len);
        self.poll();
        len
    }

    /// Moves exactly that much of what the client has queued to the server, where it is read bit by bit.
    pub fn pass_to_server(&mut self, len: usize) {
        let bytes = self.client.transmit(len);
        assert_eq!(bytes.len(), len);
        self.to_server.extend(bytes);
        while self.deliver_to_server(usize::MAX) > 0 {}
    }

    /// Delivers everything in both directions.
    pub fn drive(&mut self) {
        loop {
            self.transmit();
            if self.deliver_to_server(self.chunk) + self.deliver_to_client(self.chunk) == 0 {
                self.poll();
                return;
            }
        }
    }

    pub fn poll(&mut self) {
        loop {
            match self.client.poll_event(self.now) {
                Ok(Some(event)) => self.client_events.push(event),
                Ok(None) => break,
                Err(error) => assert_eq!(
                    self.client_error.replace(error),
                    None,
                    "an error is the last event"
                ),
            }
        }
        loop {
            match self.server.poll_event(self.now) {
                Ok(Some(event)) => {
                    if let ServerEvent::Call { call, .. } = event
                        && self.opens > 0
                    {
                        self.server.open(call, self.opens);
                    }
                    self.server_events.push(event);
                }
                Ok(None) => break,
                Err(error) => assert_eq!(
                    self.server_error.replace(error),
                    None,
                    "an error is the last event"
                ),
            }
        }
    }

    pub fn take_client_events(&mut self) -> Vec<ClientEvent> {
        std::mem::take(&mut self.client_events)
    }

    pub fn take_server_events(&mut self) -> Vec<ServerEvent> {
        std::mem::take(&mut self.server_events)
    }

    /// The calls among the server's events, which are taken.
    pub fn take_calls(&mut self) -> Vec<CallId> {
        let call = |event| match event {
            ServerEvent::Call { call, .. } => Some(call),
            _ => None,
        };
        self.take_server_events().into_iter().filter_map(call).collect()
    }

    /// Nothing is left anywhere: no call, no byte, no timer.
    #[track_caller]
    pub fn assert_idle(&mut self) {
        assert_eq!((self.client_error.take(), self.server_error.take()), (None, None));
        assert_eq!(self.take_client_events(), []);
        assert_eq!(self.take_server_events(), []);
        assert_eq!((self.client.waiting(), self.client.busy()), (0, 0));
        assert_eq!((self.server.in_flight(), self.server.held()), (0, 0));
        assert_eq!((self.to_client.len(), self.to_server.len()), (0, 0));
        assert!(self.client.send_queue().is_empty());
        // Timers are bounds: what is left of them goes with the next look.
        for _ in 0..2 {
            let Some(deadline) = self.client.deadline().max(self.server.deadline()) else {
                break;
            };
            self.client.handle_timeout(deadline);
            self.server.handle_timeout(deadline);
        }
        assert_eq!((self.client.deadline(), self.server.deadline()), (None, None));
        self.poll();
        assert_eq!((self.client_events.len(), self.server_events.len()), (0, 0));
    }
}

pub fn replied(call: CallId, body: &'static [u8]) -> ClientEvent {
    let (metadata, body) = (Metadata::new(), bytes::Bytes::from_static(body));
    ClientEvent::Reply {
        call,
        error: false,
        metadata,
        body,
    }
}

pub fn failed(call: CallId, code: Code, text: &str) -> ClientEvent {
    ClientEvent::Failure {
        call,
        code,
        text: text.into(),
        metadata: Metadata::new(),
    }
}

/// What happened on a channel, for the client.
pub fn at_client(call: CallId, channel: u16, what: ChannelSignal) -> ClientEvent {
    ClientEvent::Channel(ChannelEvent { call, channel, what })
}

/// Likewise for the server.
pub fn at_server(call: CallId, channel: u16, what: ChannelSignal) -> ServerEvent {
    ServerEvent::Channel(ChannelEvent { call, channel, what })
}

pub fn item(body: &[u8]) -> ChannelSignal {
    ChannelSignal::Item {
        body: bytes::Bytes::copy_from_slice(body),
        packed: false,
    }
}

pub fn end(code: Code) -> ChannelSignal {
    ChannelSignal::End {
        code,
        metadata: Metadata::new(),
    }
}
