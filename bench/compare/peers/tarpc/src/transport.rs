//! How requests and responses become frames.

use serde::{Serialize, de::DeserializeOwned};
use tarpc::serde_transport::{self, Transport};
use tarpc::tokio_serde::formats::Bincode;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::LengthDelimitedCodec;

/// Requests and responses that may wait in the queues in front of a socket: as many as a workload has in flight, for "too low a value may
/// decrease throughput" (documentation of `tarpc::client::Config`). Default: 100.
pub(crate) const QUEUED: usize = 256;

/// The longest frame. Default: 8 MiB.
const LONGEST_FRAME: usize = 65 << 20;

/// What tarpc can send frames over.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for S {}

/// Frames with a length in front, encoded by bincode.
pub(crate) fn framed<S, In, Out>(socket: S) -> Transport<S, In, Out, Bincode<In, Out>>
where
    S: Socket,
    In: DeserializeOwned,
    Out: Serialize,
{
    let frames = LengthDelimitedCodec::builder()
        .max_frame_length(LONGEST_FRAME)
        .new_framed(socket);
    serde_transport::new(frames, Bincode::default())
}
