//! Limits: every bound that a peer could otherwise choose, its default, and the reason for the default.

use std::time::Duration;

/// What one connection accepts from its peer.
///
/// Lengths are in bytes. [`Limits::default`] suits a service inside a company: messages of some kilobytes, now and then megabytes.
/// Change single fields with struct update syntax:
///
/// ```
/// use rpc_core::Limits;
/// let limits = Limits { max_body: 64 << 20, ..Limits::default() };
/// assert!(limits.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest body of a call or reply, arguments and metadata together. Default 4 MiB: what gRPC users are used to; at most 2 GiB − 16.
    pub max_body: u32,
    /// Longest body of one frame. Longer bodies arrive in chunks, between which other frames may pass. Default 256 KiB; at least 16 KiB. One above `max_body`
    /// counts as that.
    pub max_frame: u32,
    /// Calls in flight on one connection that a server accepts. Default 1,024. At least 16 (P-06), at most 65,536.
    pub max_calls: u32,
    /// Longest metadata of one call. Default 8 KiB.
    pub max_metadata: u32,
    /// Bytes that one connection may hold: arguments of running calls, credit of channels on which the peer sends, and answers that the peer has not read yet.
    /// Beyond it a server reads no further until some are done, or, while calls with channels are in flight, refuses calls; a client starts none. Bodies that are
    /// still arriving in chunks may take two `max_body` besides. Default 64 MiB. At least one body.
    pub max_held: usize,
    /// Bytes a peer may send on a new channel of a call before it is granted more. Default 64 KiB.
    pub stream_credit: u32,
    /// Bytes a peer may have under way on a channel whose items are read as fast as they come: it is granted more by and by, as long as less than a
    /// quarter of `max_held` is in use. Default 512 KiB: with less, processes of one machine wait for each other. Up to `stream_credit`, channels stay with what they began with; at most
    /// 2 GiB − 1.
    pub stream_window: u32,
    /// Time for the peer's whole preface, counted from the start of the connection. Default 5 s.
    pub handshake_timeout: Duration,
}

impl Limits {
    /// The smallest bodies, frames and stream credit that every peer accepts (P-05, P-06).
    pub const GUARANTEED_BODY: u32 = 16_384;
    /// The smallest number of calls in flight that every server accepts.
    pub const GUARANTEED_CALLS: u32 = 16;
    /// The largest body the header can describe and a relative pointer can span.
    pub const LARGEST_BODY: u32 = (1 << 31) - 16;
    /// The largest number of calls in flight that can be configured: tables of that size are allocated as they are used.
    pub const LARGEST_CALLS: u32 = 65_536;
    /// Longest text in a failure or goaway that this side sends (P-38, P-41).
    pub const MAX_TEXT: usize = 8_192;

    /// The longest body of one frame that is accepted.
    pub const fn frame_limit(&self) -> u32 {
        if self.max_frame < self.max_body {
            self.max_frame
        } else {
            self.max_body
        }
    }

    /// Checks that the limits keep the guarantees of the protocol and do not contradict each other.
    ///
    /// # Errors
    ///
    /// [`LimitsError`] names the first field that is out of range, with its range.
    pub fn check(&self) -> Result<(), LimitsError> {
        let body = u64::from(self.max_body);
        let held = u64::try_from(self.max_held).unwrap_or(u64::MAX);
        let ranges = [
            (
                "max_body",
                body,
                u64::from(Self::GUARANTEED_BODY),
                u64::from(Self::LARGEST_BODY),
            ),
            (
                "max_frame",
                self.max_frame.into(),
                u64::from(Self::GUARANTEED_BODY),
                u64::from(Self::LARGEST_BODY),
            ),
            (
                "max_calls",
                self.max_calls.into(),
                Self::GUARANTEED_CALLS.into(),
                Self::LARGEST_CALLS.into(),
            ),
            (
                "max_metadata",
                self.max_metadata.into(),
                0,
                crate::metadata::Metadata::MAX_LEN as u64,
            ),
            ("max_held", held, body, u64::MAX),
            (
                "stream_credit",
                self.stream_credit.into(),
                Self::GUARANTEED_BODY.into(),
                (1 << 31) - 1,
            ),
            ("stream_window", self.stream_window.into(), 0, (1 << 31) - 1),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(LimitsError {
                    name,
                    value,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 4 << 20,
            max_frame: 256 << 10,
            max_calls: 1_024,
            max_metadata: 8 << 10,
            max_held: 64 << 20,
            stream_credit: 64 << 10,
            stream_window: 512 << 10,
            handshake_timeout: Duration::from_secs(5),
        }
    }
}

/// A limit that was configured out of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitsError {
    /// The field of [`Limits`].
    pub name: &'static str,
    /// Its value.
    pub value: u64,
    /// The smallest value it may have.
    pub least: u64,
    /// The largest value it may have.
    pub most: u64,
}

impl std::fmt::Display for LimitsError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            name,
            value,
            least,
            most,
        } = self;
        write!(f, "limit {name} is {value}, outside of {least} to {most}")
    }
}

impl std::error::Error for LimitsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_is_longer_than_credit_can_be_is_named() {
        let with = |stream_window| Limits {
            stream_window,
            ..Limits::default()
        };
        // Below the credit that channels begin with, none becomes longer.
        for stream_window in [0, (1 << 31) - 1] {
            assert_eq!(with(stream_window).check(), Ok(()));
        }
        let error = with(1 << 31).check().map_err(|error| (error.name, error.most));
        assert_eq!(error, Err(("stream_window", (1 << 31) - 1)));
    }
}
