//! Outbound: the channel end that sends, as its sender fills it and the transport empties it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::ITEM_OVERHEAD;
use super::call_channels::{ChannelSink, Hook};
use super::error::SendError;
use super::run::RunBuf;
use crate::code::Code;
use crate::encode::EncodeError;
use crate::limits::Limits;
use crate::metadata::Metadata;
use crate::wire::Wire;

/// Length from which on a run of items waits for the transport before it gets more: long enough that a fast producer pays per frame.
const RUN_LEN: usize = 32 << 10;

/// The sending end of one channel.
pub struct Outbound(Mutex<State>);

struct State {
    /// A run to which the next item would have been too much.
    full: Option<RunBuf>,
    /// Items that the transport has not taken; they come behind those in `full`.
    run: RunBuf,
    /// What the peer lets this side send; the run is paid for when it is taken (P-53).
    credit: i64,
    /// The longest item that the peer accepts.
    max_item: usize,
    end: Option<End>,
    /// Why nothing more can be sent.
    closed: Option<SendError>,
    /// Whether the transport knows of the end.
    end_taken: bool,
    /// Whether the transport was told that there is something for it, and has not looked yet.
    notified: bool,
    hook: Option<Arc<dyn Hook>>,
    sender: Option<Waker>,
}

/// How a sender has ended its channel.
#[derive(Debug)]
enum End {
    Finished(Metadata),
    Aborted(Code),
}

impl Outbound {
    /// An end that waits for its transport.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            full: None,
            run: RunBuf::default(),
            credit: 0,
            max_item: Limits::GUARANTEED_BODY as usize,
            end: None,
            closed: None,
            end_taken: false,
            notified: false,
            hook: None,
            sender: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The sender's side.

    /// Whether there is room for an item; keeps the waker if not.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let mut state = self.lock();
        state.check_open()?;
        if state.has_room() {
            return Poll::Ready(Ok(()));
        }
        state.keep_waker(cx);
        Poll::Pending
    }

    /// Appends an item, if there is room for it; keeps the waker if not.
    pub(crate) fn poll_send<T: Wire>(&self, item: &T, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let mut state = self.lock();
        state.check_open()?;
        if !state.has_room() {
            state.keep_waker(cx);
            return Poll::Pending;
        }
        let appended = state.append(item);
        let hook = state.notify();
        drop(state);
        tell(hook);
        Poll::Ready(appended)
    }

    /// Appends an item whether or not there is room: whoever has seen room before.
    pub(crate) fn push<T: Wire>(&self, item: &T) -> Result<(), SendError> {
        let mut state = self.lock();
        state.check_open()?;
        let appended = state.append(item);
        let hook = state.notify();
        drop(state);
        tell(hook);
        appended
    }

    /// Whether the transport has taken everything; keeps the waker if not.
    pub(crate) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let mut state = self.lock();
        if state.is_empty() && state.closed.is_none() {
            return Poll::Ready(Ok(()));
        }
        match &state.closed {
            Some(closed) => Poll::Ready(Err(closed.clone())),
            None => {
                state.keep_waker(cx);
                Poll::Pending
            }
        }
    }

    /// Ends the channel in order: what was sent is all.
    pub(crate) fn finish(&self, metadata: Metadata) -> Result<(), SendError> {
        let mut state = self.lock();
        state.check_open()?;
        let hook = state.end(End::Finished(metadata));
        drop(state);
        tell(hook);
        Ok(())
    }

    /// Ends the channel before its time, unless it has ended.
    pub(crate) fn abort(&self, code: Code) {
        let mut state = self.lock();
        if state.end.is_some() || state.closed.is_some() {
            return;
        }
        // What waits here is not worth sending: the receiver is told that it has not got everything.
        state.clear();
        let hook = state.end(End::Aborted(code));
        drop(state);
        tell(hook);
    }

    // The transport's side. Wakers are returned, so that they can be woken outside of its locks.

    /// The call was started: items may leave.
    pub(crate) fn attach(&self, hook: &Arc<dyn Hook>, credit: u32, max_item: usize) -> Option<Waker> {
        let mut state = self.lock();
        state.hook = Some(Arc::clone(hook));
        state.credit = credit.into();
        state.max_item = max_item;
        state.sender.take()
    }

    /// The peer lets this side send more. What waits for that is to be flushed.
    pub(crate) fn grant(&self, bytes: u32) -> Option<Waker> {
        let mut state = self.lock();
        state.credit = state.credit.saturating_add(bytes.into());
        if state.has_room() {
            state.sender.take()
        } else {
            None
        }
    }

    /// Nothing more can be sent, for this reason.
    pub(crate) fn close(&self, reason: &SendError) -> Option<Waker> {
        let mut state = self.lock();
        state.closed.get_or_insert_with(|| reason.clone());
        state.clear();
        state.hook = None;
        state.sender.take()
    }

    /// The peer reads no more. The transport has sent the end.
    pub(crate) fn stop(&self) -> Option<Waker> {
        self.close(&SendError::Stopped)
    }

    /// Whether items wait here, or the end that the sender gave: that of the call says less, and would be taken for it.
    pub(crate) fn has_unsent(&self) -> bool {
        let state = self.lock();
        let is_end_waiting = state.end.is_some() && !state.end_taken && state.closed.is_none();
        is_end_waiting || !state.is_empty()
    }

    /// Hands over what there is, as far as credit and the sink's room go. Whether something is left that only waits for the sink.
    pub(crate) fn flush(&self, channel: u16, sink: &mut dyn ChannelSink, woken: &mut Vec<Waker>) -> bool {
        let mut state = self.lock();
        state.notified = false;
        while !state.is_empty() && state.credit > 0 {
            if sink.is_full() {
                return true;
            }
            let State {
                full, run, credit, ..
            } = &mut *state;
            let run = full.as_mut().unwrap_or(run);
            let cost = run.len() + ITEM_OVERHEAD as usize;
            let packed = run.finish();
            *credit -= i64::try_from(cost).unwrap_or(i64::MAX);
            sink.item(channel, &mut run.frame, packed);
            run.clear();
            *full = None;
        }
        if state.is_empty() {
            state.flush_end(channel, sink);
        }
        // Whoever waits for room or for everything to be taken looks again.
        if state.has_room() || state.is_empty() {
            woken.extend(state.sender.take());
        }
        false
    }
}

impl State {
    fn check_open(&self) -> Result<(), SendError> {
        match (&self.closed, &self.end) {
            (Some(closed), _) => Err(closed.clone()),
            (None, Some(_)) => Err(SendError::Finished),
            (None, None) => Ok(()),
        }
    }

    fn is_empty(&self) -> bool {
        self.full.is_none() && self.run.is_empty()
    }

    fn clear(&mut self) {
        self.full = None;
        self.run.clear();
    }

    /// An item may be added as long as the run is short and what is in it is covered by credit: the last one may exceed it (P-53).
    ///
    /// The run counts as the frame that it becomes if the item does not fit into it: then there is credit left for the item's own frame, and whatever was
    /// accepted can leave before the answer does.
    fn has_room(&self) -> bool {
        let waiting = self.run.len();
        let cost = if waiting == 0 {
            0
        } else {
            waiting + ITEM_OVERHEAD as usize
        };
        let covered = i64::try_from(cost).is_ok_and(|cost| cost < self.credit);
        covered && waiting < RUN_LEN && self.full.is_none()
    }

    fn append<T: Wire>(&mut self, item: &T) -> Result<(), SendError> {
        match self.run.append(item, self.max_item) {
            Err(EncodeError::TooLarge { .. }) if !self.run.is_empty() => {
                // It may fit into a frame of its own.
                self.full = Some(std::mem::take(&mut self.run));
                self.run.append(item, self.max_item)
            }
            result => result,
        }
        .map_err(SendError::Encode)
    }

    fn flush_end(&mut self, channel: u16, sink: &mut dyn ChannelSink) {
        if self.end_taken {
            return;
        }
        match &self.end {
            Some(End::Finished(metadata)) => sink.end(channel, Code::OK, metadata),
            Some(End::Aborted(code)) => sink.end(channel, *code, &Metadata::default()),
            None => return,
        }
        self.end_taken = true;
    }

    fn end(&mut self, end: End) -> Option<Arc<dyn Hook>> {
        self.end = Some(end);
        self.notify()
    }

    fn notify(&mut self) -> Option<Arc<dyn Hook>> {
        if self.notified {
            return None;
        }
        let hook = self.hook.clone()?;
        self.notified = true;
        Some(hook)
    }

    fn keep_waker(&mut self, cx: &Context<'_>) {
        match &mut self.sender {
            Some(known) => known.clone_from(cx.waker()),
            None => self.sender = Some(cx.waker().clone()),
        }
    }
}

/// Tells the transport, outside of the lock.
fn tell(hook: Option<Arc<dyn Hook>>) {
    if let Some(hook) = hook {
        hook.notify();
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.lock();
        f.debug_struct("Outbound")
            .field("credit", &state.credit)
            .field("waiting", &state.run.len())
            .field("end", &state.end)
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Transport(usize);

    impl Hook for Transport {
        fn notify(&self) {}
    }

    impl ChannelSink for Transport {
        fn is_full(&self) -> bool {
            false
        }

        fn item(&mut self, _: u16, frame: &mut crate::frame_buf::FrameBuf, _: bool) {
            self.0 += 1;
            frame.clear();
        }

        fn end(&mut self, _: u16, _: Code, _: &Metadata) {}
        fn stop(&mut self, _: u16) {}
        fn grant(&mut self, _: u16, _: u32) -> u32 {
            0
        }
    }

    /// P-53: a handler that has sent an item may return, and the item is not to come behind its answer.
    #[test]
    fn what_was_accepted_can_leave_with_the_credit_there_is() {
        for credit in 1..300 {
            for longest in [64, 4096] {
                let channel = Outbound::new();
                let hook: Arc<dyn Hook> = Arc::new(Transport(0));
                let _ = channel.attach(&hook, credit, longest);
                let mut cx = Context::from_waker(Waker::noop());
                for len in [16_usize, 50, 1, 40].into_iter().cycle() {
                    if channel.poll_send(&vec![0_u8; len], &mut cx).is_pending() {
                        break;
                    }
                }
                let mut transport = Transport(0);
                assert!(!channel.flush(0, &mut transport, &mut Vec::new()));
                assert!(
                    channel.lock().is_empty(),
                    "credit {credit}, items up to {longest}"
                );
                assert!(transport.0 > 0);
            }
        }
    }
}
