//! Failure codes: one table that yields number, name, fault and whether the method may have run.

use std::fmt;

/// Who has to change something so that a failure does not happen again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// Nobody: the call was given up, or its time ran out.
    None,
    /// The caller, or the build of the client.
    Client,
    /// The server: its load, its state or its handler.
    Server,
    /// The peer broke the protocol, or is another build of it.
    Peer,
}

/// A failure code as it travels on the wire (PROTOCOL.md section 4).
///
/// Codes of a newer peer are kept as numbers and count as *may have run* (P-42).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(u32);

macro_rules! codes {
    ($($(#[$doc:meta])* $constant:ident = $number:literal, $name:literal, $fault:ident, $may_have_run:literal;)*) => {
        impl Code {
            $($(#[$doc])* pub const $constant: Self = Self($number);)*

            /// Every code that this build knows, in ascending order.
            pub const ALL: &'static [Self] = &[$(Self::$constant),*];

            /// The name of the code, or `unknown` for one that this build does not know.
            pub const fn name(self) -> &'static str {
                match self.0 { $($number => $name,)* _ => "unknown" }
            }

            /// Who is at fault.
            pub const fn fault(self) -> Fault {
                match self.0 { $($number => Fault::$fault,)* _ => Fault::Peer }
            }

            /// Whether the method may have run before the failure. `false` is a promise of the peer: it did not.
            pub const fn may_have_run(self) -> bool {
                match self.0 { $($number => $may_have_run,)* _ => true }
            }
        }
    };
}

codes! {
    /// Nothing is wrong: an orderly goaway or end.
    OK = 0, "ok", None, false;
    /// The caller gave up the call and the handler has stopped.
    CANCELLED = 1, "cancelled", None, true;
    /// The time ran out while the method ran.
    DEADLINE = 2, "deadline", None, true;
    /// The time had run out before the method was started.
    EXPIRED = 3, "expired", None, false;
    /// No method of that name.
    UNKNOWN_METHOD = 16, "unknown_method", Client, false;
    /// A method of that name with another signature.
    SCHEMA_MISMATCH = 17, "schema_mismatch", Client, false;
    /// The arguments are not a valid archive of their type.
    INVALID_ARCHIVE = 18, "invalid_archive", Client, false;
    /// The metadata is larger than the server accepts.
    METADATA_TOO_LARGE = 19, "metadata_too_large", Client, false;
    /// An item after the end of its channel, or on a call without channels.
    STREAM_STATE = 20, "stream_state", Client, true;
    /// More item bytes than credit.
    FLOW_CONTROL = 21, "flow_control", Client, true;
    /// A limit of the server is reached.
    REFUSED = 32, "refused", Server, false;
    /// The server is shutting down.
    DRAINING = 33, "draining", Server, false;
    /// The handler panicked, or the server has no memory for an item of the call.
    INTERNAL = 48, "internal", Server, true;
    /// The reply is larger than the client accepts, or cannot be archived.
    REPLY_TOO_LARGE = 49, "reply_too_large", Server, true;
    /// A rule of the protocol was broken.
    PROTOCOL = 64, "protocol", Peer, true;
    /// A frame is larger than the receiver accepts.
    FRAME_TOO_LARGE = 65, "frame_too_large", Peer, true;
    /// No common protocol version.
    VERSION = 66, "version", Peer, false;
    /// Another archive format.
    FORMAT = 67, "format", Peer, false;
    /// A required feature that this side does not have.
    FEATURE = 68, "feature", Peer, false;
    /// The preface did not arrive in time.
    HANDSHAKE_TIMEOUT = 69, "handshake_timeout", Peer, false;
    /// The peer costs more than it may.
    CALM = 70, "calm", Peer, true;
}

impl Code {
    /// The code with that number, known or not.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }

    /// The number on the wire.
    pub const fn number(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            "unknown" => write!(f, "code {}", self.0),
            name => f.write_str(name),
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({} {})", self.0, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// P-42
    #[test]
    fn an_unknown_code_keeps_its_number_and_may_have_run() {
        let code = Code::from_number(4711);
        assert_eq!(code.number(), 4711);
        assert!(code.may_have_run());
        assert_eq!(code.to_string(), "code 4711");
    }

    #[test]
    fn the_numbers_are_those_of_the_specification() {
        let table = include_str!("../../PROTOCOL.md");
        for code in Code::ALL {
            let ran = if code.may_have_run() { "maybe" } else { "no" };
            let row = table
                .lines()
                .find(|line| line.starts_with(&format!("| {} | `{}` |", code.number(), code.name())))
                .unwrap_or_else(|| panic!("{code:?} is not in PROTOCOL.md"));
            let column = row.split('|').nth(4).unwrap().trim();
            assert!(*code == Code::OK || column == ran, "{row}");
        }
        let rows = table.lines().filter(|line| {
            let mut cells = line.split('|').skip(1);
            cells
                .next()
                .is_some_and(|cell| cell.trim().parse::<u32>().is_ok())
                && cells.next().is_some_and(|cell| cell.trim().starts_with('`'))
        });
        assert_eq!(rows.count(), Code::ALL.len());
    }
}
