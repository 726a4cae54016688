//! A scripted peer: a blocking socket, and frames put together by hand from PROTOCOL.md.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rpc_server::Address;

use super::PATIENCE;
use super::flow::FlowClient;
use super::lab::ExperimentsClient;

pub(crate) const CALL: u8 = 1;
pub(crate) const REPLY: u8 = 2;
pub(crate) const FAILURE: u8 = 3;
pub(crate) const ITEM: u8 = 4;
pub(crate) const END: u8 = 5;
pub(crate) const CREDIT: u8 = 6;
pub(crate) const CANCEL: u8 = 7;
pub(crate) const CHUNK: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
pub(crate) const GOAWAY: u8 = 11;
pub(crate) const STOP: u8 = 12;

pub(crate) mod code {
    pub(crate) const CANCELLED: u32 = 1;
    pub(crate) const DEADLINE: u32 = 2;
    pub(crate) const EXPIRED: u32 = 3;
    pub(crate) const UNKNOWN_METHOD: u32 = 16;
    pub(crate) const INVALID_ARCHIVE: u32 = 18;
    pub(crate) const METADATA_TOO_LARGE: u32 = 19;
    pub(crate) const FLOW_CONTROL: u32 = 21;
    pub(crate) const REFUSED: u32 = 32;
    pub(crate) const DRAINING: u32 = 33;
    pub(crate) const PROTOCOL: u32 = 64;
    pub(crate) const FRAME_TOO_LARGE: u32 = 65;
    pub(crate) const VERSION: u32 = 66;
    pub(crate) const FORMAT: u32 = 67;
    pub(crate) const FEATURE: u32 = 68;
    pub(crate) const HANDSHAKE_TIMEOUT: u32 = 69;
    pub(crate) const CALM: u32 = 70;
}

/// The preface of a client with the usual format and generous limits.
pub(crate) const PREFACE: [u8; 32] = [
    0xf5, b'R', b'P', b'C', 1, 1, 8, 4, // magic, versions, format
    0, 0, 0, 0, // features
    4, 0, 0, 0, // max body: 64 MiB
    4, 0, 0, 0, // max frame
    0, 0, 0, 0, // max calls
    0, 4, 0, 0, // stream credit
    0, 0, 0, 0,
];

/// A client's end of a connection.
#[derive(Debug)]
pub(crate) struct RawPeer {
    socket: RawSocket,
}

#[derive(Debug)]
enum RawSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) channel: u16,
    pub(crate) call: u32,
    pub(crate) aux: u32,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// The text of a failure or goaway.
    pub(crate) fn text(&self) -> String {
        let start = if self.kind == GOAWAY { 8 } else { 0 };
        String::from_utf8(self.body[start..].to_vec()).unwrap()
    }

    /// The number that a reply consists of.
    pub(crate) fn number(&self) -> u64 {
        assert_eq!((self.kind, self.flags), (REPLY, 0), "{self:?}");
        u64::from_le_bytes(self.body.as_slice().try_into().unwrap())
    }
}

impl RawPeer {
    /// Connects and sends nothing.
    pub(crate) fn connect(address: &Address) -> Self {
        Self::try_connect(address).unwrap()
    }

    /// Connects to a server that may be gone.
    pub(crate) fn try_connect(address: &Address) -> io::Result<Self> {
        let socket = match address {
            Address::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                RawSocket::Tcp(stream)
            }
            Address::Unix(path) => RawSocket::unix(UnixStream::connect(path)?),
            Address::UnixAbstract(name) => {
                let address = std::os::unix::net::SocketAddr::from_abstract_name(name).unwrap();
                RawSocket::unix(UnixStream::connect_addr(&address)?)
            }
        };
        Ok(Self { socket })
    }

    /// Connects and exchanges prefaces.
    pub(crate) fn greeted(address: &Address) -> Self {
        let mut peer = Self::connect(address);
        peer.send(&PREFACE);
        peer.read_preface();
        peer
    }

    /// Sends bytes, all of them.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap();
    }

    /// Sends bytes to a server that may have had enough.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.socket {
            RawSocket::Tcp(stream) => stream.write_all(bytes),
            RawSocket::Unix(stream) => stream.write_all(bytes),
        }
    }

    /// Sends as many of the bytes as the socket takes at once; none if it takes none.
    pub(crate) fn send_some(&mut self, bytes: &[u8]) -> usize {
        self.set_nonblocking(true);
        let sent = match &mut self.socket {
            RawSocket::Tcp(stream) => stream.write(bytes),
            RawSocket::Unix(stream) => stream.write(bytes),
        };
        self.set_nonblocking(false);
        match sent {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => panic!("{error}"),
        }
    }

    fn set_nonblocking(&self, on: bool) {
        match &self.socket {
            RawSocket::Tcp(stream) => stream.set_nonblocking(on).unwrap(),
            RawSocket::Unix(stream) => stream.set_nonblocking(on).unwrap(),
        }
    }

    /// Sends nothing more, and goes on reading.
    pub(crate) fn finish(&self) {
        match &self.socket {
            RawSocket::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            RawSocket::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// Reads the server's preface.
    pub(crate) fn read_preface(&mut self) -> [u8; 32] {
        let mut preface = [0; 32];
        self.read_exact(&mut preface).unwrap();
        assert_eq!(preface[..8], [0xf5, b'R', b'P', b'C', 1, 1, 8, 4]);
        preface
    }

    /// Reads the next frame, which has to come.
    pub(crate) fn frame(&mut self) -> Frame {
        self.try_frame().expect("the connection has ended")
    }

    /// Reads the next frame that is about a call. The server may ask in between whether this peer is there.
    pub(crate) fn answer(&mut self) -> Frame {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "the server only asks");
            let frame = self.frame();
            if frame.kind != PING {
                return frame;
            }
        }
    }

    /// Reads the answer to the only call under way, which has to be a failure, and returns its code.
    pub(crate) fn failure(&mut self) -> (u32, String) {
        let frame = self.answer();
        assert_eq!(frame.kind, FAILURE, "{frame:?}");
        (frame.aux, frame.text())
    }

    /// Reads the next frame, or the end.
    pub(crate) fn try_frame(&mut self) -> Option<Frame> {
        let mut header = [0; 16];
        match self.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("the server is silent"),
            Err(_) => return None,
        }
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let len = word(0) as usize;
        let mut body = vec![0; len.next_multiple_of(16)];
        self.read_exact(&mut body).unwrap();
        assert!(body[len..].iter().all(|byte| *byte == 0), "padding is zero");
        body.truncate(len);
        Some(Frame {
            kind: header[4],
            flags: header[5],
            channel: u16::from_be_bytes([header[6], header[7]]),
            call: word(8),
            aux: word(12),
            body,
        })
    }

    /// Reads the announcement of a drain, and returns the number of the ping behind it (P-51).
    pub(crate) fn expect_announcement(&mut self) -> u32 {
        let goaway = self.frame();
        assert_eq!((goaway.kind, goaway.aux), (GOAWAY, code::DRAINING), "{goaway:?}");
        assert_eq!(goaway.body[..8], [0xff; 8], "how many calls is not decided yet");
        let ping = self.frame();
        assert_eq!(ping.kind, PING, "{ping:?}");
        ping.aux
    }

    /// Reads the goaway that says how many calls were taken.
    pub(crate) fn expect_taken(&mut self, taken: u64) {
        let goaway = self.frame();
        assert_eq!((goaway.kind, goaway.aux), (GOAWAY, code::DRAINING), "{goaway:?}");
        assert_eq!(goaway.body[..8], taken.to_be_bytes());
    }

    /// Goes along with a drain of the server: answers the ping, and is told how many calls were taken.
    pub(crate) fn follow_drain(&mut self, taken: u64) {
        let number = self.expect_announcement();
        self.send(&pong(number));
        self.expect_taken(taken);
    }

    /// Reads to the end of the connection, orderly or not.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let result = match &mut self.socket {
            RawSocket::Tcp(stream) => stream.read_to_end(&mut bytes),
            RawSocket::Unix(stream) => stream.read_to_end(&mut bytes),
        };
        if let Err(error) = result {
            assert_ne!(
                error.kind(),
                io::ErrorKind::WouldBlock,
                "the connection was not closed"
            );
        }
        bytes
    }

    /// Reads the goaway that ends the connection, after frames that do not matter, and the end.
    pub(crate) fn expect_goaway(&mut self) -> Frame {
        let mut last = None;
        while let Some(frame) = self.try_frame() {
            last = Some(frame);
        }
        last.filter(|frame| frame.kind == GOAWAY)
            .expect("no goaway before the end")
    }

    pub(crate) fn read_exact(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        match &mut self.socket {
            RawSocket::Tcp(stream) => stream.read_exact(bytes),
            RawSocket::Unix(stream) => stream.read_exact(bytes),
        }
    }

    /// Closes the connection without taking leave. Over TCP the server gets a reset; a Unix socket has no such thing, and is closed.
    pub(crate) fn reset(self) {
        if let RawSocket::Tcp(stream) = self.socket {
            let socket = socket2::Socket::from(stream);
            socket.set_linger(Some(std::time::Duration::ZERO)).unwrap();
        }
    }
}

impl RawSocket {
    fn unix(stream: UnixStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::Unix(stream)
    }
}

/// A frame, whether or not it makes sense.
pub(crate) fn frame(kind: u8, flags: u8, channel: u16, call: u32, aux: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(channel.to_be_bytes());
    bytes.extend(call.to_be_bytes());
    bytes.extend(aux.to_be_bytes());
    bytes.extend(body);
    bytes.resize(bytes.len().next_multiple_of(16), 0);
    bytes
}

/// A call of a method of the lab, without deadline and metadata.
pub(crate) fn call(id: u32, method: &str, arguments: &[u8]) -> Vec<u8> {
    timed_call(id, method, 0, arguments)
}

/// A call of a method of the lab with so many microseconds left.
pub(crate) fn timed_call(id: u32, method: &str, time_left: u32, arguments: &[u8]) -> Vec<u8> {
    frame(
        CALL,
        0,
        0,
        id,
        0,
        &call_body(method_id(method), time_left, arguments),
    )
}

pub(crate) fn call_body(method: u64, time_left: u32, arguments: &[u8]) -> Vec<u8> {
    [
        &method.to_be_bytes()[..],
        &time_left.to_be_bytes(),
        &[0; 4],
        arguments,
    ]
    .concat()
}

/// A call of `keep` in chunks, whose handler holds its block of `len` zeros until the key is released.
pub(crate) fn keep_call(id: u32, key: u64, len: u32) -> Vec<u8> {
    let back = -i32::try_from(len + 8).unwrap();
    let block = vec![0; len as usize];
    let arguments = [&block[..], &number(key), &back.to_le_bytes(), &len.to_le_bytes()].concat();
    chunked(
        CALL,
        0,
        id,
        &call_body(method_id("keep"), 0, &arguments),
        64 << 10,
    )
}

/// The same body as [`frame`] would send, in pieces of `piece` bytes.
pub(crate) fn chunked(kind: u8, channel: u16, call: u32, body: &[u8], piece: usize) -> Vec<u8> {
    let mut pieces = body.chunks(piece);
    let total = u32::try_from(body.len()).unwrap();
    let mut bytes = frame(kind, 1, channel, call, total, pieces.next().unwrap());
    for piece in pieces {
        bytes.extend(frame(CHUNK, 0, 0, call, 0, piece));
    }
    bytes
}

pub(crate) fn pong(number: u32) -> Vec<u8> {
    frame(PONG, 0, 0, 0, number, &[])
}

/// A call that sends on one channel, without deadline and metadata.
pub(crate) fn sending_call(id: u32, method: &str, arguments: &[u8]) -> Vec<u8> {
    let mut body = call_body(method_id(method), 0, arguments);
    body[12..14].copy_from_slice(&1_u16.to_be_bytes());
    frame(CALL, 0, 0, id, 0, &body)
}

/// An item of a channel of numbers.
pub(crate) fn item(call: u32, value: u64) -> Vec<u8> {
    frame(ITEM, 0, 0, call, 0, &number(value))
}

/// The orderly end of a client's first channel.
pub(crate) fn end(call: u32) -> Vec<u8> {
    frame(END, 0, 0, call, 0, &[])
}

pub(crate) fn cancel(id: u32) -> Vec<u8> {
    frame(CANCEL, 0, 0, id, 0, &[])
}

/// The id of a method of the lab.
pub(crate) fn method_id(name: &str) -> u64 {
    let of_lab = &ExperimentsClient::descriptor().methods;
    let of_flow = &FlowClient::descriptor().methods;
    let mut methods = of_lab.iter().chain(of_flow);
    methods.find(|method| method.name == name).unwrap().id.0
}

/// The archive of a tuple of one number.
pub(crate) fn number(number: u64) -> [u8; 8] {
    number.to_le_bytes()
}

/// The archive of a tuple of one text of at most 8 bytes.
pub(crate) fn short_text(text: &str) -> [u8; 8] {
    let mut archive = [0xff; 8];
    archive[..text.len()].copy_from_slice(text.as_bytes());
    archive
}
