//! How a connection is set up, and on whose advice.

use capnp::message::ReaderOptions;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use futures::io::{BufReader, BufWriter};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::compat::{TokioAsyncReadCompatExt, TokioAsyncWriteCompatExt};

/// The settings in words.
pub(crate) const NOTE: &str =
    "buffered streams; traversal limit of 256 MiB; flow control window of 1 MiB for streams; TCP_NODELAY";

/// Words that a message may have, 64 MiB by default: a body of 64 MiB and what is around it would be refused (`ReaderOptions`).
const TRAVERSAL_LIMIT: usize = (256 << 20) / 8;

/// Bytes under way to a sink, 64 KiB by default (`VatNetwork::set_window_size`).
const WINDOW: usize = 1 << 20;

/// A connection over two halves of a socket. `VatNetwork::new` says that performance is best if streams are buffered.
pub(crate) fn system(
    reader: impl AsyncRead + Unpin + 'static,
    writer: impl AsyncWrite + Unpin + 'static,
    side: Side,
    bootstrap: Option<capnp::capability::Client>,
) -> RpcSystem<Side> {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(TRAVERSAL_LIMIT));
    let cap = std::env::var("BUF")
        .ok()
        .and_then(|b| b.parse().ok())
        .unwrap_or(8192);
    let reader = BufReader::with_capacity(cap, reader.compat());
    let writer = BufWriter::new(writer.compat_write());
    let mut network = VatNetwork::new(reader, writer, side, options);
    network.set_window_size(
        std::env::var("WINDOW")
            .ok()
            .and_then(|b| b.parse().ok())
            .unwrap_or(WINDOW),
    );
    RpcSystem::new(Box::new(network), bootstrap)
}
