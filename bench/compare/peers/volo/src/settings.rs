//! What is set, and on whose advice.

use harness::{Options, Workload};
use volo_thrift::codec::default::DefaultMakeCodec;
use volo_thrift::codec::default::framed::MakeFramedCodec;
use volo_thrift::codec::default::thrift::MakeThriftCodec;
use volo_thrift::codec::default::ttheader::MakeTTHeaderCodec;

/// The settings in words.
pub(crate) const NOTE: &str = "W2, W3 and W4 multiplexed, the others with one call at a time on each of its pooled connections; \
     frames of up to 128 MiB; no timeout per call; TCP_NODELAY";

/// Bytes of a frame, 16 MiB by default (`MakeFramedCodec::with_max_frame_size`).
const FRAME: i32 = 128 << 20;

/// The default protocol, TTHeader<Framed<Binary>>, with longer frames.
pub(crate) fn codec() -> DefaultMakeCodec<MakeTTHeaderCodec<MakeFramedCodec<MakeThriftCodec>>> {
    let framed = MakeFramedCodec::new(MakeThriftCodec::default()).with_max_frame_size(FRAME);
    DefaultMakeCodec::new(MakeTTHeaderCodec::new(framed))
}

/// Whether calls share a connection. By default they do not: a client keeps a pool of connections with one call on each. That is faster with one
/// call in flight, and with bodies; with the lists of W4 some calls wait a hundred times as long as others. W2 and W3 say how many connections there are.
pub(crate) fn is_multiplexed(options: &Options) -> bool {
    matches!(options.workload, Workload::W2 | Workload::W3 | Workload::W4)
}
