//! Channels of the calls that a server answers: what it sends on them, and what the client does.

use std::time::Instant;

use bytes::Bytes;

use super::memory::{NO_MEMORY_FOR_ITEM, Pressure};
use super::{ServerConnection, Slot, State};
use crate::budget::Cost;
use crate::code::Code;
use crate::connection::body::split_answer;
use crate::connection::channels::{Channels, Fault, WIDE_SHARE};
use crate::connection::event::{ChannelEvent, ChannelSignal, ServerEvent};
use crate::connection::link::{SMALL_GRANT, item_header};
use crate::error::{ConnectionError, ProtocolError};
use crate::frame_buf::FrameBuf;
use crate::header::{Flags, FrameHeader};
use crate::id::CallId;
use crate::limits::Limits;
use crate::metadata::Metadata;

impl ServerConnection {
    /// Opens the channels on which the server sends in a call that has just begun.
    pub fn open(&mut self, call: CallId, channels: u16) {
        if channels == 0 {
            return;
        }
        let credit = self.link.peer().map_or(0, |preface| preface.stream_credit);
        let Some(slot) = self.running_mut(call) else {
            return;
        };
        let is_first = slot.channels.is_none();
        let inner = slot.channels.get_or_insert_default();
        inner.open_outbound(channels, credit);
        self.streaming += usize::from(is_first);
    }

    /// What the client lets this side send on a channel before it grants more, in bytes.
    pub fn stream_credit(&self) -> u32 {
        self.link.peer().map_or(0, |preface| preface.stream_credit)
    }

    /// Sends items on a channel, and empties the frame. Nothing is sent on a channel that has ended, nor in a call that is not running.
    pub fn send_item(&mut self, call: CallId, channel: u16, frame: &mut FrameBuf, packed: bool) {
        let len = u32::try_from(frame.body_len()).unwrap_or(u32::MAX);
        let is_open = self
            .running_channels(call)
            .is_some_and(|channels| channels.send_item(channel, len));
        if is_open {
            self.link.send.push(frame, item_header(call, channel, packed));
        }
        frame.clear();
    }

    /// Ends a channel on which this side sends, in order with `ok`.
    pub fn end_channel(&mut self, call: CallId, channel: u16, code: Code, metadata: &Metadata) {
        let is_open = self
            .running_channels(call)
            .is_some_and(|channels| channels.send_end(channel));
        if is_open {
            self.link.push_end(call, channel, code, metadata);
        }
    }

    /// Tells the client that nothing more is wanted of a channel.
    pub fn stop_channel(&mut self, call: CallId, channel: u16) {
        let is_open = self
            .running_channels(call)
            .is_some_and(|channels| channels.is_inbound_open(channel));
        if is_open {
            self.link.push_stop(call, channel);
        }
    }

    /// Lets the client send more on a channel.
    pub fn grant(&mut self, call: CallId, channel: u16, bytes: u32) {
        if let Some(channels) = self.running_channels(call) {
            let bytes = channels.send_credit(channel, bytes);
            self.link.patience.earn();
            self.link.push_credit(call, channel, bytes);
        }
    }

    /// How much the client may be granted on a channel besides what was read: its window has become so much longer. Ask before each [`grant`](Self::grant) for
    /// half a window. Nothing while more than a quarter of `max_held` is in use, or the server is short of memory.
    pub fn widen(&mut self, call: CallId, channel: u16, now: Instant) -> u32 {
        let Limits {
            max_held,
            stream_window,
            ..
        } = self.link.limits;
        let room = match self.pressure {
            Pressure::None => (max_held / WIDE_SHARE).saturating_sub(self.held()),
            Pressure::Pause | Pressure::Refuse => 0,
        };
        let Some(slot) = self.running_mut(call) else {
            return 0;
        };
        let channels = slot.channels.as_deref_mut();
        let more = channels.map_or(0, |channels| channels.widen(channel, stream_window, room, now));
        slot.held += more as usize;
        self.held += more as usize;
        more
    }

    pub(super) fn on_item(
        &mut self,
        header: &FrameHeader,
        body: Bytes,
        now: Instant,
    ) -> Result<Option<ServerEvent>, ConnectionError> {
        let FrameHeader {
            kind,
            call,
            channel,
            flags,
            aux,
            body_len,
        } = *header;
        let is_chunked = flags.contains(Flags::CHUNKED);
        let len = if is_chunked { aux } else { body_len };
        if self.link.recv.is_incomplete(call) {
            return Err(ProtocolError::Interleaved { kind, call }.into());
        }
        let is_refusing = self.pressure == Pressure::Refuse;
        let slot = self.busy_slot(header)?;
        let packed = flags.contains(Flags::PACKED);
        let fault = slot.channel(|channels| channels.receive_item(channel, len));
        let is_live = slot.is_running();
        let is_refused = is_chunked && is_live && is_refusing && fault.is_ok();
        if is_refused {
            slot.state = State::Stopping;
        }
        if is_chunked {
            slot.item = Some((channel, packed));
            self.link.recv.begin(call, &body, aux);
            if !is_live || is_refused || fault.is_err() {
                self.link.recv.discard(call);
            }
        }
        match fault {
            Ok(()) if is_refused => Ok(Some(ServerEvent::Breach {
                call,
                code: Code::INTERNAL,
                text: NO_MEMORY_FOR_ITEM,
            })),
            Ok(()) if is_live && !is_chunked => {
                let what = ChannelSignal::Item { body, packed };
                Ok(Some(channel_event(call, channel, what)))
            }
            Ok(()) => Ok(None),
            Err(fault) => self.on_fault(header, fault, now),
        }
    }

    pub(super) fn on_end(
        &mut self,
        header: &FrameHeader,
        body: Bytes,
        now: Instant,
    ) -> Result<Option<ServerEvent>, ConnectionError> {
        let FrameHeader {
            kind,
            call,
            channel,
            aux,
            ..
        } = *header;
        let code = Code::from_number(aux);
        if self.link.recv.is_incomplete(call) {
            return Err(ProtocolError::Interleaved { kind, call }.into());
        }
        let (metadata, _) = split_answer(header, body)?;
        let slot = self.busy_slot(header)?;
        let ended = slot.channel(|channels| channels.receive_end(channel));
        if let Err(fault) = ended {
            return self.on_fault(header, fault, now);
        }
        let is_over = slot
            .channels
            .as_ref()
            .is_none_or(|channels| channels.is_inbound_over());
        slot.is_client_done |= is_over;
        match slot.state {
            State::Running | State::ExpiryDue => {
                let what = ChannelSignal::End { code, metadata };
                Ok(Some(channel_event(call, channel, what)))
            }
            State::Answered => {
                self.release(call);
                Ok(None)
            }
            State::Free | State::Assembling | State::Stopping | State::Replying => Ok(None),
        }
    }

    pub(super) fn on_credit(
        &mut self,
        header: &FrameHeader,
        now: Instant,
    ) -> Result<Option<ServerEvent>, ConnectionError> {
        let FrameHeader {
            call,
            channel,
            aux: bytes,
            ..
        } = *header;
        if bytes < SMALL_GRANT {
            self.link.charge(now, Cost::SmallGrant)?;
        }
        let Some(slot) = self.running_slot(header)? else {
            return Ok(None);
        };
        let granted = slot.channel(|channels| channels.receive_credit(channel, bytes));
        match granted {
            Ok(()) => Ok(Some(channel_event(call, channel, ChannelSignal::Credit(bytes)))),
            Err(Fault::CreditRaised) => Err(ProtocolError::CreditRaised { call, channel }.into()),
            Err(fault) => self.on_fault(header, fault, now),
        }
    }

    pub(super) fn on_stop(&mut self, header: &FrameHeader) -> Result<Option<ServerEvent>, ConnectionError> {
        let FrameHeader {
            kind, call, channel, ..
        } = *header;
        let Some(slot) = self.running_slot(header)? else {
            return Ok(None);
        };
        let stopped = slot.channel(|channels| channels.receive_stop(channel));
        match stopped {
            Ok(true) => {
                self.link
                    .push_end(call, channel, Code::CANCELLED, &Metadata::default());
                Ok(Some(channel_event(call, channel, ChannelSignal::Stop)))
            }
            // It crossed the end.
            Ok(false) => Ok(None),
            Err(_) => Err(ProtocolError::NoSuchChannel { kind, call, channel }.into()),
        }
    }

    /// P-33: the slot that a frame of a channel belongs to.
    pub(super) fn busy_slot(&mut self, header: &FrameHeader) -> Result<&mut Slot, ProtocolError> {
        let FrameHeader {
            kind, call, channel, ..
        } = *header;
        self.slots
            .get_mut(call.index())
            .filter(|slot| !matches!(slot.state, State::Free | State::Assembling))
            .ok_or(ProtocolError::NoSuchChannel { kind, call, channel })
    }

    /// Likewise, for what a client says of channels on which the server sends: that may cross the final frame, like a cancel, and means nothing then.
    pub(super) fn running_slot(&mut self, header: &FrameHeader) -> Result<Option<&mut Slot>, ProtocolError> {
        let index = header.call.index();
        if self
            .slots
            .get(index)
            .is_some_and(|slot| slot.state == State::Free)
        {
            return Ok(None);
        }
        let slot = self.busy_slot(header)?;
        Ok(slot.is_running().then_some(slot))
    }

    /// A frame that its channel does not allow: the call fails; one that has failed already is not failed again, and its client loses patience.
    pub(super) fn on_fault(
        &mut self,
        header: &FrameHeader,
        fault: Fault,
        now: Instant,
    ) -> Result<Option<ServerEvent>, ConnectionError> {
        let FrameHeader {
            kind, call, channel, ..
        } = *header;
        let (code, text) = match fault {
            Fault::NoSuchChannel => {
                return Err(ProtocolError::NoSuchChannel { kind, call, channel }.into());
            }
            Fault::CreditRaised => return Err(ProtocolError::CreditRaised { call, channel }.into()),
            Fault::Ended => (Code::STREAM_STATE, "frame on a channel that has ended"),
            Fault::NoCredit => (Code::FLOW_CONTROL, "item on a channel without credit"),
        };
        self.link.charge(now, Cost::Breach)?;
        let slot = self.busy_slot(header)?;
        if !slot.is_running() {
            return Ok(None);
        }
        slot.state = State::Stopping;
        Ok(Some(ServerEvent::Breach { call, code, text }))
    }

    pub(super) fn running_channels(&mut self, call: CallId) -> Option<&mut Channels> {
        if self.link.is_closed() {
            return None;
        }
        self.running_mut(call)?.channels.as_deref_mut()
    }
}

impl Slot {
    /// Whether the owner works on the call, and was not asked to stop.
    pub(super) fn is_running(&self) -> bool {
        matches!(self.state, State::Running | State::ExpiryDue)
    }

    /// Does something with the channels; a call without any has no such channel.
    fn channel<R>(&mut self, act: impl FnOnce(&mut Channels) -> Result<R, Fault>) -> Result<R, Fault> {
        self.channels
            .as_deref_mut()
            .map_or(Err(Fault::NoSuchChannel), act)
    }
}

pub(super) fn channel_event(call: CallId, channel: u16, what: ChannelSignal) -> ServerEvent {
    ServerEvent::Channel(ChannelEvent { call, channel, what })
}
