//! Talk: both ends of the conversation as far as it has gone, and what has to become of the client's once it is broken off.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::pin::Pin;

use rpc_client::{Channel, ConnectError};
use rpc_core::{CallError, CallFailure, FailureKind, Receiver, Sender, StreamError, service};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;

use super::assert_lost;
use super::script::{Action, HUGE, Inside, Method, Step, preface};
use crate::raw_server::{CALL, CHUNK, Connection, END, FAILURE, PING, PONG, REPLY, frame};
use crate::started;

/// What the client calls.
#[service]
pub(crate) trait Talking {
    /// Never returns.
    async fn hang(&self) -> u64;
    /// Returns the next number.
    async fn next(&self, number: u64) -> u64;
    /// Takes many bytes.
    async fn weigh(&self, block: &[u8]) -> u64;
    /// Returns many bytes.
    async fn fill(&self) -> Vec<u8>;
    /// Sends back what it gets.
    async fn mirror(&self, from: Receiver<Vec<u8>>, to: Sender<Vec<u8>>) -> u64;
}

pub(super) type TalkClient<C> = TalkingClient<C>;

/// A call without its answer, which other tests look at.
type Call = Pin<Box<dyn Future<Output = Result<(), CallError>>>>;

/// The client's end, once the connection is broken off.
#[derive(Default)]
pub(super) struct Ended {
    connecting: Option<JoinHandle<Result<Channel, ConnectError>>>,
    client: Option<TalkClient<Channel>>,
    calls: BTreeMap<u32, Call>,
    senders: BTreeMap<u32, Sender<Vec<u8>>>,
    receivers: BTreeMap<u32, Receiver<Vec<u8>>>,
    /// How many calls were begun.
    begun: u32,
    /// One that cannot have left whole.
    huge: Option<u32>,
    greeted: bool,
    /// Calls that the server has read whole.
    arrived: HashSet<u32>,
    /// Calls that it has answered, and how.
    answered: HashMap<u32, u8>,
    /// Calls whose first channel it has ended in good order.
    finished: HashSet<u32>,
}

/// Both ends.
pub(super) struct Talk<S> {
    server: Connection<S>,
    client: Ended,
    /// Frames that came before those that were waited for: kinds and calls.
    unread: Vec<(u8, u32)>,
    ping: u32,
    /// By id, how many calls came before the one that has it: ids are used again.
    calls: HashMap<u32, u32>,
    begun: u32,
    /// By call, what is missing of the call and of its reply.
    incoming: HashMap<u32, usize>,
    outgoing: HashMap<u32, usize>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    pub(super) fn new(connecting: JoinHandle<Result<Channel, ConnectError>>, server: Connection<S>) -> Self {
        let client = Ended {
            connecting: Some(connecting),
            ..Ended::default()
        };
        Self {
            server,
            client,
            unread: Vec::new(),
            ping: 0,
            calls: HashMap::new(),
            begun: 0,
            incoming: HashMap::new(),
            outgoing: HashMap::new(),
        }
    }

    pub(super) async fn take(&mut self, step: &Step) {
        match step {
            Step::Client(action) => self.client.act(*action).await,
            Step::ReadPreface => drop(self.server.read(32).await),
            Step::SendPreface => {
                self.server.write(&preface().bytes()).await;
                self.client.greeted = true;
            }
            Step::Read(kind, call) => self.read_up_to((*kind, *call)).await,
            Step::Send(bytes) => {
                self.server.write(bytes).await;
                self.note_sent(bytes);
            }
            Step::SendPong => self.server.write(&frame(PONG, 0, 0, self.ping, &[])).await,
        }
    }

    /// Begins a step and stops in the middle of its frame.
    pub(super) async fn take_part(&mut self, step: &Step, inside: Inside) {
        let part = |len: usize| match inside {
            Inside::Header => 8,
            Inside::Body => 16 + (len - 16) / 2,
        };
        match step {
            Step::Send(bytes) => self.server.write(&bytes[..part(bytes.len())]).await,
            Step::SendPreface => self.server.write(&preface().bytes()[..part(32)]).await,
            Step::SendPong => {
                self.server
                    .write(&frame(PONG, 0, 0, self.ping, &[])[..part(16)])
                    .await
            }
            Step::Read(kind, call) if self.unread.contains(&(*kind, *call)) => {}
            // Of a frame without a body the header is what comes.
            Step::Read(..) => drop(self.server.read(part(16)).await),
            Step::ReadPreface => drop(self.server.read(part(32)).await),
            Step::Client(_) => unreachable!("it is no frame"),
        }
    }

    /// The server's end, to be broken off, and the client's.
    pub(super) fn break_off(self) -> (Connection<S>, Ended) {
        (self.server, self.client)
    }

    async fn read_up_to(&mut self, wanted: (u8, u32)) {
        while !self.unread.contains(&wanted) {
            let (kind, call) = self.read().await;
            self.unread.push((kind, call));
        }
        let at = self.unread.iter().position(|frame| *frame == wanted);
        self.unread.remove(at.unwrap());
    }

    async fn read(&mut self) -> (u8, u32) {
        let frame = self.server.frame().await;
        if frame.kind == PING {
            self.ping = frame.aux;
        }
        let len = frame.body.len();
        if frame.kind == CALL {
            self.calls.insert(frame.call, self.begun);
            self.incoming.insert(self.begun, len.max(frame.aux as usize));
            self.begun += 1;
        }
        let call = self.calls.get(&frame.call).copied().unwrap_or_default();
        if let (CALL | CHUNK, Some(missing)) = (frame.kind, self.incoming.get_mut(&call)) {
            *missing = missing.saturating_sub(len);
            if *missing == 0 {
                self.client.arrived.insert(call);
            }
        }
        (frame.kind, call)
    }

    /// Takes note of what a frame that was sent means to the client.
    fn note_sent(&mut self, bytes: &[u8]) {
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let (len, kind, call, aux) = (word(0) as usize, bytes[4], word(8), word(12));
        match kind {
            REPLY => drop(self.outgoing.insert(call, len.max(aux as usize))),
            FAILURE => drop(self.client.answered.insert(call, FAILURE)),
            END if aux == 0 => drop(self.client.finished.insert(call)),
            _ => {}
        }
        if let (REPLY | CHUNK, Some(missing)) = (kind, self.outgoing.get_mut(&call)) {
            *missing -= len;
            if *missing == 0 {
                self.client.answered.insert(call, REPLY);
            }
        }
    }
}

impl Ended {
    async fn act(&mut self, action: Action) {
        match action {
            Action::Connected => {
                let channel = self.connecting.take().unwrap().await.unwrap().unwrap();
                self.client = Some(TalkClient::new(channel));
            }
            Action::Begin(method) => self.begin(method).await,
            Action::GiveUp => drop(self.calls.pop_last().unwrap()),
            Action::SendItem(call, len) => {
                let sender = self.senders.get_mut(&call).unwrap();
                sender.send(&vec![7; len as usize]).await.unwrap();
            }
            Action::Receive(call) => {
                let received = self.receivers.get_mut(&call).unwrap().recv().await;
                assert!(received.unwrap().is_some());
            }
            Action::Finish(call) => drop(self.senders.remove(&call).unwrap().finish()),
            Action::Stop(call) => drop(self.receivers.remove(&call).unwrap()),
        }
    }

    async fn begin(&mut self, method: Method) {
        let client = self.client.as_ref().unwrap();
        let id = self.begun;
        self.begun += 1;
        let call: Call = match method {
            Method::Hang => unanswered(client.hang()),
            Method::Next => unanswered(client.next(1)),
            Method::Weigh(len) => unanswered(client.weigh(&vec![7; len])),
            Method::Fill => unanswered(client.fill()),
            Method::Mirror => {
                let (sender, receiver, call) = client.mirror().open().await.unwrap();
                self.senders.insert(id, sender);
                self.receivers.insert(id, receiver);
                unanswered(call)
            }
        };
        if let Method::Weigh(HUGE) = method {
            self.huge = Some(id);
        }
        self.calls.insert(id, started(call).await);
    }

    /// Whether the client waits for anything that tells it of the end of the connection.
    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Every call, and every stream, ends as the server knows that it may. The client, if it was connected.
    pub(super) async fn assert_typed(mut self) -> Option<TalkClient<Channel>> {
        if let Some(connecting) = self.connecting.take() {
            let connected = connecting.await.unwrap();
            assert!(self.greeted || connected.is_err(), "nobody has greeted");
            self.client = connected.ok().map(TalkClient::new);
        }
        for (id, call) in std::mem::take(&mut self.calls) {
            match call.await {
                Ok(()) => assert_eq!(
                    self.answered.get(&id),
                    Some(&REPLY),
                    "nobody has answered call {id}"
                ),
                Err(CallError::Failed(failure)) => self.assert_failure(id, &failure),
                Err(other) => panic!("{other:?}"),
            }
        }
        for (id, mut receiver) in std::mem::take(&mut self.receivers) {
            let end = loop {
                match receiver.recv().await {
                    Ok(Some(_)) => {}
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            match end {
                None => assert!(self.finished.contains(&id), "a clean end"),
                Some(StreamError::Call(failure)) => self.assert_failure(id, &failure),
                Some(other) => panic!("{other:?}"),
            }
        }
        for sender in self.senders.values_mut() {
            assert!(sender.send(&vec![7]).await.is_err());
        }
        self.client
    }

    fn assert_failure(&self, id: u32, failure: &CallFailure) {
        if self.answered.get(&id) == Some(&FAILURE) && failure.kind() == FailureKind::ServerFailed {
            return;
        }
        assert_lost(failure);
        if self.arrived.contains(&id) {
            assert!(
                failure.may_have_run(),
                "the server has all of call {id}: {failure}"
            );
        }
        if self.huge == Some(id) {
            assert!(
                !failure.may_have_run(),
                "the server cannot have all of call {id}: {failure}"
            );
        }
    }
}

fn unanswered<T, F: Future<Output = Result<T, CallError>> + 'static>(call: F) -> Call {
    Box::pin(async { call.await.map(drop) })
}
