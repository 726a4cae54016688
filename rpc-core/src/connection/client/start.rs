//! Starting calls: what has to hold before one is sent, and what is remembered of it.

use std::time::Instant;

use super::{ClientConnection, NOT_BEGUN, Slot, State};
use crate::connection::body::{PRELUDE_LEN, Prelude, time_left};
use crate::connection::channels::Channels;
use crate::error::StartError;
use crate::frame_buf::FrameBuf;
use crate::header::{Flags, FrameHeader, Kind};
use crate::id::{CallId, MethodId};
use crate::metadata::Metadata;

/// A call that is about to be started.
#[derive(Clone, Copy, Debug)]
pub struct NewCall<'a> {
    /// Which method.
    pub method: MethodId,
    /// When the owner stops waiting.
    pub deadline: Option<Instant>,
    /// Whether no answer is wanted.
    pub oneway: bool,
    /// What is sent besides the arguments.
    pub metadata: &'a Metadata,
    /// Channels on which the client sends.
    pub sends: u16,
    /// Channels on which the server sends.
    pub receives: u16,
}

impl NewCall<'_> {
    /// A call without anything but its method.
    pub fn of(method: MethodId) -> Self {
        static NONE: Metadata = Metadata::new();
        Self {
            method,
            deadline: None,
            oneway: false,
            metadata: &NONE,
            sends: 0,
            receives: 0,
        }
    }
}

impl ClientConnection {
    /// Starts a call. The frame's body is 16 bytes of space for the prelude, and then the archive of the arguments. A small frame, of up to
    /// [`COALESCE_LEN`](crate::send_queue::COALESCE_LEN) bytes, is left as it is, so that the call can be started elsewhere should it not be taken here; a longer one is emptied.
    ///
    /// # Errors
    ///
    /// [`StartError`]: nothing is sent, and the frame is as it was.
    pub fn start_call(
        &mut self,
        new: &NewCall<'_>,
        frame: &mut FrameBuf,
        now: Instant,
    ) -> Result<CallId, StartError> {
        let time_left = match new.deadline {
            Some(deadline) => time_left(deadline, now).ok_or(StartError::Expired)?,
            None => 0,
        };
        let metadata_len = new.metadata.encoded_len();
        self.check_start(frame.body_len() + metadata_len.next_multiple_of(PRELUDE_LEN))?;
        let call = self.take_slot()?;
        // Space that the caller left out could only be filled with a copy; it is made rather than trusted.
        if let Some(missing @ 1..) = PRELUDE_LEN.checked_sub(frame.body_len()) {
            frame.extend([0; PRELUDE_LEN].get(..missing).unwrap_or_default());
        }
        if metadata_len > 0 {
            frame.insert_padded(PRELUDE_LEN, new.metadata.as_bytes());
        }
        if let Some(space) = frame.body_mut().first_chunk_mut::<PRELUDE_LEN>() {
            *space = Prelude {
                method: new.method,
                time_left,
                channels: new.sends,
                // `Metadata` is never longer.
                metadata_len: u16::try_from(metadata_len).unwrap_or(u16::MAX),
            }
            .encode();
        }
        self.send_call(call, new, frame);
        if metadata_len > 0 && frame.body_len() > 0 {
            frame.remove_padded(PRELUDE_LEN, metadata_len);
        }
        Ok(call)
    }

    fn send_call(&mut self, call: CallId, new: &NewCall<'_>, frame: &mut FrameBuf) {
        let flags = if new.oneway { Flags::ONEWAY } else { Flags::NONE };
        let header = FrameHeader {
            flags,
            ..FrameHeader::new(Kind::Call, call)
        };
        let channels = (new.sends > 0 || new.receives > 0).then(|| {
            let mut channels = Channels::new(new.receives, self.link.limits.stream_credit);
            channels.open_outbound(new.sends, self.stream_credit());
            Box::new(channels)
        });
        let end = self.link.send.push_kept(frame, header);
        let order = match end {
            Some(_) => {
                self.begun += 1;
                self.begun - 1
            }
            None => NOT_BEGUN,
        };
        if new.oneway {
            self.oneway += 1;
        } else {
            self.waiting += 1;
            if new.deadline.is_some() {
                self.earliest.lower(new.deadline);
            }
        }
        if let Some(slot) = self.slots.get_mut(call.index()) {
            *slot = Slot {
                state: if new.oneway { State::Oneway } else { State::Waiting },
                deadline: new.deadline,
                order,
                end: end.unwrap_or(u64::MAX),
                is_client_done: new.sends == 0 && end.is_some(),
                channels,
                incoming: None,
            };
        }
        self.take_progress();
    }

    fn check_start(&self, len: usize) -> Result<(), StartError> {
        if self.link.is_closed() || self.link.is_drained() {
            return Err(StartError::Closed);
        }
        if self.link.is_draining() {
            return Err(StartError::Draining);
        }
        let limit = self.link.body_limit();
        match u32::try_from(len) {
            Ok(len) if len <= limit => Ok(()),
            _ if self.link.peer().is_none() => Err(StartError::NotGreeted { len, limit }),
            Ok(_) | Err(_) => Err(StartError::TooLarge { len, limit }),
        }
    }

    fn take_slot(&mut self) -> Result<CallId, StartError> {
        if let Some(call) = self.free.pop() {
            return Ok(call);
        }
        let limit = self.capacity();
        let id = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        if id >= limit {
            return Err(StartError::Saturated { limit });
        }
        self.slots.push(Slot::free());
        Ok(CallId(id))
    }
}
