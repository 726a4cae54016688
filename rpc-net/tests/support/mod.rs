//! What the tests share: directories that vanish, and sockets that are read to the last byte.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::fs;
use std::future::poll_fn;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{BufMut, BytesMut};
use rpc_net::{Address, BindOptions, BoundListener, Socket, connect};

/// A directory of its own for one test, removed with everything in it.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("rpc-net-{}", unique()));
        fs::create_dir(&path).expect("a directory for the test");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(crate) fn user(&self) -> u32 {
        self.0.metadata().expect("metadata").uid()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A text that no other test of this machine has.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn address(text: &str) -> Address {
    text.parse().expect("an address")
}

pub(crate) fn bind(address: &Address) -> BoundListener {
    BoundListener::bind(address, &BindOptions::default()).expect("a listener")
}

/// Whether the machine has an IPv6 loopback address.
pub(crate) fn has_ipv6() -> bool {
    match std::net::TcpListener::bind("[::1]:0") {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => false,
        Err(error) if error.raw_os_error() == Some(97) => false,
        Err(error) => panic!("binding to ::1: {error}"),
    }
}

/// Binds to `address`, connects to it, and returns the ends of the client and of the server.
pub(crate) async fn connected(address: &Address) -> (Socket, Socket) {
    let bound = bind(address);
    let target = bound.local_address().expect("a local address");
    let listener = bound.into_tokio().expect("a listener");
    let client = connect(&target).await.expect("a connection");
    (client, listener.accept().await.expect("a connection"))
}

pub(crate) async fn write_all(socket: &Socket, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        poll_fn(|cx| socket.poll_write_ready(cx)).await.expect("ready");
        match socket.try_write(bytes) {
            Ok(taken) => bytes = &bytes[taken..],
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
}

/// Reads `length` bytes, or what comes before the end.
pub(crate) async fn read_up_to(socket: &Socket, length: usize) -> Vec<u8> {
    let mut buffer = Vec::new();
    while buffer.len() < length {
        poll_fn(|cx| socket.poll_read_ready(cx)).await.expect("ready");
        let mut part = BytesMut::with_capacity(1 << 16).limit(length - buffer.len());
        match socket.try_read_buf(&mut part) {
            Ok(0) => break,
            Ok(_) => buffer.extend_from_slice(part.get_ref()),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
    }
    buffer
}

pub(crate) async fn read_to_end(socket: &Socket) -> Vec<u8> {
    read_up_to(socket, 1 << 24).await
}
