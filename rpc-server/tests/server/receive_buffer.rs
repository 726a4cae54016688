//! How much the kernel keeps of a connection that the server does not read, as its client sees it.

use std::io::{self, Write};
use std::time::Duration;

use rpc_server::{Address, ReceiveBuffer, Server, ServerBuilder};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::lab::Lab;
use crate::support::raw::{CALL, FAILURE, PREFACE, call, call_body, chunked, method_id};
use crate::support::{builder, within};

/// A server, and a client that has greeted it.
async fn greeted(builder: ServerBuilder) -> (Server, TcpStream) {
    let server = builder.listen("tcp://127.0.0.1:0").start_here().unwrap();
    let Address::Tcp { host, port } = &server.addresses()[0] else {
        unreachable!("it listens on TCP");
    };
    let mut client = TcpStream::connect((host.as_str(), *port)).await.unwrap();
    client.write_all(&PREFACE).await.unwrap();
    within(client.read_exact(&mut [0; 32])).await.unwrap();
    (server, client)
}

/// Bytes of a client that the kernel takes while the server's only thread is busy, which is this one.
async fn taken(builder: ServerBuilder) -> usize {
    let (_server, mut client) = greeted(builder).await;
    // After so many bytes the kernel has found out how much it would like to keep.
    for id in 0..40 {
        let too_long = call(id, "add", &[0; 200 << 10]);
        within(client.write_all(&too_long)).await.unwrap();
        expect_failure(&mut client).await;
    }
    fill(client.into_std().unwrap())
}

async fn expect_failure(client: &mut TcpStream) {
    let mut header = [0; 16];
    within(client.read_exact(&mut header)).await.unwrap();
    assert_eq!(header[4], FAILURE);
    let text = u32::from_be_bytes(header[..4].try_into().unwrap()).next_multiple_of(16);
    within(client.read_exact(&mut vec![0; text as usize]))
        .await
        .unwrap();
}

/// Likewise, after so many bytes in chunks that the server takes small calls to be rare.
async fn taken_after_chunks(builder: ServerBuilder) -> usize {
    let (_server, mut client) = greeted(builder).await;
    let body = call_body(method_id("echo"), 0, &[0; 1_000_000]);
    for id in 0..20 {
        let too_long = chunked(CALL, 0, id, &body, 64 << 10);
        within(client.write_all(&too_long)).await.unwrap();
        // No archive, so what comes back is short.
        expect_failure(&mut client).await;
    }
    fill(client.into_std().unwrap())
}

/// Writes until nothing more is taken for a while: what arrives is acknowledged by a thread of the kernel, which may have to wait for its turn.
fn fill(mut client: std::net::TcpStream) -> usize {
    // Of this end the kernel takes no more than it can send.
    SockRef::from(&client).set_tcp_notsent_lowat(1).unwrap();
    client.set_nonblocking(false).unwrap();
    client
        .set_write_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let mut taken = 0;
    loop {
        match client.write(&[0; 4096]) {
            Ok(written) => taken += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn as_much_is_kept_as_the_setting_says() {
    let lab = Lab::default();
    let with = |buffer| builder(&lab).receive_buffer(buffer);
    let little = taken(with(ReceiveBuffer::Bytes(32 << 10))).await;
    let near = taken(with(ReceiveBuffer::Bytes(ReceiveBuffer::NEAR))).await;
    let default = taken(builder(&lab)).await;
    assert!(little < default / 2, "{little} {default}");
    assert!(default.abs_diff(near) < near / 2, "{default} {near}");
}

#[tokio::test]
async fn more_is_kept_after_nothing_but_long_bodies() {
    let lab = Lab::default();
    let before = taken(builder(&lab)).await;
    let during = taken_after_chunks(builder(&lab)).await;
    let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
    let is_granted = most.trim().parse::<usize>().unwrap() >= 1 << 20;
    assert!(during > 2 * before || !is_granted, "{before} {during}");
}
