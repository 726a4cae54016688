//! Blocking: the same frames by the standard library's sockets, and a thread for each connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::thread::spawn;

use harness::{Address, BLOCK, Call, LaneReport, Lanes, Ready, Result};

use crate::blob;
use crate::echo::{FRAME, READ, answers, complete, request};
use crate::header::{HEADER, header};
use crate::socket::closed;
use crate::window::Window;

/// A connected socket.
pub(crate) trait Blocking: Read + Write + Send + 'static {}

impl<S: Read + Write + Send + 'static> Blocking for S {}

/// Connects to a server.
pub(crate) fn connect(address: &Address) -> Result<Box<dyn Blocking>> {
    Ok(match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address)?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
        Address::Unix(path) => Box::new(UnixStream::connect(path)?),
    })
}

/// Listens, and serves every connection on a thread of its own.
pub(crate) fn serve(address: Address, call: Call, ready: Ready) -> Result<()> {
    let frame: Arc<[u8]> = match call {
        Call::Blob(len) => blob::frame(len).into(),
        Call::Echo | Call::List | Call::Items(_) => Arc::default(),
    };
    match address {
        Address::Tcp(address) => {
            let listener = TcpListener::bind(address)?;
            ready.listening(&Address::Tcp(listener.local_addr()?))?;
            for stream in listener.incoming() {
                let stream = stream?;
                stream.set_nodelay(true)?;
                let frame = Arc::clone(&frame);
                spawn(move || serve_one(stream, &frame));
            }
        }
        Address::Unix(path) => {
            let listener = UnixListener::bind(&path)?;
            ready.listening(&Address::Unix(path))?;
            for stream in listener.incoming() {
                let (stream, frame) = (stream?, Arc::clone(&frame));
                spawn(move || serve_one(stream, &frame));
            }
        }
    }
    Ok(())
}

/// Answers with the frame, or without one with what was sent.
fn serve_one(socket: impl Blocking, frame: &[u8]) -> Result<()> {
    if frame.is_empty() {
        return echo(socket);
    }
    body(socket, frame)
}

fn echo(mut socket: impl Blocking) -> Result<()> {
    let mut buffer = vec![0; READ];
    let mut filled = 0;
    loop {
        match socket.read(&mut buffer[filled..])? {
            0 => return Ok(()),
            count => filled += count,
        }
        let complete = complete(&buffer[..filled])?;
        socket.write_all(&buffer[..complete])?;
        buffer.copy_within(complete..filled, 0);
        filled -= complete;
    }
}

fn body(mut socket: impl Blocking, frame: &[u8]) -> Result<()> {
    let mut asked = [0; HEADER];
    loop {
        socket.read_exact(&mut asked)?;
        socket.write_all(frame)?;
    }
}

/// Makes echo calls until the lane is over.
pub(crate) fn call_echo(socket: &mut dyn Blocking, lanes: &Lanes) -> Result<LaneReport> {
    let mut window = Window::new(lanes);
    let mut out = Vec::with_capacity(lanes.in_flight * FRAME);
    let mut buffer = vec![0; READ];
    let mut filled = 0;
    loop {
        out.clear();
        window.fill(|call| request(&lanes.lane, call, &mut out));
        if window.is_empty() {
            return Ok(window.report(BLOCK as u64));
        }
        socket.write_all(&out)?;
        match socket.read(&mut buffer[filled..])? {
            0 => return Err(closed()),
            count => filled += count,
        }
        let complete = complete(&buffer[..filled])?;
        answers(&mut window, &buffer[..complete])?;
        buffer.copy_within(complete..filled, 0);
        filled -= complete;
    }
}

/// Makes calls for a body until the lane is over.
pub(crate) fn call_blob(socket: &mut dyn Blocking, lanes: &Lanes, len: u64) -> Result<LaneReport> {
    let mut window = Window::new(lanes);
    let mut out = Vec::new();
    let mut frame = vec![0; HEADER + usize::try_from(len)?];
    loop {
        out.clear();
        window.fill(|_| out.extend_from_slice(&header(0)));
        if window.is_empty() {
            return Ok(window.report(len));
        }
        socket.write_all(&out)?;
        socket.read_exact(&mut frame)?;
        blob::check(&frame, len)?;
        window.answer();
    }
}
