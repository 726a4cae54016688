//! Channels of the calls that a client has started: what it sends on them, and what the server does.

use std::time::Instant;

use bytes::Bytes;

use super::{Arriving, ClientConnection, Slot, State, begun_slot, withdraw};
use crate::budget::Cost;
use crate::code::Code;
use crate::connection::body::split_answer;
use crate::connection::channels::{Channels, Fault, WIDE_SHARE};
use crate::connection::event::{ChannelEvent, ChannelSignal, ClientEvent};
use crate::connection::link::{SMALL_GRANT, item_header};
use crate::error::{ConnectionError, ProtocolError};
use crate::frame_buf::FrameBuf;
use crate::header::{Flags, FrameHeader};
use crate::id::CallId;
use crate::limits::Limits;
use crate::metadata::Metadata;

impl ClientConnection {
    /// What the server lets this side send on a channel before it grants more, in bytes.
    pub fn stream_credit(&self) -> u32 {
        self.link
            .peer()
            .map_or(Limits::GUARANTEED_BODY, |preface| preface.stream_credit)
    }

    /// Sends items on a channel, and empties the frame. Nothing is sent on a channel that has ended, nor in a call that has.
    pub fn send_item(&mut self, call: CallId, channel: u16, frame: &mut FrameBuf, packed: bool) {
        let len = u32::try_from(frame.body_len()).unwrap_or(u32::MAX);
        let is_open = self
            .waiting_channels(call)
            .is_some_and(|channels| channels.send_item(channel, len));
        if is_open {
            self.link.send.push(frame, item_header(call, channel, packed));
            self.take_progress();
        }
        frame.clear();
    }

    /// Ends a channel on which this side sends, in order with `ok`.
    pub fn end_channel(&mut self, call: CallId, channel: u16, code: Code, metadata: &Metadata) {
        let is_open = self
            .waiting_channels(call)
            .is_some_and(|channels| channels.send_end(channel));
        if is_open {
            self.link.push_end(call, channel, code, metadata);
            self.note_channel_end(call);
            self.take_progress();
        }
    }

    /// Tells the server that nothing more is wanted of a channel.
    pub fn stop_channel(&mut self, call: CallId, channel: u16) {
        let is_open = self
            .waiting_channels(call)
            .is_some_and(|channels| channels.is_inbound_open(channel));
        // The server has to know the call before it hears of its channels.
        let is_begun = |slot: &Slot| slot.end != u64::MAX;
        if is_open && self.slots.get(call.index()).is_some_and(is_begun) {
            self.link.push_stop(call, channel);
        } else if is_open {
            self.link.push_stop_behind(call, channel);
            self.take_progress();
        }
    }

    /// Lets the server send more on a channel.
    pub fn grant(&mut self, call: CallId, channel: u16, bytes: u32) {
        if let Some(channels) = self.waiting_channels(call) {
            let bytes = channels.send_credit(channel, bytes);
            self.link.push_credit(call, channel, bytes);
        }
    }

    /// How much the server may be granted on a channel besides what was read: its window has become so much longer. Ask before each [`grant`](Self::grant) for
    /// half a window. Nothing if all windows together would be longer than before by more than a quarter of `max_held`.
    pub fn widen(&mut self, call: CallId, channel: u16, now: Instant) -> u32 {
        let Limits {
            max_held,
            stream_window,
            ..
        } = self.link.limits;
        let room = (max_held / WIDE_SHARE).saturating_sub(self.widened);
        let channels = self.waiting_channels(call);
        let more = channels.map_or(0, |channels| channels.widen(channel, stream_window, room, now));
        self.widened += more as usize;
        more
    }

    pub(super) fn on_item(
        &mut self,
        header: &FrameHeader,
        body: Bytes,
    ) -> Result<Option<ClientEvent>, ProtocolError> {
        let FrameHeader {
            kind,
            call,
            channel,
            flags,
            aux,
            body_len,
        } = *header;
        let is_chunked = flags.contains(Flags::CHUNKED);
        let slot = begun_slot(&mut self.slots, kind, call)?;
        if slot.incoming.is_some() {
            return Err(ProtocolError::Interleaved { kind, call });
        }
        let len = if is_chunked { aux } else { body_len };
        let received = slot.channel(|channels| channels.receive_item(channel, len));
        let is_wanted = slot.state == State::Waiting && received.is_ok();
        if is_chunked {
            slot.incoming = Some(Arriving { kind, flags, channel });
            self.link.recv.begin(call, &body, aux);
            if !is_wanted {
                self.link.recv.discard(call);
            }
        }
        match received {
            Ok(()) if is_wanted && !is_chunked => {
                let packed = flags.contains(Flags::PACKED);
                let what = ChannelSignal::Item { body, packed };
                Ok(Some(channel_event(call, channel, what)))
            }
            Ok(()) => Ok(None),
            Err(fault) => self.on_fault(header, fault),
        }
    }

    pub(super) fn on_end(
        &mut self,
        header: &FrameHeader,
        body: Bytes,
    ) -> Result<Option<ClientEvent>, ProtocolError> {
        let FrameHeader {
            kind,
            call,
            channel,
            aux,
            ..
        } = *header;
        let code = Code::from_number(aux);
        let (metadata, _) = split_answer(header, body)?;
        let slot = begun_slot(&mut self.slots, kind, call)?;
        if slot.incoming.is_some() {
            return Err(ProtocolError::Interleaved { kind, call });
        }
        match slot.channel(|channels| channels.receive_end(channel)) {
            Ok(()) if slot.state == State::Waiting => {
                let what = ChannelSignal::End { code, metadata };
                Ok(Some(channel_event(call, channel, what)))
            }
            Ok(()) => Ok(None),
            Err(fault) => self.on_fault(header, fault),
        }
    }

    pub(super) fn on_credit(
        &mut self,
        header: &FrameHeader,
        now: Instant,
    ) -> Result<Option<ClientEvent>, ConnectionError> {
        let FrameHeader {
            kind,
            call,
            channel,
            aux: bytes,
            ..
        } = *header;
        if bytes < SMALL_GRANT {
            self.link.charge(now, Cost::SmallGrant)?;
        }
        let slot = begun_slot(&mut self.slots, kind, call)?;
        match slot.channel(|channels| channels.receive_credit(channel, bytes)) {
            Ok(()) if slot.state == State::Waiting => {
                Ok(Some(channel_event(call, channel, ChannelSignal::Credit(bytes))))
            }
            Ok(()) => Ok(None),
            Err(fault) => Ok(self.on_fault(header, fault)?),
        }
    }

    pub(super) fn on_stop(&mut self, header: &FrameHeader) -> Result<Option<ClientEvent>, ProtocolError> {
        let FrameHeader {
            kind, call, channel, ..
        } = *header;
        let slot = begun_slot(&mut self.slots, kind, call)?;
        match slot.channel(|channels| channels.receive_stop(channel)) {
            Ok(true) if slot.state == State::Waiting => {
                self.link
                    .push_end(call, channel, Code::CANCELLED, &Metadata::default());
                self.note_channel_end(call);
                self.take_progress();
                Ok(Some(channel_event(call, channel, ChannelSignal::Stop)))
            }
            // It crossed the end.
            Ok(_) => Ok(None),
            Err(fault) => self.on_fault(header, fault),
        }
    }

    /// A frame that its channel does not allow. A server that does not count ends the call; one that uses channels which are not there, the connection.
    pub(super) fn on_fault(
        &mut self,
        header: &FrameHeader,
        fault: Fault,
    ) -> Result<Option<ClientEvent>, ProtocolError> {
        let FrameHeader {
            kind, call, channel, ..
        } = *header;
        let (code, text) = match fault {
            Fault::NoSuchChannel => return Err(ProtocolError::NoSuchChannel { kind, call, channel }),
            Fault::CreditRaised => return Err(ProtocolError::CreditRaised { call, channel }),
            Fault::Ended => (Code::STREAM_STATE, "server sent on a channel that it had ended"),
            Fault::NoCredit => (
                Code::FLOW_CONTROL,
                "server sent more items than it had credit for",
            ),
        };
        let slot = begun_slot(&mut self.slots, kind, call)?;
        if slot.state != State::Waiting {
            // It was told that the call is over; what it had credit for may still come, and nothing else.
            return Err(ProtocolError::ItemWithoutCredit { call, channel });
        }
        withdraw(&mut self.link, slot, call);
        self.abandon(call);
        Ok(Some(ClientEvent::Failure {
            call,
            code,
            text: text.to_owned(),
            metadata: Metadata::default(),
        }))
    }

    /// P-53: the server's preface counts for the channels that were opened before it came, too.
    pub(super) fn raise_credit(&mut self) {
        let more = self.stream_credit() - Limits::GUARANTEED_BODY;
        for (slot, id) in self.slots.iter_mut().zip(0..) {
            let channels = slot.channels.as_deref_mut();
            let count = channels.map_or(0, |channels| channels.raise_outbound(more));
            if more > 0 {
                self.raised
                    .extend((0..count).map(|channel| (CallId(id), channel)));
            }
        }
    }

    pub(super) fn next_raised(&mut self) -> Option<ClientEvent> {
        let more = self.stream_credit() - Limits::GUARANTEED_BODY;
        while let Some((call, channel)) = self.raised.pop() {
            // The call may have ended in the meantime; its slot is not free yet, as the server has answered nothing.
            let is_waiting = |slot: &Slot| slot.state == State::Waiting;
            if self.slots.get(call.index()).is_some_and(is_waiting) {
                return Some(channel_event(call, channel, ChannelSignal::Credit(more)));
            }
        }
        None
    }

    /// The client's final frame is the end of its last channel, once it has its place in the stream.
    pub(super) fn note_channel_end(&mut self, call: CallId) {
        if self.link.send.is_waiting(call) {
            return;
        }
        if let Some(slot) = self.slots.get_mut(call.index())
            && let Some(channels) = &slot.channels
        {
            slot.is_client_done |= channels.is_outbound_over();
        }
    }

    pub(super) fn waiting_channels(&mut self, call: CallId) -> Option<&mut Channels> {
        if self.link.is_closed() {
            return None;
        }
        let slot = self.slots.get_mut(call.index())?;
        if slot.state != State::Waiting {
            return None;
        }
        slot.channels.as_deref_mut()
    }
}

pub(super) fn channel_event(call: CallId, channel: u16, what: ChannelSignal) -> ClientEvent {
    ClientEvent::Channel(ChannelEvent { call, channel, what })
}
