//! Resets: a conversation that has every kind of frame is broken off by its server at every boundary between frames, and inside of every frame.

mod script;
mod talk;

use rpc_client::Channel;
use rpc_core::{CallError, CallFailure, FailureKind, Limits};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use self::script::{Point, Step, conversation, points};
use self::talk::{Talk, TalkClient};
use crate::raw_server::{CALL, CANCEL, Connection, FAILURE, REPLY, RawServer, STOP, UnixRawServer};
use crate::{LIMITS, builder, within};

/// Where a server listens, and how it breaks a connection off.
trait Listener {
    type Stream: AsyncRead + AsyncWrite + Unpin;

    fn address(&self) -> String;
    async fn accept(&self) -> Connection<Self::Stream>;
    fn break_off(connection: Connection<Self::Stream>);
}

impl Listener for RawServer {
    type Stream = TcpStream;

    fn address(&self) -> String {
        Self::address(self)
    }

    async fn accept(&self) -> Connection {
        let connection = Self::accept(self).await;
        connection.0.set_nodelay(true).unwrap();
        connection
    }

    /// The client gets a reset.
    fn break_off(connection: Connection) {
        connection.0.set_zero_linger().unwrap();
    }
}

impl Listener for UnixRawServer {
    type Stream = UnixStream;

    fn address(&self) -> String {
        Self::address(self)
    }

    async fn accept(&self) -> Connection<UnixStream> {
        Self::accept(self).await
    }

    /// The socket is closed, with what the server did not read.
    fn break_off(_connection: Connection<UnixStream>) {}
}

/// L3
#[tokio::test]
async fn a_reset_at_any_point_ends_every_call_once() {
    break_off_everywhere(&RawServer::bind().await).await;
}

/// L3: a Unix socket that is closed where a TCP connection would be reset.
#[tokio::test]
async fn a_close_at_any_point_ends_every_call_once() {
    break_off_everywhere(&UnixRawServer::bind()).await;
}

#[expect(clippy::print_stdout, reason = "shown by a test that fails")]
async fn break_off_everywhere(listener: &impl Listener) {
    let steps = conversation();
    for point in points(&steps) {
        println!("{point:?}");
        within(break_off(listener, &steps, point)).await;
    }
}

/// Has the conversation up to a point, breaks it off there, and looks at what becomes of the client.
async fn break_off<L: Listener>(listener: &L, steps: &[Step], point: Point) {
    // A window that one long item all but fills, so that the client grants credit.
    let limits = Limits {
        stream_credit: 64 << 10,
        ..LIMITS
    };
    let address = listener.address();
    let connecting = tokio::spawn(async move {
        let builder = builder()
            .limits(limits)
            .keep_alive(Some(script::PING_AFTER), script::PATIENCE);
        builder.connect(&address).await
    });
    let mut talk = Talk::new(connecting, listener.accept().await);
    for step in &steps[..point.steps] {
        talk.take(step).await;
    }
    if let Some(inside) = point.inside {
        talk.take_part(&steps[point.steps], inside).await;
    }
    let (connection, ended) = talk.break_off();
    L::break_off(connection);
    let had_calls = ended.has_calls();
    match ended.assert_typed().await {
        Some(client) => assert_connects_again(&client, listener, had_calls).await,
        // It was not connected yet, which it was told; another one is.
        None => {
            let address = listener.address();
            let connecting = async { Channel::connect(address).await.unwrap() };
            let (channel, connection) = tokio::join!(connecting, greeted(listener));
            assert_answered(&TalkClient::new(channel), connection).await;
        }
    }
}

async fn greeted<L: Listener>(listener: &L) -> Connection<L::Stream> {
    let mut connection = listener.accept().await;
    connection.greet(&script::preface()).await;
    connection
}

async fn assert_answered<S: AsyncRead + AsyncWrite + Unpin>(
    client: &TalkClient<Channel>,
    mut connection: Connection<S>,
) {
    let serve = async {
        let call = connection.frame().await;
        connection.reply(call.call, call.number() + 1).await;
    };
    let (answer, ()) = tokio::join!(client.next(1), serve);
    assert_eq!(*answer.unwrap(), 2);
}

/// The next call is answered on another connection. A client without calls may learn of the end of the last one by the first that it sends there.
async fn assert_connects_again<L: Listener>(client: &TalkClient<Channel>, listener: &L, had_calls: bool) {
    let serve = async {
        let mut connection = greeted(listener).await;
        let call = connection.frame().await;
        connection.reply(call.call, call.number() + 1).await;
        connection
    };
    let calls = async {
        match client.next(1).await {
            Err(CallError::Failed(lost)) if !had_calls => {
                assert_lost(&lost);
                client.next(1).await
            }
            result => result,
        }
    };
    let (answer, _connection) = tokio::join!(calls, serve);
    assert_eq!(*answer.unwrap(), 2);
}

/// The failure is the end of its connection, and says about the call what that means. What a client without a runtime or a driver would say is another.
fn assert_lost(failure: &CallFailure) {
    let expected = match failure.may_have_run() {
        true => FailureKind::ConnectionLost,
        false => FailureKind::NotSent,
    };
    assert_eq!(failure.kind(), expected, "{failure}");
    assert!(!failure.text().contains("runtime"), "{failure}");
}

/// The conversation is worth its name: a kind of frame that it lacks is one of which nobody knows.
#[test]
fn the_conversation_has_every_kind_of_frame() {
    let steps = conversation();
    // P-15: a server sends no call and no cancel, a client no reply and no failure. A client says goodbye only to a server that breaks the rules.
    for kind in CALL..=STOP {
        let is_read = steps.iter().any(|step| step.reads() == Some(kind));
        let is_sent = steps.iter().any(|step| step.sends() == Some(kind));
        let by_client = ![REPLY, FAILURE, crate::raw_server::GOAWAY].contains(&kind);
        let by_server = ![CALL, CANCEL].contains(&kind);
        assert_eq!((is_read, is_sent), (by_client, by_server), "{kind}");
    }
}
