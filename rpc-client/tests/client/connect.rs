//! Connecting: strangers, other versions, silence.

use std::error::Error;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use rpc_client::{Channel, ConnectError};
use rpc_core::Limits;
use rpc_core::error::{ConnectionError, HandshakeError};
use tokio::net::{TcpSocket, TcpStream};

use crate::raw_server::{Connection, Preface, RawServer};
use crate::within;

/// Connects to a server that does what `serve` says, and returns why it did not work.
async fn refused_by<F: Future<Output = Connection>>(serve: impl FnOnce(Connection) -> F) -> ConnectError {
    let server = RawServer::bind().await;
    let limits = Limits {
        handshake_timeout: Duration::from_millis(50),
        ..Limits::default()
    };
    let address = server.address();
    let serve = async { serve(server.accept().await).await };
    let (result, _open) =
        within(async { tokio::join!(Channel::builder().limits(limits).connect(&address), serve) }).await;
    let error = result.unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
    error
}

fn cause(error: &ConnectError) -> String {
    error.source().unwrap().to_string()
}

#[tokio::test]
async fn an_address_that_nobody_listens_at_is_refused_at_once() {
    let address = RawServer::bind().await.address();
    let error = within(Channel::connect(&address)).await.unwrap_err();
    assert!(matches!(error, ConnectError::Dial(_)));
    assert_eq!(
        error.to_string(),
        format!("no connection to {address}: nothing listens there")
    );
}

#[tokio::test]
async fn a_missing_socket_file_is_named() {
    let error = within(Channel::connect("unix:///nowhere/rpc.sock"))
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "no connection to unix:///nowhere/rpc.sock: no such socket file"
    );
}

#[tokio::test]
async fn an_address_is_checked_before_anything_is_tried() {
    let error = Channel::connect("localhost:80").await.unwrap_err();
    assert!(matches!(error, ConnectError::Address(_)));
    assert!(error.to_string().contains("\"localhost:80\""), "{error}");
}

#[tokio::test]
async fn limits_are_checked_before_anything_is_tried() {
    let limits = Limits {
        max_calls: 1,
        ..Limits::default()
    };
    let error = Channel::builder()
        .limits(limits)
        .connect("tcp://127.0.0.1:1")
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "limit max_calls is 1, outside of 16 to 65536");
}

#[tokio::test]
async fn dialling_is_limited_in_time() {
    // The kernel accepts as many connections as fit into the queue, and lets others wait.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    for _ in 0..4 {
        let mut connecting = Box::pin(TcpStream::connect(address));
        poll_fn(|cx| Poll::Ready(connecting.as_mut().poll(cx).is_ready())).await;
        queued.push(connecting);
    }
    let connect = Channel::builder()
        .connect_timeout(Duration::from_millis(50))
        .connect(address);
    let error = within(connect).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no connection to tcp://{address} within 50ms")
    );
}

/// F1, P-02
#[tokio::test]
async fn an_http_server_is_recognised() {
    let error = refused_by(|mut connection| async {
        connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        connection
    })
    .await;
    assert_eq!(
        cause(&error),
        "peer speaks another protocol: byte 0 is 48, which looks like HTTP"
    );
    assert!(!error.is_incompatible());
}

/// F1
#[tokio::test]
async fn a_tls_server_is_recognised() {
    let error = refused_by(|mut connection| async {
        connection.write(&[0x16, 3, 1, 2, 0]).await;
        connection
    })
    .await;
    assert_eq!(
        cause(&error),
        "peer speaks another protocol: byte 0 is 16, which looks like TLS"
    );
}

/// P-07
#[tokio::test]
async fn a_silent_server_is_given_up() {
    let error = refused_by(|connection| async { connection }).await;
    assert_eq!(cause(&error), "timeout after 0 of 32 bytes of the preface");
}

/// P-07: the time counts from the start, not from the last byte.
#[tokio::test]
async fn a_server_that_stops_within_its_preface_is_given_up() {
    let error = refused_by(|mut connection| async {
        connection.write(&Preface::default().bytes()[..20]).await;
        connection
    })
    .await;
    assert_eq!(cause(&error), "timeout after 20 of 32 bytes of the preface");
}

/// F2, P-03
#[tokio::test]
async fn another_version_is_reported_with_both_ranges() {
    let error = refused_by(|mut connection| async {
        connection
            .greet(&Preface {
                versions: [3, 2],
                ..Preface::default()
            })
            .await;
        connection
    })
    .await;
    assert!(matches!(
        error,
        ConnectError::Handshake {
            error: HandshakeError::Version { .. },
            ..
        }
    ));
    assert_eq!(cause(&error), "peer speaks versions 2 to 3, this side 1 to 1");
    assert!(error.is_incompatible());
}

/// P-04
#[tokio::test]
async fn another_archive_format_is_reported_with_both() {
    let error = refused_by(|mut connection| async {
        connection
            .greet(&Preface {
                format: [8, 9],
                ..Preface::default()
            })
            .await;
        connection
    })
    .await;
    assert_eq!(
        cause(&error),
        "peer archives as rkyv 0.8, 64-bit pointers, aligned, big-endian, \
         this side as rkyv 0.8, 32-bit pointers, aligned, little-endian"
    );
    assert!(error.is_incompatible());
}

/// P-17
#[tokio::test]
async fn a_server_that_goes_within_its_preface_is_reported_with_what_had_come() {
    let error = refused_by(|mut connection| async {
        connection.read(32).await;
        connection.write(&Preface::default().bytes()[..5]).await;
        connection.finish().await
    })
    .await;
    assert_eq!(
        cause(&error),
        "connection ended after 5 of 32 bytes of the preface"
    );
}

#[tokio::test]
async fn a_server_that_says_goodbye_at_once_is_quoted() {
    for code in [33, 70] {
        let error = refused_by(|mut connection| async move {
            connection.read(32).await;
            // In one write, so that it is there when the client has read the preface.
            let mut bytes = Preface::default().bytes();
            bytes.extend_from_slice(&[0, 0, 0, 11, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, code]);
            bytes.extend_from_slice(b"\0\0\0\0\0\0\0\0why\0\0\0\0\0");
            connection.write(&bytes).await;
            connection
        })
        .await;
        assert!(matches!(
            error,
            ConnectError::Connection {
                error: ConnectionError::Goaway { .. },
                ..
            }
        ));
        assert_eq!(
            cause(&error),
            format!("peer closed the connection with code {code}: why")
        );
    }
}

#[tokio::test]
async fn a_connect_that_is_dropped_closes_its_socket() {
    let server = RawServer::bind().await;
    let address = server.address();
    within(async {
        let mut connection = tokio::select! {
            _ = Channel::connect(&address) => panic!("nobody has greeted"),
            connection = async {
                let mut connection = server.accept().await;
                connection.read(32).await;
                connection
            } => connection,
        };
        connection.expect_end().await;
    })
    .await;
}
