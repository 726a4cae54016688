//! Channel table: the channels of calls in flight on one connection, and which of them have something for the server.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

use rpc_core::connection::{ChannelEvent, ChannelSignal, ClientConnection};
use rpc_core::stream::{CallChannels, Hook};
use rpc_core::{CallFailure, CallId};

use crate::clock;

/// The channels of calls in flight.
#[derive(Debug)]
pub(crate) struct ChannelTable {
    /// By call id.
    calls: Vec<Option<Arc<CallChannels>>>,
    /// Calls whose channels have something for the server, or had when there was no room for it.
    flushing: VecDeque<CallId>,
    /// What the server may send on a channel before it is granted more.
    window: u32,
}

impl ChannelTable {
    pub(crate) fn new(window: u32) -> Self {
        Self {
            calls: Vec::new(),
            flushing: VecDeque::new(),
            window,
        }
    }

    /// Connects the channels of a call that was just started.
    pub(crate) fn attach(
        &mut self,
        call: CallId,
        channels: &Arc<CallChannels>,
        hook: &Arc<dyn Hook>,
        connection: &ClientConnection,
        woken: &mut Vec<Waker>,
    ) {
        let max_item = usize::try_from(connection.max_body()).unwrap_or(usize::MAX);
        channels.attach(hook, connection.stream_credit(), max_item, self.window, woken);
        let index = call.index();
        if self.calls.len() <= index {
            self.calls.resize_with(index + 1, || None);
        }
        if let Some(space) = self.calls.get_mut(index) {
            *space = Some(Arc::clone(channels));
        }
    }

    /// Takes note that the channels of a call have something for the server.
    pub(crate) fn note(&mut self, call: CallId) {
        self.flushing.push_back(call);
    }

    /// What the server did on a channel.
    pub(crate) fn on_event(&mut self, event: ChannelEvent, woken: &mut Vec<Waker>) {
        let ChannelEvent { call, channel, what } = event;
        let Some(channels) = self.of(call) else { return };
        woken.extend(match what {
            ChannelSignal::Item { body, packed } => channels.item(channel, body, packed),
            ChannelSignal::End { code, metadata } => channels.ended(channel, code, metadata),
            ChannelSignal::Stop => channels.stopped(channel),
            ChannelSignal::Credit(bytes) => {
                let sender = channels.granted(channel, bytes);
                self.note(call);
                sender
            }
        });
    }

    /// Fetches what channels have for the server, a frame of each in turn, as far as there is room.
    pub(crate) fn flush(&mut self, connection: &mut ClientConnection, woken: &mut Vec<Waker>) {
        if self.flushing.is_empty() {
            return;
        }
        let now = clock::now();
        for _ in 0..self.flushing.len() {
            let Some(call) = self.flushing.pop_front() else {
                return;
            };
            let Some(channels) = self.of(call) else { continue };
            if channels.flush(&mut connection.sink(call, now), woken) {
                self.flushing.push_back(call);
            }
        }
    }

    /// Whether channels have something that there is room for.
    pub(crate) fn is_flush_due(&self, connection: &ClientConnection) -> bool {
        !self.flushing.is_empty() && connection.takes_items()
    }

    /// A method has returned.
    pub(crate) fn returned(&mut self, call: CallId, error: bool, woken: &mut Vec<Waker>) {
        if let Some(channels) = self.take(call) {
            channels.returned(error, woken);
        }
    }

    /// A call has failed.
    pub(crate) fn failed(&mut self, call: CallId, failure: &CallFailure, woken: &mut Vec<Waker>) {
        if let Some(channels) = self.take(call) {
            channels.failed(failure, woken);
        }
    }

    fn of(&self, call: CallId) -> Option<Arc<CallChannels>> {
        self.calls.get(call.index())?.clone()
    }

    fn take(&mut self, call: CallId) -> Option<Arc<CallChannels>> {
        self.calls.get_mut(call.index())?.take()
    }
}
