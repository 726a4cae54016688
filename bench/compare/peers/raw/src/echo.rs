//! Echo: as many frames as the window has room for go out in one write; whatever came back is taken in one read.

use std::collections::VecDeque;
use std::time::Instant;

use harness::{BLOCK, Lane, LaneReport, Latencies, Result, data};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::socket::Socket;

/// Bytes of a frame: its length, and what is echoed.
pub(crate) const FRAME: usize = 4 + BLOCK;

/// Room for what one read takes.
pub(crate) const READ: usize = 64 << 10;

/// Sends every complete frame back.
pub(crate) async fn serve(mut socket: Socket) -> Result<()> {
    let mut buffer = vec![0; READ];
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

/// How many bytes of `bytes` are complete frames.
pub(crate) fn complete(bytes: &[u8]) -> Result<usize> {
    let mut frames = bytes.chunks_exact(FRAME);
    if frames
        .by_ref()
        .any(|frame| frame[..4] != (BLOCK as u32).to_le_bytes())
    {
        return Err(data::wrong("the length of a frame"));
    }
    Ok(bytes.len() - frames.remainder().len())
}

/// Keeps `window` frames under way until the lane is over.
pub(crate) async fn call(socket: &mut Socket, window: usize, lane: &Lane) -> Result<LaneReport> {
    let mut calls = Calls::new(lane);
    let mut out = Vec::with_capacity(window * FRAME);
    let mut buffer = vec![0; READ];
    let mut filled = 0;
    loop {
        out.clear();
        calls.fill(window, &mut out);
        if calls.are_done() {
            return Ok(calls.report());
        }
        socket.write_all(&out).await?;
        match socket.read(&mut buffer[filled..]).await? {
            0 => return Err("the server has closed the connection".into()),
            count => filled += count,
        }
        let complete = complete(&buffer[..filled])?;
        for frame in buffer[..complete].chunks_exact(FRAME) {
            calls.answer(&frame[4..])?;
        }
        buffer.copy_within(complete..filled, 0);
        filled -= complete;
    }
}

/// The calls of a lane, of which several may be under way.
pub(crate) struct Calls<'a> {
    lane: &'a Lane,
    sent: u64,
    answered: u64,
    starts: VecDeque<Instant>,
    latencies: Latencies,
}

impl<'a> Calls<'a> {
    pub(crate) fn new(lane: &'a Lane) -> Self {
        Self {
            lane,
            sent: 0,
            answered: 0,
            starts: VecDeque::new(),
            latencies: Latencies::new(lane.takes_latencies),
        }
    }

    /// Writes as many frames as the window has room for.
    pub(crate) fn fill(&mut self, window: usize, out: &mut Vec<u8>) {
        while self.sent - self.answered < window as u64 && !self.lane.until.is_over(self.sent) {
            out.extend_from_slice(&(BLOCK as u32).to_le_bytes());
            out.extend_from_slice(&data::block(self.lane.number, self.sent));
            self.sent += 1;
            if self.latencies.are_wanted() {
                self.starts.push_back(Instant::now());
            }
        }
    }

    /// Checks the next answer.
    pub(crate) fn answer(&mut self, echo: &[u8]) -> Result<()> {
        if echo != data::block(self.lane.number, self.answered) {
            return Err(data::wrong("the echo"));
        }
        self.answered += 1;
        if let Some(start) = self.starts.pop_front() {
            self.latencies.record(start.elapsed());
        }
        Ok(())
    }

    /// Whether nothing is under way.
    pub(crate) fn are_done(&self) -> bool {
        self.answered == self.sent
    }

    pub(crate) fn report(self) -> LaneReport {
        LaneReport {
            operations: self.answered,
            bytes: self.answered * BLOCK as u64,
            latencies: self.latencies,
        }
    }
}
