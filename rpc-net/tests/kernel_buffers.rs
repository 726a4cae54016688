//! How much the kernel takes of a connection whose peer does not read, by what is under way on it.

mod support;

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use rpc_net::{Address, BulkOnly, ReceiveBuffer, Socket};
use socket2::SockRef;
use support::{TempDir, address, connected, read_up_to, write_all};
use tokio::time::timeout;

const SENDING: BulkOnly = BulkOnly {
    sending: true,
    receiving: false,
};
const RECEIVING: BulkOnly = BulkOnly {
    sending: false,
    receiving: true,
};

/// Lets so much pass that the kernel has found its measure, then writes until nothing more is taken, and reads that. How much it was.
async fn taken(from: &Socket, to: &Socket) -> usize {
    let much = vec![1; 16 << 20];
    tokio::join!(write_all(from, &much), read_up_to(to, much.len()));
    let mut taken = 0;
    loop {
        match from.try_write(&[2; 4 << 10]) {
            Ok(written) => taken += written,
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                // The peer's kernel may still be moving what it was sent.
                let room = poll_fn(|cx| from.poll_write_ready(cx));
                if timeout(Duration::from_millis(300), room).await.is_err() {
                    break;
                }
            }
        }
    }
    assert_eq!(read_up_to(to, taken).await.len(), taken);
    taken
}

/// A TCP connection with its usual buffers.
async fn usual() -> (Socket, Socket) {
    let (mut client, mut server) = connected(&address("tcp://127.0.0.1:0")).await;
    for socket in [&mut client, &mut server] {
        socket
            .set_receive_buffer(ReceiveBuffer::ByDistance)
            .expect("a buffer");
    }
    (client, server)
}

#[tokio::test]
async fn a_sender_hands_over_more_as_long_as_nothing_but_long_bodies_is_under_way() {
    let (mut client, server) = usual().await;
    let before = taken(&client, &server).await;
    client.adapt_buffers(SENDING).unwrap();
    let during = taken(&client, &server).await;
    client.adapt_buffers(BulkOnly::default()).unwrap();
    let after = taken(&client, &server).await;
    assert!(during > before + (512 << 10), "{before} {during}");
    assert!(after.abs_diff(before) < before / 2, "{before} {after}");
}

/// Bytes may be on their way that a shorter buffer has no room for.
#[tokio::test]
async fn a_receiver_keeps_more_once_nothing_but_long_bodies_was_under_way() {
    let (mut client, server) = usual().await;
    let before = taken(&server, &client).await;
    client.adapt_buffers(RECEIVING).unwrap();
    let granted = SockRef::from(&client).recv_buffer_size().unwrap();
    if granted < 2 << 20 {
        eprintln!("the kernel grants no more than {granted} bytes (net.core.rmem_max)");
        return;
    }
    let during = taken(&server, &client).await;
    client.adapt_buffers(BulkOnly::default()).unwrap();
    let after = taken(&server, &client).await;
    assert!(during > before + (512 << 10), "{before} {during}");
    assert!(after > before + (512 << 10), "{before} {after}");
    assert_eq!(SockRef::from(&client).recv_buffer_size().unwrap(), granted);
}

#[tokio::test]
async fn a_receive_buffer_that_was_asked_for_stays() {
    let (_client, mut server) = usual().await;
    server
        .set_receive_buffer(ReceiveBuffer::Bytes(100 << 10))
        .unwrap();
    server.adapt_buffers(RECEIVING).unwrap();
    let size = SockRef::from(&server).recv_buffer_size().unwrap();
    assert_eq!(size, 2 * (100 << 10));
}

#[tokio::test]
async fn a_unix_socket_has_a_longer_send_buffer_and_gets_its_own_back() {
    let directory = TempDir::new();
    let (mut client, server) = connected(&Address::Unix(directory.join("socket"))).await;
    let size = |socket: &Socket| SockRef::from(socket).send_buffer_size().unwrap();
    let before = (size(&client), taken(&client, &server).await);
    client.adapt_buffers(SENDING).unwrap();
    let during = (size(&client), taken(&client, &server).await);
    client.adapt_buffers(BulkOnly::default()).unwrap();
    let after = (size(&client), taken(&client, &server).await);
    // By as much as the kernel grants (net.core.wmem_max).
    assert!(during > before, "{before:?} {during:?}");
    assert_eq!(after, before);
    // What the peer sends is the peer's.
    client.adapt_buffers(RECEIVING).unwrap();
    assert_eq!(size(&client), before.0);
}
