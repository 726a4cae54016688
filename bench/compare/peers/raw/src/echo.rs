//! Echo: as many frames as the window has room for go out in one write; whatever has come back is taken in one read.

use harness::{BLOCK, Block, Lane, LaneReport, Lanes, Result, data};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::socket::{Socket, closed};
use crate::window::Window;

/// Bytes of a frame: its length, and what is echoed.
pub(crate) const FRAME: usize = 4 + BLOCK;

/// Room for what one read takes, if no other is asked for: all that a window of 256 calls may have under way, and more. Then they go and come in lockstep, 256 by one system
/// call. With the 8 KiB of tokio's `BufReader` a call costs twice to thrice as much.
pub(crate) const READ: usize = 64 << 10;

/// Sends every complete frame back.
pub(crate) async fn serve(mut socket: Socket, room: usize) -> Result<()> {
    let mut buffer = vec![0; room];
    let mut filled = 0;
    loop {
        match socket.read(&mut buffer[filled..]).await? {
            0 => return Ok(()),
            count => filled += count,
        }
        let complete = complete(&buffer[..filled])?;
        socket.write_all(&buffer[..complete]).await?;
        buffer.copy_within(complete..filled, 0);
        filled -= complete;
    }
}

/// Makes calls until the lane is over.
pub(crate) async fn call(socket: &mut Socket, lanes: &Lanes, room: usize) -> Result<LaneReport> {
    let mut window = Window::new(lanes);
    let mut out = Vec::with_capacity(lanes.in_flight * FRAME);
    let mut buffer = vec![0; room];
    let mut filled = 0;
    loop {
        out.clear();
        window.fill(|call| request(&lanes.lane, call, &mut out));
        if window.is_empty() {
            return Ok(window.report(BLOCK as u64));
        }
        socket.write_all(&out).await?;
        match socket.read(&mut buffer[filled..]).await? {
            0 => return Err(closed()),
            count => filled += count,
        }
        let complete = complete(&buffer[..filled])?;
        answers(&mut window, &buffer[..complete])?;
        buffer.copy_within(complete..filled, 0);
        filled -= complete;
    }
}

/// How many bytes of `bytes` are complete frames.
pub(crate) fn complete(bytes: &[u8]) -> Result<usize> {
    let mut frames = bytes.chunks_exact(FRAME);
    if frames.by_ref().any(|frame| frame[..4] != LEN) {
        return Err(data::wrong("the length of a frame"));
    }
    Ok(bytes.len() - frames.remainder().len())
}

/// The length of every frame.
const LEN: [u8; 4] = (BLOCK as u32).to_le_bytes();

/// Writes the frame of a lane's call.
pub(crate) fn request(lane: &Lane, call: u64, out: &mut Vec<u8>) {
    frame(&data::block(lane.number, call), out);
}

/// Writes a frame.
pub(crate) fn frame(block: &Block, out: &mut Vec<u8>) {
    out.extend_from_slice(&LEN);
    out.extend_from_slice(block);
}

/// Checks complete frames.
pub(crate) fn answers(window: &mut Window<'_>, frames: &[u8]) -> Result<()> {
    for frame in frames.chunks_exact(FRAME) {
        let call = window.answer();
        if frame[4..] != data::block(window.lane.number, call) {
            return Err(data::wrong("the echo"));
        }
    }
    Ok(())
}
