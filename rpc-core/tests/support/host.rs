//! A connection between an owner of the simplest kind and a scripted peer.

use std::time::Instant;

use rpc_core::connection::{ClientConnection, ClientEvent, NewCall, ServerConnection, ServerEvent};
use rpc_core::error::{ConnectionError, ProtocolError};
use rpc_core::header::Kind;
use rpc_core::preface::Side;
use rpc_core::{CallId, Code, Limits, Metadata};

use super::pair::METHOD;
use super::script::{on_channel, preface, read_frames};
use super::{Endpoint, call_frame, start};

/// A server with a scripted client; methods send on as many channels as `opens` says.
pub struct Host {
    pub server: ServerConnection,
    pub now: Instant,
    pub opens: u16,
    pub events: Vec<ServerEvent>,
    pub error: Option<ConnectionError>,
}

impl Host {
    pub fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub fn with_limits(limits: Limits) -> Self {
        let now = start();
        let mut host = Self {
            server: ServerConnection::new(limits, now),
            now,
            opens: 0,
            events: Vec::new(),
            error: None,
        };
        host.gets(&preface(Side::Client));
        host.server.transmit(usize::MAX);
        assert_eq!(host.events(), [ServerEvent::Greeted]);
        host
    }

    /// Hands over bytes and does what an owner does at once.
    pub fn gets(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.error.is_none() {
            let len = self.server.receive(bytes);
            bytes = &bytes[len..];
            self.poll();
        }
    }

    pub fn poll(&mut self) {
        while self.error.is_none() {
            match self.server.poll_event(self.now) {
                Ok(Some(event)) => {
                    if let ServerEvent::Call { call, .. } = event {
                        self.server.open(call, self.opens);
                    }
                    self.events.push(event);
                }
                Ok(None) => return,
                Err(error) => self.error = Some(error),
            }
        }
    }

    pub fn events(&mut self) -> Vec<ServerEvent> {
        std::mem::take(&mut self.events)
    }

    pub fn sent(&mut self) -> Vec<(Kind, u32, Code)> {
        let mut bytes = Vec::new();
        while !self.server.send_queue().is_empty() {
            bytes.extend(self.server.transmit(usize::MAX));
        }
        let frames = read_frames(&bytes).into_iter();
        frames
            .map(|(header, _)| (header.kind, header.call.0, Code::from_number(header.aux)))
            .collect()
    }

    pub fn fail(&mut self, call: u32, code: Code) {
        self.server.fail(CallId(call), code, "", &Metadata::new());
    }

    #[track_caller]
    pub fn assert_protocol_error(&mut self, error: ProtocolError) {
        assert_eq!(self.error, Some(error.into()));
        let sent = self.sent();
        assert_eq!(
            sent.last().map(|(kind, _, code)| (*kind, *code)),
            Some((Kind::Goaway, Code::PROTOCOL))
        );
    }

    #[track_caller]
    pub fn assert_calm(&mut self, reason: &str) {
        assert_eq!(
            self.error,
            Some(ConnectionError::Calm {
                reason: reason.to_owned().leak()
            })
        );
        assert_eq!(
            self.sent().last().map(|(kind, _, code)| (*kind, *code)),
            Some((Kind::Goaway, Code::CALM))
        );
    }

    #[track_caller]
    pub fn assert_empty(&mut self) {
        self.sent();
        assert_eq!(
            (&self.error, self.server.in_flight(), self.server.held()),
            (&None, 0, 0)
        );
    }
}

pub fn item(call: u32, channel: u16, len: usize) -> Vec<u8> {
    on_channel(Kind::Item, call, channel, 0, &vec![7; len])
}

pub fn end(call: u32, channel: u16) -> Vec<u8> {
    on_channel(Kind::End, call, channel, 0, b"")
}

pub fn channels(events: &[ServerEvent]) -> usize {
    let is_channel = |event: &&ServerEvent| matches!(event, ServerEvent::Channel(_));
    events.iter().filter(is_channel).count()
}

impl Host {
    pub fn sent_if_open(&mut self) {
        if self.error.is_none() {
            self.sent();
        }
    }

    /// How many times it takes until the connection ends.
    pub fn endures(&mut self, frames: impl Fn(u32) -> Vec<u8>) -> u32 {
        let mut count = 0;
        while self.error.is_none() && count < 100_000 {
            self.gets(&frames(count));
            count += 1;
        }
        count - 1
    }
}

/// A client with a scripted server and one call, id 0, with channels.
pub struct Guest {
    pub client: ClientConnection,
    pub events: Vec<ClientEvent>,
    pub error: Option<ConnectionError>,
}

impl Guest {
    pub fn new(sends: u16, receives: u16) -> Self {
        let now = start();
        let mut client = ClientConnection::new(Limits::default(), now);
        client.receive(&preface(Side::Server));
        assert_eq!(client.poll_event(now), Ok(Some(ClientEvent::Greeted)));
        let new = NewCall {
            sends,
            receives,
            ..NewCall::of(METHOD)
        };
        client.start_call(&new, &mut call_frame(b""), now).unwrap();
        client.transmit(usize::MAX);
        Self {
            client,
            events: Vec::new(),
            error: None,
        }
    }

    pub fn gets(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.error.is_none() {
            let len = self.client.receive(bytes);
            bytes = &bytes[len..];
            loop {
                match self.client.poll_event(start()) {
                    Ok(Some(event)) => self.events.push(event),
                    Ok(None) => break,
                    Err(error) => {
                        self.error = Some(error);
                        break;
                    }
                }
            }
        }
    }
}
