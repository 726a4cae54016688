//! How much the kernel keeps of a connection that its client does not read, as the server sees it.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::Duration;

use rpc_client::{Channel, ChannelBuilder, ReceiveBuffer};
use socket2::SockRef;
use tokio::task::spawn_blocking;

use crate::raw_server::{CHUNK, Connection, REPLY, RawServer, archive_of_bytes};
use crate::{ProbeClient, builder, within};

/// A client, and its server's end of the connection.
async fn greeted(builder: ChannelBuilder) -> (ProbeClient<Channel>, Connection) {
    let server = RawServer::bind().await;
    let address = server.address();
    let (channel, connection) =
        within(async { tokio::join!(builder.connect(&address), server.accept_greeted(16)) }).await;
    (ProbeClient::new(channel.unwrap()), connection)
}

/// Bytes of a server that the kernel takes while the client's only thread is busy, which is this one.
async fn taken(builder: ChannelBuilder) -> usize {
    let (client, mut connection) = greeted(builder).await;
    let call = tokio::spawn(client.fill(0).owned());
    answer_at_length(&mut connection).await;
    assert_eq!(within(call).await.unwrap().unwrap().len(), LONG);
    fill(connection.0.into_std().unwrap())
}

/// Likewise, with nothing but chunks before, so many bytes of them that small frames are taken to be rare.
async fn taken_after_chunks(builder: ChannelBuilder) -> usize {
    let (client, mut connection) = greeted(builder).await;
    let call = tokio::spawn(client.fill(0).owned());
    let id = within(connection.frame()).await.call;
    let body = archive_of_bytes(vec![0; 3 * LONG]);
    let mut chunks = body.chunks(32 << 10);
    let total = u32::try_from(body.len()).unwrap();
    within(connection.send(REPLY, 1, id, total, chunks.next().unwrap())).await;
    for chunk in chunks {
        within(connection.send(CHUNK, 0, id, 0, chunk)).await;
    }
    assert_eq!(within(call).await.unwrap().unwrap().len(), 3 * LONG);
    fill(connection.0.into_std().unwrap())
}

/// Bytes of a server that the kernel takes while no thread calls.
async fn taken_without_runtime(builder: ChannelBuilder) -> usize {
    let server = RawServer::bind().await;
    let address = server.address();
    let channel = spawn_blocking(move || builder.connect_blocking(&address).unwrap());
    let mut connection = within(server.accept_greeted(16)).await;
    let client = ProbeClient::new(within(channel).await.unwrap());
    let caller = client.clone();
    let call = spawn_blocking(move || caller.fill(0).owned().wait());
    answer_at_length(&mut connection).await;
    assert_eq!(within(call).await.unwrap().unwrap().len(), LONG);
    fill(connection.0.into_std().unwrap())
}

/// Bytes after which the kernel has found out how much it would like to keep.
const LONG: usize = 8 << 20;

async fn answer_at_length(connection: &mut Connection) {
    let call = within(connection.frame()).await.call;
    within(connection.send(REPLY, 0, call, 0, &archive_of_bytes(vec![0; LONG]))).await;
}

/// Whether the kernel grants a receive buffer of a MiB.
fn grants_a_mebibyte() -> bool {
    let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").unwrap();
    most.trim().parse::<usize>().unwrap() >= 1 << 20
}

/// Writes until nothing more is taken for a while: what arrives is acknowledged by a thread of the kernel, which may have to wait for its turn.
fn fill(mut socket: TcpStream) -> usize {
    // Of this end the kernel takes no more than it can send.
    SockRef::from(&socket).set_tcp_notsent_lowat(1).unwrap();
    socket.set_nonblocking(false).unwrap();
    socket
        .set_write_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let mut taken = 0;
    loop {
        match socket.write(&[0; 4096]) {
            Ok(written) => taken += written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return taken,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn as_much_is_kept_as_the_setting_says() {
    let with = |buffer| builder().receive_buffer(buffer);
    let little = taken(with(ReceiveBuffer::Bytes(32 << 10))).await;
    let near = taken(with(ReceiveBuffer::Bytes(ReceiveBuffer::NEAR))).await;
    let default = taken(builder()).await;
    assert!(little < default / 2, "{little} {default}");
    assert!(default.abs_diff(near) < near / 2, "{default} {near}");
}

#[tokio::test]
async fn the_blocking_client_keeps_as_much() {
    let with = |buffer| builder().receive_buffer(buffer);
    let little = taken_without_runtime(with(ReceiveBuffer::Bytes(32 << 10))).await;
    let near = taken_without_runtime(with(ReceiveBuffer::Bytes(ReceiveBuffer::NEAR))).await;
    let default = taken_without_runtime(builder()).await;
    assert!(little < default / 2, "{little} {default}");
    assert!(default.abs_diff(near) < near / 2, "{default} {near}");
}

#[tokio::test]
async fn more_is_kept_after_nothing_but_long_bodies() {
    let before = taken(builder()).await;
    let during = taken_after_chunks(builder()).await;
    let asked_for =
        taken_after_chunks(builder().receive_buffer(ReceiveBuffer::Bytes(ReceiveBuffer::NEAR))).await;
    assert!(during > 2 * before || !grants_a_mebibyte(), "{before} {during}");
    assert!(asked_for.abs_diff(before) < before / 2, "{before} {asked_for}");
}
