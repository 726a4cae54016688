//! Header: the length of what follows, in as many bytes as an archive's alignment.

use harness::{Result, data};

/// Bytes of a header, and what frames are padded to.
pub(crate) const HEADER: usize = 16;

/// A header in front of so many bytes.
pub(crate) fn header(len: usize) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..8].copy_from_slice(&(len as u64).to_le_bytes());
    header
}

/// The length that a header states, if it is no longer than `limit`.
pub(crate) fn stated_len(header: &[u8], limit: usize) -> Result<usize> {
    let len = header.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
    let len = usize::try_from(len.ok_or_else(|| data::wrong("a header is cut off"))?)?;
    if len > limit {
        return Err(data::wrong("the length of a frame"));
    }
    Ok(len)
}

/// Reads requests, which are headers alone. How many there are, 0 at the end.
pub(crate) async fn requests<R>(socket: &mut R, buffer: &mut Vec<u8>) -> Result<usize>
where
    R: tokio::io::AsyncRead + Unpin,
{
    use tokio::io::AsyncReadExt as _;
    loop {
        if socket.read_buf(buffer).await? == 0 {
            return Ok(0);
        }
        let count = buffer.len() / HEADER;
        if count > 0 {
            buffer.drain(..count * HEADER);
            return Ok(count);
        }
    }
}
