//! Pair: a client and a server connection with the bytes between them, a clock that stands still, and no sockets.

use std::time::{Duration, Instant};

use rpc_core::connection::{ClientConnection, ClientEvent, ServerConnection, ServerEvent};
use rpc_core::error::ConnectionError;
use rpc_core::{CallId, Code, Limits, MethodId};

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
        let deadline = timeout.map(|timeout| self.now + timeout);
        self.client
            .start_call(METHOD, &mut call_frame(arguments), deadline, false, self.now)
            .unwrap()
    }

    pub fn reply(&mut self, call: CallId, body: &[u8]) {
        self.server.reply(call, &mut frame(body), false);
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
            match self.client.poll_event() {
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
                Ok(Some(event)) => self.server_events.push(event),
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
    let (metadata, body) = (bytes::Bytes::new(), bytes::Bytes::from_static(body));
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
    }
}
