//! Admission of calls: what is looked at before one is taken, and what is said to one that is not.

use std::time::{Duration, Instant};

use bytes::{Buf as _, Bytes};

use super::memory::NO_MEMORY;
use super::{ServerConnection, Slot, State};
use crate::budget::Cost;
use crate::code::Code;
use crate::connection::body::{MetadataError, PRELUDE_LEN, Prelude, take_metadata};
use crate::connection::channels::Channels;
use crate::connection::event::ServerEvent;
use crate::error::{ConnectionError, ProtocolError};
use crate::header::{Flags, FrameHeader};
use crate::id::CallId;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::stream::MAX_CHANNELS;

/// What a call is taken for.
pub(super) struct Taken {
    pub(super) call: CallId,
    pub(super) oneway: bool,
    pub(super) deadline: Option<Instant>,
    pub(super) prelude: Prelude,
}

impl ServerConnection {
    pub(super) fn on_call(
        &mut self,
        header: &FrameHeader,
        body: Bytes,
        now: Instant,
    ) -> Result<Option<ServerEvent>, ConnectionError> {
        let call = header.call;
        if self
            .slots
            .get(call.index())
            .is_some_and(|slot| slot.state != State::Free)
        {
            return Err(ProtocolError::CallIdBusy { call }.into());
        }
        let prelude = Prelude::read(&body);
        if prelude.channels > MAX_CHANNELS {
            let count = prelude.channels;
            return Err(ProtocolError::ChannelsTooMany { call, count }.into());
        }
        // P-35: zero is none. A time beyond what the clock can count never comes.
        let time_left = Some(prelude.time_left).filter(|time_left| *time_left > 0);
        let deadline = time_left.and_then(|left| now.checked_add(Duration::from_micros(left.into())));
        let taken = Taken {
            call,
            oneway: header.flags.contains(Flags::ONEWAY),
            deadline,
            prelude,
        };
        let is_chunked = header.flags.contains(Flags::CHUNKED);
        if is_chunked {
            self.link.recv.begin(call, &body, header.aux);
        }
        let body_len = if is_chunked {
            header.aux as usize
        } else {
            body.len()
        };
        if let Err((cost, code, text)) = self.admit(&taken, body_len) {
            // Calls may cross the goaway; but answers to them may not pile up.
            if code != Code::DRAINING || self.held() > self.link.limits.max_held {
                self.link.charge(now, cost)?;
            }
            self.refuse(&taken, is_chunked, code, &text);
            return Ok(None);
        }
        if is_chunked {
            self.begin(&taken, State::Assembling, 0);
            return Ok(None);
        }
        let segment = (!body.is_empty()).then(|| self.link.recv.segment());
        self.start(&taken, body, segment)
    }

    /// Whether a call can be taken, as far as its first frame tells.
    fn admit(&mut self, taken: &Taken, body_len: usize) -> Result<(), (Cost, Code, String)> {
        if self.link.is_goaway_sent() {
            return Err((
                Cost::Refused,
                Code::DRAINING,
                "server is shutting down".to_owned(),
            ));
        }
        self.link.taken += 1;
        let Limits {
            max_calls,
            max_metadata,
            max_held,
            stream_credit,
            ..
        } = self.link.limits;
        let call = taken.call;
        if call.0 >= max_calls {
            let text = format!("call id {call} is not below the limit of {max_calls} calls in flight");
            return Err((Cost::Refused, Code::REFUSED, text));
        }
        let metadata_len = u32::from(taken.prelude.metadata_len);
        if metadata_len > max_metadata {
            let text = format!("metadata of {metadata_len} bytes exceeds the limit of {max_metadata}");
            return Err((Cost::Refused, Code::METADATA_TOO_LARGE, text));
        }
        let reserved = usize::from(taken.prelude.channels) * stream_credit as usize;
        if reserved > 0 || self.streaming > 0 {
            let held = self.held() + reserved;
            if held > max_held {
                let text = format!(
                    "connection holds {held} bytes with the credit of this call, more than {max_held} (max_held)"
                );
                return Err((Cost::Crowded, Code::REFUSED, text));
            }
        }
        if self.lacks_memory(body_len + reserved) {
            return Err((Cost::Crowded, Code::REFUSED, NO_MEMORY.to_owned()));
        }
        debug_assert!(body_len <= self.link.limits.max_body as usize);
        Ok(())
    }

    /// Answers a call that is not taken. What the client still sends for it is dropped.
    fn refuse(&mut self, taken: &Taken, is_chunked: bool, code: Code, text: &str) {
        let call = taken.call;
        self.link.recv.discard(call);
        let is_open = is_chunked || taken.prelude.channels > 0;
        // A call id beyond the table has no slot: whoever uses it does not keep the limit, and sends nothing more that counts.
        let is_below = call.0 < self.link.limits.max_calls;
        if is_below && call.index() >= self.slots.len() {
            // From now on it has been used: what crosses the failure is not wrong.
            self.slots.resize_with(call.index() + 1, Slot::default);
        }
        if is_open && is_below {
            self.begin(taken, State::Answered, 0);
            self.in_flight -= 1;
            self.streaming -= usize::from(taken.prelude.channels > 0);
        }
        self.send_failure(call, code, text, &Metadata::default());
    }

    /// A call whose body is complete, in the receive memory of that number and length, or in memory of its own.
    pub(super) fn start(
        &mut self,
        taken: &Taken,
        mut body: Bytes,
        segment: Option<(u64, usize)>,
    ) -> Result<Option<ServerEvent>, ConnectionError> {
        let Taken {
            call,
            oneway,
            deadline,
            prelude,
        } = *taken;
        let Prelude {
            method,
            channels,
            metadata_len,
            ..
        } = prelude;
        let held = body.len();
        body.advance(PRELUDE_LEN.min(held));
        let metadata = match take_metadata(&mut body, metadata_len.into()) {
            Ok(metadata) => metadata,
            Err(MetadataError::BeyondBody) => {
                self.bad_calls += 1;
                let text = format!("metadata of {metadata_len} bytes exceeds its frame");
                self.refuse(taken, false, Code::METADATA_TOO_LARGE, &text);
                return Ok(None);
            }
            Err(MetadataError::PaddingNotZero | MetadataError::Malformed) => {
                return Err(ProtocolError::MetadataMalformed { call }.into());
            }
        };
        self.begin(taken, State::Running, held);
        if let Some((number, len)) = segment
            && let Some(slot) = self.slots.get_mut(call.index())
        {
            slot.segment = Some(number);
            self.pins.pin(number, len);
        }
        Ok(Some(ServerEvent::Call {
            call,
            method,
            deadline,
            oneway,
            metadata,
            channels,
            arguments: body,
        }))
    }

    /// Makes a slot busy; the call is below the limit.
    pub(super) fn begin(&mut self, taken: &Taken, state: State, held: usize) {
        let index = taken.call.index();
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::default);
        }
        let Prelude { channels, .. } = taken.prelude;
        let credit = self.link.limits.stream_credit;
        let held = held + usize::from(channels) * credit as usize;
        self.in_flight += 1;
        self.streaming += usize::from(channels > 0);
        self.held += if state == State::Answered { 0 } else { held };
        if let Some(slot) = self.slots.get_mut(index) {
            *slot = Slot {
                state,
                deadline: taken.deadline,
                held,
                segment: None,
                oneway: taken.oneway,
                is_client_done: channels == 0 && !self.link.recv.is_incomplete(taken.call),
                channels: (channels > 0).then(|| Box::new(Channels::new(channels, credit))),
                item: None,
            };
        }
        if state == State::Running {
            self.earliest.lower(taken.deadline);
        }
    }
}
