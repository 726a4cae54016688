//! In which order a connection reads and writes, seen from the server's end.

use rpc_core::{CallError, FailureKind};

use crate::raw_server::{Connection, Preface, REPLY, UnixRawServer, archive_of_bytes, frame};
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
