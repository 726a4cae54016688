//! In which order a connection reads and writes, seen from the server's end.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rpc_core::{CallError, FailureKind};
use tokio::runtime::Builder;
use tokio::sync::mpsc::unbounded_channel;

use crate::raw_server::{
    Connection, Frame, Preface, REPLY, UnixRawServer, archive_of_bytes, frame, frames_in,
};
use crate::{Client, builder, started, within};

async fn connected() -> (Client, Connection<tokio::net::UnixStream>) {
    let listener = UnixRawServer::bind();
    let address = listener.address();
    let accept = async {
        let mut connection = listener.accept().await;
        connection.greet(&Preface::default()).await;
        connection
    };
    let (channel, connection) = tokio::join!(builder().connect(&address), accept);
    (Client::new(channel.unwrap()), connection)
}

/// The server works on some calls while this side works on its answers to others.
#[test]
fn calls_that_follow_answers_leave_before_the_next_answers_are_read() {
    // This runtime looks at its sockets after each task: what the server sends is there at once.
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_all().event_interval(1).build().unwrap();
    runtime.block_on(within(async {
        let (client, mut server) = connected().await;
        let (send_later, mut later) = unbounded_channel::<(Arc<UnixStream>, Vec<u8>)>();
        // Two callers are answered and call again; behind that the answer to a third one is sent.
        let [first, second] = [client.clone(), client.clone()];
        tokio::spawn(async move {
            first.next(0).await.unwrap();
            first.next(1).await.unwrap();
        });
        let mut calls = server.calls(1).await;
        tokio::spawn(async move {
            second.next(2).await.unwrap();
            let again = started(second.next(3)).await;
            let (server, answer) = later.recv().await.unwrap();
            (&*server).write_all(&answer).unwrap();
            again.await.unwrap();
        });
        calls.extend(server.calls(1).await);
        let third = started(client.next(4)).await;
        calls.extend(server.calls(1).await);

        let answer = |call: &Frame| frame(REPLY, 0, call.call, 0, &7_u64.to_le_bytes());
        let server = Arc::new(server.0.into_std().unwrap());
        send_later.send((Arc::clone(&server), answer(&calls[2]))).unwrap();
        let together = [answer(&calls[0]), answer(&calls[1])].concat();
        (&*server).write_all(&together).unwrap();
        third.await.unwrap();
        let mut seen = [0; 1024];
        let len = (&*server).read(&mut seen).unwrap();
        assert_eq!(frames_in(&seen[..len]), 2);
    }));
}

/// A caller finds out that the server is gone while answers to others are still unread.
#[tokio::test]
async fn answers_that_have_arrived_are_delivered_though_nothing_can_be_written() {
    const CALLS: u64 = 60;
    const LEN: usize = 2_000;
    within(async {
        let (client, mut server) = connected().await;
        let mut calls = Vec::new();
        for _ in 0..CALLS {
            calls.push(started(client.fill(LEN as u64)).await);
        }
        let answers: Vec<_> = (server.calls(60).await.iter())
            .flat_map(|call| frame(REPLY, 0, call.call, 0, &archive_of_bytes(vec![7; LEN])))
            .collect();
        server.write(&answers).await;
        drop(server);
        let late = started(client.next(1)).await;
        for call in calls {
            assert_eq!(call.await.unwrap().len(), LEN);
        }
        let failure = late.await.unwrap_err();
        let CallError::Failed(failure) = failure;
        assert!(
            matches!(failure.kind(), FailureKind::NotSent | FailureKind::ConnectionLost),
            "{failure:?}"
        );
    })
    .await;
}
