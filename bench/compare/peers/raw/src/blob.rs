//! Blob: a large body, sent from where it is, and received in memory that is used again.

use harness::data::PageWalk;
use harness::{LaneReport, Lanes, Result, data};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::header::{HEADER, header, requests, stated_len};
use crate::socket::Socket;
use crate::window::Window;

/// The answer to every request: a header and the body.
pub(crate) fn frame(len: u64) -> Vec<u8> {
    let body = data::blob(len);
    [&header(body.len()), body.as_slice()].concat()
}

/// Answers every request by the same frame.
pub(crate) async fn serve(mut socket: Socket, frame: &[u8]) -> Result<()> {
    let mut asked = Vec::with_capacity(1 << 10);
    loop {
        let count = requests(&mut socket, &mut asked).await?;
        if count == 0 {
            return Ok(());
        }
        for _ in 0..count {
            socket.write_all(frame).await?;
        }
    }
}

/// Makes calls until the lane is over.
pub(crate) async fn call(socket: &mut Socket, lanes: &Lanes, len: u64) -> Result<LaneReport> {
    let mut window = Window::new(lanes);
    let mut out = Vec::new();
    let mut frame = vec![0; HEADER + usize::try_from(len)?];
    loop {
        out.clear();
        window.fill(|_| out.extend_from_slice(&header(0)));
        if window.is_empty() {
            return Ok(window.report(len));
        }
        socket.write_all(&out).await?;
        socket.read_exact(&mut frame).await?;
        check(&frame, len)?;
        window.answer();
    }
}

/// Checks the length and every page.
pub(crate) fn check(frame: &[u8], len: u64) -> Result<()> {
    let mut walk = PageWalk::default();
    walk.add(&frame[HEADER..]);
    let stated = stated_len(frame, frame.len() - HEADER)? as u64;
    if walk.finish()? != len || stated != len {
        return Err(data::wrong("the length of the body"));
    }
    Ok(())
}
