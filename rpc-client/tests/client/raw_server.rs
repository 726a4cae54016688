//! A server that is written out: it knows bytes and nothing of the crates under test.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

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

/// A listener on a port of its own.
pub(crate) struct RawServer(TcpListener);

impl RawServer {
    pub(crate) async fn bind() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    /// A listener where another one was.
    pub(crate) async fn bind_to(address: &str) -> Self {
        Self(
            TcpListener::bind(address.trim_start_matches("tcp://"))
                .await
                .unwrap(),
        )
    }

    pub(crate) fn address(&self) -> String {
        format!("tcp://{}", self.0.local_addr().unwrap())
    }

    pub(crate) async fn accept(&self) -> Connection {
        Connection(self.0.accept().await.unwrap().0)
    }

    /// Accepts a connection and exchanges prefaces.
    pub(crate) async fn accept_greeted(&self, max_calls: u32) -> Connection {
        let mut connection = self.accept().await;
        connection
            .greet(&Preface {
                max_calls,
                ..Preface::default()
            })
            .await;
        connection
    }

    /// Whether nobody has connected since.
    pub(crate) async fn is_left_alone(&self) -> bool {
        tokio::select! {
            biased;
            _ = self.0.accept() => false,
            () = tokio::task::yield_now() => true,
        }
    }
}

/// The same on a socket file of its own.
pub(crate) struct UnixRawServer(UnixListener, PathBuf);

impl UnixRawServer {
    pub(crate) fn bind() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("rpc-client-test-{}-{number}.sock", std::process::id());
        let path = std::env::temp_dir().join(name);
        Self(UnixListener::bind(&path).unwrap(), path)
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.1.display())
    }

    pub(crate) async fn accept(&self) -> Connection<UnixStream> {
        Connection(self.0.accept().await.unwrap().0)
    }
}

impl Drop for UnixRawServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.1);
    }
}

/// What a server says first (PROTOCOL.md section 1.1).
pub(crate) struct Preface {
    pub(crate) versions: [u8; 2],
    pub(crate) format: [u8; 2],
    pub(crate) max_body: u32,
    pub(crate) max_frame: u32,
    pub(crate) max_calls: u32,
}

impl Default for Preface {
    fn default() -> Self {
        Self {
            versions: [1, 1],
            format: [8, 4],
            max_body: 64 << 20,
            max_frame: 64 << 20,
            max_calls: 1024,
        }
    }
}

impl Preface {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [
            &[0xf5, 0x52, 0x50, 0x43][..],
            &self.versions,
            &self.format,
            &[0; 4],
            &self.max_body.to_be_bytes(),
            // A limit of a whole body is one of its frames, too.
            &self.max_frame.min(self.max_body).to_be_bytes(),
            &self.max_calls.to_be_bytes(),
            &65_536_u32.to_be_bytes(),
            &[0; 4],
        ]
        .concat()
    }
}

/// The server's end of a connection.
pub(crate) struct Connection<S = TcpStream>(pub(crate) S);

/// A frame of the client (PROTOCOL.md section 2).
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) call: u32,
    pub(crate) aux: u32,
    pub(crate) body: Vec<u8>,
}

impl Frame {
    /// The number that is the only argument of a call.
    pub(crate) fn number(&self) -> u64 {
        assert_eq!((self.kind, self.body.len()), (CALL, 24), "{self:?}");
        u64::from_le_bytes(self.body[16..].try_into().unwrap())
    }

    pub(crate) fn method(&self) -> u64 {
        u64::from_be_bytes(self.body[..8].try_into().unwrap())
    }

    pub(crate) fn time_left_micros(&self) -> u32 {
        u32::from_be_bytes(self.body[8..12].try_into().unwrap())
    }
}

/// A frame, whether or not it makes sense.
pub(crate) fn frame(kind: u8, flags: u8, call: u32, aux: u32, body: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(&[kind, flags, 0, 0]);
    frame.extend_from_slice(&call.to_be_bytes());
    frame.extend_from_slice(&aux.to_be_bytes());
    frame.extend_from_slice(body);
    frame.resize(frame.len().next_multiple_of(16), 0);
    frame
}

/// How many frames begin in these bytes.
pub(crate) fn frames_in(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(len) = bytes.first_chunk() {
        let len = 16 + u32::from_be_bytes(*len).next_multiple_of(16) as usize;
        bytes = bytes.get(len..).unwrap_or_default();
        count += 1;
    }
    count
}

/// The archive of a list of bytes: the items, and then the distance to them and their number.
pub(crate) fn archive_of_bytes(mut bytes: Vec<u8>) -> Vec<u8> {
    let len = i32::try_from(bytes.len()).unwrap();
    bytes.extend((-len).to_le_bytes());
    bytes.extend(len.to_le_bytes());
    bytes
}

/// Takes the trace context out of a call, which each has with the feature `tracing`.
fn drop_metadata(body: &mut Vec<u8>) {
    let len = usize::from(u16::from_be_bytes(body[14..16].try_into().unwrap()));
    body.drain(16..16 + len.next_multiple_of(16));
    body[14..16].fill(0);
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Reads the client's preface and answers with one.
    pub(crate) async fn greet(&mut self, preface: &Preface) {
        let theirs = self.read(32).await;
        assert_eq!(theirs[..8], [0xf5, 0x52, 0x50, 0x43, 1, 1, 8, 4]);
        assert_eq!(theirs[20..24], [0; 4], "a client accepts no calls");
        self.write(&preface.bytes()).await;
    }

    pub(crate) async fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).await.unwrap();
        bytes
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn frame(&mut self) -> Frame {
        let header = self.read(16).await;
        let word = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let len = word(0) as usize;
        let mut body = self.read(len.next_multiple_of(16)).await;
        assert!(body[len..].iter().all(|byte| *byte == 0), "padding");
        body.truncate(len);
        assert_eq!(header[6..8], [0, 0], "no channels");
        if cfg!(feature = "tracing") && header[4] == CALL {
            drop_metadata(&mut body);
        }
        Frame {
            kind: header[4],
            flags: header[5],
            call: word(8),
            aux: word(12),
            body,
        }
    }

    /// Reads as many calls.
    pub(crate) async fn calls(&mut self, count: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        for _ in 0..count {
            let frame = self.frame().await;
            assert_eq!(frame.kind, CALL);
            frames.push(frame);
        }
        frames
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, call: u32, aux: u32, body: &[u8]) {
        self.write(&frame(kind, flags, call, aux, body)).await;
    }

    pub(crate) async fn reply(&mut self, call: u32, number: u64) {
        self.send(REPLY, 0, call, 0, &number.to_le_bytes()).await;
    }

    pub(crate) async fn fail(&mut self, call: u32, code: u32, text: &str) {
        self.send(FAILURE, 0, call, code, text.as_bytes()).await;
    }

    pub(crate) async fn goaway(&mut self, code: u32, taken: u64, text: &str) {
        let body = [&taken.to_be_bytes(), text.as_bytes()].concat();
        self.send(GOAWAY, 0, 0, code, &body).await;
    }

    /// Sends nothing more.
    pub(crate) async fn finish(mut self) -> Self {
        self.0.shutdown().await.unwrap();
        self
    }

    /// Waits for the client's end.
    pub(crate) async fn expect_end(&mut self) {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _ = self.0.read_to_end(&mut rest).await;
        assert_eq!(rest, []);
    }
}

impl Connection {
    /// Answers calls with the next number, until the client has finished.
    pub(crate) async fn serve(mut self) {
        while self.0.peek(&mut [0]).await.is_ok_and(|len| len > 0) {
            let frame = self.frame().await;
            match frame.kind {
                CALL => self.reply(frame.call, frame.number() + 1).await,
                CANCEL => {}
                kind => panic!("kind {kind}"),
            }
        }
    }
}
