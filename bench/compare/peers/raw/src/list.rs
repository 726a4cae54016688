//! List: rkyv archives, encoded for every call, validated and walked where they were received.

use harness::{LaneReport, Lanes, ListSums, Result, data};
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::vec::ArchivedVec;
use rkyv::{Archive, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::header::{HEADER, header, requests, stated_len};
use crate::socket::{Socket, closed};
use crate::window::Window;

/// A record of the list.
#[derive(Archive, Serialize)]
pub(crate) struct Record {
    id: u64,
    name: String,
    tags: Vec<String>,
    score: f64,
}

/// The list, as its server has it.
pub(crate) fn records() -> Vec<Record> {
    let record = |record: data::Record| Record {
        id: record.id,
        name: record.name,
        tags: record.tags,
        score: record.score,
    };
    data::records().map(record).collect()
}

/// Room for what was received; the longest archive fits in many times.
const ROOM: usize = 4 << 20;

/// With less room than this behind it, an incomplete archive is moved to the front.
const LEAST_ROOM: usize = 256 << 10;

/// Answers every request by an archive of its own; those that came together leave together.
pub(crate) async fn serve(mut socket: Socket, records: &Vec<Record>) -> Result<()> {
    let mut asked = Vec::with_capacity(1 << 10);
    let mut out = AlignedVec::<HEADER>::new();
    loop {
        let count = requests(&mut socket, &mut asked).await?;
        if count == 0 {
            return Ok(());
        }
        out.clear();
        for _ in 0..count {
            out = encoded(records, out)?;
        }
        socket.write_all(&out).await?;
    }
}

/// Appends a header and an archive, padded.
fn encoded(records: &Vec<Record>, mut out: AlignedVec<HEADER>) -> Result<AlignedVec<HEADER>> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let mut out = rkyv::api::high::to_bytes_in::<_, Error>(records, out)?;
    let len = out.len() - start - HEADER;
    out[start..start + HEADER].copy_from_slice(&header(len));
    out.resize(out.len().next_multiple_of(HEADER), 0);
    Ok(out)
}

/// Makes calls until the lane is over.
pub(crate) async fn call(socket: &mut Socket, lanes: &Lanes) -> Result<LaneReport> {
    let mut window = Window::new(lanes);
    let mut out = Vec::new();
    let mut buffer = AlignedVec::<HEADER>::new();
    buffer.resize(ROOM, 0);
    let (mut start, mut end) = (0, 0);
    loop {
        out.clear();
        window.fill(|_| out.extend_from_slice(&header(0)));
        if window.is_empty() {
            return Ok(window.report(0));
        }
        socket.write_all(&out).await?;
        match socket.read(&mut buffer[end..]).await? {
            0 => return Err(closed()),
            count => end += count,
        }
        while let Some(archive) = complete(&buffer[start..end])? {
            start += HEADER + archive.len().next_multiple_of(HEADER);
            sum(archive)?.check()?;
            window.answer();
        }
        if buffer.len() - end < LEAST_ROOM || start == end {
            buffer.copy_within(start..end, 0);
            (start, end) = (0, end - start);
        }
    }
}

/// The archive at the beginning of `bytes`, if all of it is there.
fn complete(bytes: &[u8]) -> Result<Option<&[u8]>> {
    let Some(header) = bytes.get(..HEADER) else {
        return Ok(None);
    };
    let len = stated_len(header, LEAST_ROOM)?;
    let is_complete = bytes.len() >= HEADER + len.next_multiple_of(HEADER);
    Ok(is_complete.then(|| &bytes[HEADER..HEADER + len]))
}

/// Validates an archive and reads it in place.
fn sum(archive: &[u8]) -> Result<ListSums> {
    let mut sums = ListSums::default();
    for record in rkyv::access::<ArchivedVec<ArchivedRecord>, Error>(archive)?.iter() {
        sums.add(record.score.to_native(), record.name.len());
    }
    Ok(sums)
}
