//! Listening, dialling and the sockets in between, over every kind of address.

mod support;

use std::error::Error;
use std::fs;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread;

use rpc_net::{Address, BindErrorKind, BindOptions, BoundListener, DialErrorKind, Peer, Socket, connect};
use socket2::{Domain, SockRef, Type};
use support::{TempDir, address, bind, connected, has_ipv6, read_to_end, read_up_to, unique, write_all};

#[tokio::test]
async fn bytes_go_both_ways_over_every_kind_of_address() {
    let directory = TempDir::new();
    for address in every_kind(&directory) {
        let (client, server) = connected(&address).await;
        write_all(&client, b"question").await;
        assert_eq!(read_up_to(&server, 8).await, b"question", "{address}");
        write_all(&server, b"answer").await;
        assert_eq!(read_up_to(&client, 6).await, b"answer", "{address}");
    }
}

#[tokio::test]
async fn what_does_not_fit_into_the_kernel_waits_for_the_reader() {
    let directory = TempDir::new();
    for address in every_kind(&directory) {
        let (client, server) = connected(&address).await;
        let sent: Vec<u8> = (0..8_000_000_u32).map(|index| index.to_le_bytes()[0]).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            write_all(&client, &sent).await;
            client.shutdown_write().unwrap();
            client
        });
        assert!(read_to_end(&server).await == expected, "{address}");
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn a_try_that_would_wait_says_so_and_the_next_poll_waits() {
    let (client, server) = Socket::pair().unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    assert_eq!(
        client.try_read(&mut [0; 4]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    assert!(client.poll_read_ready(&mut cx).is_pending());

    poll_fn(|cx| client.poll_write_ready(cx)).await.unwrap();
    let full = loop {
        match client.try_write(&[0; 65_536]) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    assert!(client.poll_write_ready(&mut cx).is_pending());

    drop(server);
    poll_fn(|cx| client.poll_write_ready(cx)).await.unwrap();
    assert_eq!(
        client.try_write(&[0]).unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
}

#[tokio::test]
async fn slices_are_written_in_order() {
    let directory = TempDir::new();
    for address in every_kind(&directory) {
        let (client, server) = connected(&address).await;
        poll_fn(|cx| client.poll_write_ready(cx)).await.unwrap();
        let slices = [IoSlice::new(b"head"), IoSlice::new(b""), IoSlice::new(b"body")];
        assert_eq!(client.try_write_vectored(&slices).unwrap(), 8);
        assert_eq!(read_up_to(&server, 8).await, b"headbody", "{address}");
    }
}

/// P-52
#[tokio::test]
async fn a_side_that_has_finished_sending_still_receives() {
    let directory = TempDir::new();
    for address in every_kind(&directory) {
        let (client, server) = connected(&address).await;
        write_all(&client, b"last words").await;
        client.shutdown_write().unwrap();
        assert_eq!(read_to_end(&server).await, b"last words", "{address}");
        write_all(&server, b"answer").await;
        drop(server);
        assert_eq!(read_to_end(&client).await, b"answer", "{address}");
        assert_eq!(
            client.try_write(b"more").unwrap_err().kind(),
            io::ErrorKind::BrokenPipe,
            "{address}"
        );
    }
}

#[tokio::test]
async fn each_end_of_a_tcp_socket_knows_the_other() {
    let bound = bind(&address("tcp://127.0.0.1:0"));
    let target = bound.local_address().unwrap();
    let listener = bound.into_tokio().unwrap();
    let client = connect(&target).await.unwrap();
    let server = listener.accept().await.unwrap();

    let source = SockRef::from(&client).local_addr().unwrap().as_socket().unwrap();
    assert_eq!(server.peer().unwrap(), Peer::Tcp(source));
    let Peer::Tcp(peer) = client.peer().unwrap() else {
        panic!("a TCP peer")
    };
    assert_eq!(Address::from(peer), target);
}

#[tokio::test]
async fn a_tcp_peer_that_reset_the_connection_is_still_known() {
    let (client, server) = connected(&address("tcp://127.0.0.1:0")).await;
    SockRef::from(&client)
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(client);
    poll_fn(|cx| server.poll_read_ready(cx)).await.unwrap();
    assert_eq!(
        server.try_read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert!(matches!(server.peer().unwrap(), Peer::Tcp(_)));
}

#[tokio::test]
async fn a_unix_peer_is_the_process_at_the_other_end() {
    let directory = TempDir::new();
    let path = directory.join("socket");
    let (client, server) = connected(&Address::Unix(path.clone())).await;
    let owner = fs::metadata("/proc/self").unwrap();

    for (socket, expected_path) in [(&client, Some(path)), (&server, None)] {
        let Peer::Unix { path, credentials } = socket.peer().unwrap() else {
            panic!("a Unix peer")
        };
        assert_eq!(path, expected_path);
        assert_eq!(credentials.uid, owner.uid());
        assert_eq!(credentials.gid, owner.gid());
        assert_eq!(credentials.pid, Some(std::process::id()));
    }

    let before = server.peer().unwrap();
    drop(client);
    assert_eq!(server.peer().unwrap(), before);
}

#[tokio::test]
async fn tcp_sockets_send_without_delay() {
    let (client, server) = connected(&address("tcp://127.0.0.1:0")).await;
    assert!(SockRef::from(&client).tcp_nodelay().unwrap());
    assert!(SockRef::from(&server).tcp_nodelay().unwrap());
}

#[tokio::test]
async fn no_socket_survives_exec() {
    let directory = TempDir::new();
    for address in every_kind(&directory) {
        let bound = bind(&address);
        let other = bound.try_clone().unwrap();
        let target = bound.local_address().unwrap();
        let listener = bound.into_tokio().unwrap();
        let client = connect(&target).await.unwrap();
        let server = listener.accept().await.unwrap();
        for fd in [other.as_fd(), listener.as_fd(), client.as_fd(), server.as_fd()] {
            assert!(is_closed_on_exec(&fd), "{address}");
        }
    }
}

#[tokio::test]
async fn a_socket_can_leave_the_runtime_and_come_back() {
    let (client, server) = connected(&address("tcp://127.0.0.1:0")).await;
    let client = Socket::from_std_tcp(client.into_fd().unwrap().into()).unwrap();
    write_all(&client, b"tcp").await;
    assert_eq!(read_up_to(&server, 3).await, b"tcp");

    let (a, b) = std::os::unix::net::UnixStream::pair().unwrap();
    let (a, b) = (
        Socket::from_std_unix(a).unwrap(),
        Socket::from_std_unix(b).unwrap(),
    );
    let a = Socket::from_std_unix(a.into_fd().unwrap().into()).unwrap();
    write_all(&a, b"unix").await;
    assert_eq!(read_up_to(&b, 4).await, b"unix");
}

#[test]
fn a_bound_listener_can_move_to_the_thread_that_accepts() {
    let bound = bind(&address("tcp://127.0.0.1:0"));
    let target = bound.local_address().unwrap();
    let server = thread::spawn(move || {
        runtime().block_on(async {
            let socket = bound.into_tokio().unwrap().accept().await.unwrap();
            read_to_end(&socket).await
        })
    });
    runtime().block_on(async {
        let client = connect(&target).await.unwrap();
        write_all(&client, b"across threads").await;
    });
    assert_eq!(server.join().unwrap(), b"across threads");
}

#[tokio::test]
async fn dropping_an_accept_loses_no_connection() {
    let bound = bind(&address("tcp://127.0.0.1:0"));
    let target = bound.local_address().unwrap();
    let listener = bound.into_tokio().unwrap();
    {
        let accept = pin!(listener.accept());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(accept.poll(&mut cx), Poll::Pending));
    }
    let client = connect(&target).await.unwrap();
    write_all(&client, b"x").await;
    assert_eq!(read_up_to(&listener.accept().await.unwrap(), 1).await, b"x");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let first = bind(&address("tcp://127.0.0.1:0"));
    let taken = first.local_address().unwrap();
    let error = BoundListener::bind(&taken, &BindOptions::default()).unwrap_err();
    assert_eq!(error.kind(), BindErrorKind::AddressInUse);
    assert_eq!(error.address(), &taken);
    assert_eq!(error.to_string(), format!("address {taken} is already in use"));
    assert_eq!(
        error
            .source()
            .unwrap()
            .downcast_ref::<io::Error>()
            .unwrap()
            .kind(),
        io::ErrorKind::AddrInUse
    );
}

#[test]
fn an_abstract_name_that_is_taken_is_named_and_free_after_the_drop() {
    let name = Address::UnixAbstract(unique());
    let first = bind(&name);
    let error = BoundListener::bind(&name, &BindOptions::default()).unwrap_err();
    assert_eq!(error.kind(), BindErrorKind::AddressInUse);
    drop(first);
    bind(&name);
}

#[test]
fn an_abstract_name_of_107_bytes_is_not_cut() {
    let name = format!("{:p<107}", unique());
    let long = bind(&Address::UnixAbstract(name.clone()));
    let _shorter = bind(&Address::UnixAbstract(name[..106].to_owned()));
    assert_eq!(long.local_address().unwrap(), Address::UnixAbstract(name));
}

#[test]
fn an_address_of_another_machine_is_refused() {
    // A block of addresses for documentation, which no machine has.
    let error = BoundListener::bind(&address("tcp://192.0.2.1:0"), &BindOptions::default()).unwrap_err();
    assert_eq!(error.kind(), BindErrorKind::AddressNotLocal);
    assert_eq!(
        error.to_string(),
        "address tcp://192.0.2.1:0 is not an address of this machine"
    );
}

#[test]
fn a_port_is_shared_by_those_who_all_ask_for_it() {
    let options = BindOptions {
        reuse_port: true,
        ..BindOptions::default()
    };
    let first = BoundListener::bind(&address("tcp://127.0.0.1:0"), &options).unwrap();
    let shared = first.local_address().unwrap();
    let _second = BoundListener::bind(&shared, &options).unwrap();
    let error = BoundListener::bind(&shared, &BindOptions::default()).unwrap_err();
    assert_eq!(error.kind(), BindErrorKind::AddressInUse);
}

#[test]
fn the_ipv6_wildcard_takes_no_ipv4_connections() {
    if !has_ipv6() {
        return;
    }
    let v6 = bind(&address("tcp://[::]:0"));
    assert!(SockRef::from(&v6).only_v6().unwrap());
}

#[test]
fn a_tcp_listener_can_be_inherited() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let expected = Address::from(listener.local_addr().unwrap());
    let inherited = BoundListener::from_fd(listener.into()).unwrap();
    assert_eq!(inherited.local_address().unwrap(), expected);
    assert!(SockRef::from(&inherited).nonblocking().unwrap());
}

#[tokio::test]
async fn a_port_without_a_listener_refuses() {
    let (_keeper, target) = silent_port();
    let error = connect(&target).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::Refused);
    assert_eq!(error.tried(), 1);
    assert_eq!(
        error.to_string(),
        format!("no connection to {target}: nothing listens there")
    );
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert_eq!(source.kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn an_abstract_name_without_a_listener_refuses() {
    let error = connect(&Address::UnixAbstract(unique())).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::Refused);
}

#[tokio::test]
async fn every_address_of_a_host_name_is_tried() {
    let bound = bind(&address("tcp://127.0.0.1:0"));
    let Address::Tcp { port, .. } = bound.local_address().unwrap() else {
        panic!("a TCP address")
    };
    let listener = bound.into_tokio().unwrap();
    let name = Address::tcp("localhost", port).unwrap();

    let _client = connect(&name).await.unwrap();
    listener.accept().await.unwrap();

    let (_keeper, target) = silent_port();
    let Address::Tcp { port, .. } = target else {
        panic!("a TCP address")
    };
    let addresses = tokio::net::lookup_host(("localhost", port))
        .await
        .unwrap()
        .count();
    let error = connect(&Address::tcp("localhost", port).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.tried(), addresses);
}

#[tokio::test]
async fn a_host_name_without_an_address_is_told_from_a_silent_host() {
    // An empty label: no resolver asks anybody about this one.
    let name = address("tcp://a..b:1");
    let error = connect(&name).await.unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::Unresolved);
    assert_eq!(error.tried(), 0);
    assert_eq!(
        error.to_string(),
        "no connection to tcp://a..b:1: the host name has no known address"
    );
    let error = BoundListener::bind(&name, &BindOptions::default()).unwrap_err();
    assert_eq!(error.kind(), BindErrorKind::Unresolved);
}

#[tokio::test]
async fn an_address_that_no_server_can_have_is_refused_with_the_reason() {
    let error = connect(&Address::UnixAbstract("n".repeat(108)))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), DialErrorKind::InvalidAddress);
    assert_eq!(error.tried(), 0);
    let source = error.source().unwrap().to_string();
    assert!(
        source.ends_with("has a name of 108 bytes, above the limit of 107"),
        "{source}"
    );
}

/// One address of each kind that this machine has.
fn every_kind(directory: &TempDir) -> Vec<Address> {
    let mut addresses = vec![
        address("tcp://127.0.0.1:0"),
        address("tcp://localhost:0"),
        Address::Unix(directory.join("socket")),
        Address::UnixAbstract(unique()),
    ];
    if has_ipv6() {
        addresses.push(address("tcp://[::1]:0"));
    }
    addresses
}

/// A TCP port that nothing listens on, kept from everybody else as long as the socket lives.
fn silent_port() -> (socket2::Socket, Address) {
    let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: std::net::SocketAddr = ([127, 0, 0, 1], 0).into();
    socket.bind(&any.into()).expect("a port");
    let address = socket
        .local_addr()
        .expect("an address")
        .as_socket()
        .expect("an IP address");
    (socket, address.into())
}

fn is_closed_on_exec(fd: &impl AsRawFd) -> bool {
    const O_CLOEXEC: u32 = 0o2_000_000;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd())).expect("fdinfo");
    let flags = info
        .lines()
        .find_map(|line| line.strip_prefix("flags:"))
        .expect("flags");
    u32::from_str_radix(flags.trim(), 8).expect("a number") & O_CLOEXEC != 0
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
}
