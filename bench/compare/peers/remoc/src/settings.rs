//! What is set, and on whose advice.

use remoc::Cfg;

/// The settings in words.
pub(crate) const NOTE: &str = "replies of up to 128 MiB, up to 2 MiB without threads; 512 calls at a time; 1,024 items queued; TCP_NODELAY";

/// Bytes of a reply, 16 MiB by default (`Client::set_max_response_size`).
pub(crate) const MESSAGE: usize = 128 << 20;

/// Items that wait to be sent, 16 by default (`mpsc::with_local_buffer`).
pub(crate) const ITEMS: usize = 1_024;

/// Calls that a server works on at a time, 32 by default (`ServerShared::set_parallelism`).
pub(crate) const PARALLELISM: usize = 512;

/// The documentation of `Cfg` recommends the defaults. Larger chunks, and larger buffers of ports and sockets, were measured and are no faster.
pub(crate) fn cfg() -> Cfg {
    Cfg {
        // Beyond this, 512 KiB by default, a message is serialized and deserialized by a thread of its own, "a small performance cost".
        max_data_size: 2 << 20,
        ..Cfg::default()
    }
}
