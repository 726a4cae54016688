//! Credit: what may be sent on the channels of a call, as one of its sides counts it.

use crate::connection::ChannelSignal;
use crate::stream::ITEM_OVERHEAD;

/// The channels of a call. Each has its credit, and none once it has ended.
pub(super) struct Credit {
    /// What this side may send on each.
    pub(super) outbound: Vec<Option<i64>>,
    /// What its peer may send on each.
    pub(super) inbound: Vec<Option<i64>>,
}

impl Credit {
    /// So many channels in each direction, with a window for each of them.
    pub(super) fn new(outbound: (u16, u32), inbound: (u16, u32)) -> Self {
        let all = |(channels, window): (u16, u32)| vec![Some(window.into()); channels.into()];
        Self {
            outbound: all(outbound),
            inbound: all(inbound),
        }
    }

    /// The connection says that its peer did something on a channel, which has to be what the peer could do.
    pub(super) fn take(&mut self, channel: usize, what: &ChannelSignal) {
        match what {
            ChannelSignal::Item { body, .. } => {
                assert!(body.is_empty() || body.as_ptr().addr().is_multiple_of(16));
                let credit = self.inbound[channel].as_mut().expect("no item behind the end");
                assert!(*credit > 0, "an item without credit");
                *credit -= item_cost(body.len());
            }
            ChannelSignal::End { .. } => {
                assert!(self.inbound[channel].take().is_some(), "a channel ends once");
            }
            ChannelSignal::Credit(bytes) => {
                if let Some(credit) = &mut self.outbound[channel] {
                    *credit += i64::from(*bytes);
                }
            }
            ChannelSignal::Stop => {
                assert!(
                    self.outbound[channel].take().is_some(),
                    "a channel that has ended is not stopped"
                );
            }
        }
    }
}

pub(super) fn item_cost(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX) + i64::from(ITEM_OVERHEAD)
}
