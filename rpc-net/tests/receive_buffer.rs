//! How much the kernel keeps of a TCP connection that nobody reads.

mod support;

use rpc_net::{ReceiveBuffer, Socket};
use socket2::SockRef;
use support::{TempDir, address, connected, has_ipv6};

/// What the kernel says that it keeps at most; it doubles what it is told, for its own records.
fn size(socket: &Socket) -> usize {
    SockRef::from(socket).recv_buffer_size().expect("a size") / 2
}

fn set(socket: &mut Socket, buffer: ReceiveBuffer) -> usize {
    socket.set_receive_buffer(buffer).expect("a buffer");
    size(socket)
}

#[tokio::test]
async fn of_a_peer_on_the_same_machine_little_is_kept() {
    let mut addresses = vec![address("tcp://127.0.0.1:0")];
    if has_ipv6() {
        addresses.push(address("tcp://[::1]:0"));
    }
    if let Some(own) = own_address() {
        addresses.push(address(&format!("tcp://{own}:0")));
    }
    for address in addresses {
        let (client, server) = connected(&address).await;
        for mut socket in [client, server] {
            assert_eq!(
                set(&mut socket, ReceiveBuffer::ByDistance),
                ReceiveBuffer::NEAR,
                "{address}"
            );
        }
    }
}

#[tokio::test]
async fn a_number_is_what_the_kernel_is_told_and_without_one_it_decides() {
    let (mut client, mut server) = connected(&address("tcp://127.0.0.1:0")).await;
    let before = size(&client);
    assert_eq!(set(&mut client, ReceiveBuffer::Kernel), before);
    assert_eq!(set(&mut server, ReceiveBuffer::Bytes(40_000)), 40_000);
}

#[tokio::test]
async fn unix_sockets_have_no_such_buffer_and_do_not_mind() {
    let directory = TempDir::new();
    let (mut client, _server) = connected(&rpc_net::Address::Unix(directory.join("socket"))).await;
    let before = size(&client);
    assert_eq!(set(&mut client, ReceiveBuffer::Bytes(40_000)), before);
}

/// An address of this machine that is not a loopback one, if it has any: the one that it would send from. Nothing is sent.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let own = socket.local_addr().ok()?.ip();
    (own.is_ipv4() && !own.is_loopback()).then_some(own)
}
