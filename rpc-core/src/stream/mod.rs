//! Streams: the typed ends of a call's channels, and what the transport sees of them.
//!
//! ```text
//!  Sender<T> ──▶ Outbound ──▶ CallChannels ──▶ transport ──▶ CallChannels ──▶ Inbound ──▶ Receiver<T>
//!               packs items,                 (a connection,                  keeps frames until
//!               counts credit                 or this process)               they are read
//! ```
//!
//! A channel exists as long as its call. Items are archived from a reference into the frame that is sent, and read where that frame landed.
//! How much may be under way is bounded by credit: a sender without any waits, and only that sender.

mod bridge;
mod call_channels;
mod ends;
mod error;
mod inbound;
mod outbound;
mod receiver;
mod run;
mod sender;

pub use bridge::Bridge;
pub use call_channels::{CallChannels, ChannelSink, Hook, UserChannels};
pub use ends::{ChannelEnds, Opening, RunningCall, StreamCall};
pub use error::{SendError, StreamError};
pub use inbound::Inbound;
pub use outbound::Outbound;
pub use receiver::Receiver;
pub use sender::Sender;
#[cfg(feature = "fuzzing")]
pub(crate) use sender::SenderSide;

/// Channels that a call may have in each direction (P-54).
pub const MAX_CHANNELS: u16 = 16;

/// What an item frame costs of a channel's credit besides the length of its body: so that frames without a body are bounded, too (P-53).
pub const ITEM_OVERHEAD: u32 = 16;
