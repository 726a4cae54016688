//! Callers: connections one after the other until there is no server any more, by hand and as a client, and what became of their calls.

use rpc_client::Channel;
use rpc_core::CallError;
use rpc_server::Address;

use super::TallyClient;
use crate::support::raw::{
    CALL, FAILURE, Frame, GOAWAY, PING, PREFACE, REPLY, RawPeer, call_body, code, frame, number, pong,
};
use crate::support::within;

/// What a caller knows of a call when it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Answered,
    DidNotRun,
    Unknown,
}

/// Calls of each connection.
pub(super) const CALLS: usize = 4;

/// What one thread of the burst does.
pub(super) struct Part<'a> {
    pub(super) address: &'a Address,
    /// Of its first call; the others' are those behind it.
    pub(super) first_key: u64,
    pub(super) connections: usize,
}

impl Part<'_> {
    /// The keys of each connection's calls.
    fn keys(&self) -> impl Iterator<Item = Vec<u64>> + use<> {
        let first = self.first_key;
        (0..self.connections as u64).map(move |connection| {
            let first = first + connection * CALLS as u64;
            (first..first + CALLS as u64).collect()
        })
    }
}

/// Calls by frames, of which some come along with the preface and some behind the greeting.
pub(super) fn call_by_hand(part: &Part<'_>) -> Vec<(u64, Outcome)> {
    let mut outcomes = Vec::new();
    for (keys, early) in part.keys().zip((0..=CALLS).cycle()) {
        let Ok(peer) = RawPeer::try_connect(part.address) else {
            break;
        };
        let mut hand = ByHand::new(peer);
        hand.talk(&keys, early);
        outcomes.extend(keys.into_iter().zip(hand.outcomes));
    }
    outcomes
}

/// A connection by hand. Call ids are the numbers of the calls.
struct ByHand {
    peer: RawPeer,
    greeted: bool,
    outcomes: [Outcome; CALLS],
}

impl ByHand {
    fn new(peer: RawPeer) -> Self {
        Self {
            peer,
            greeted: false,
            outcomes: [Outcome::Unknown; CALLS],
        }
    }

    /// Calls, and reads until every call is over or the connection is.
    fn talk(&mut self, keys: &[u64], early: usize) {
        let calls: Vec<_> = (0..).zip(keys).map(|(id, key)| tally_call(id, *key)).collect();
        let (early, late) = calls.split_at(early);
        // Whether a server that goes takes them is shown by what it says.
        let _ = self.peer.try_send(&[&PREFACE[..], &early.concat()].concat());
        self.greeted = self.peer.read_exact(&mut [0; 32]).is_ok();
        if self.greeted {
            let _ = self.peer.try_send(&late.concat());
            while self.outcomes.contains(&Outcome::Unknown) {
                match self.peer.try_frame() {
                    Some(frame) => self.take(&frame),
                    None => break,
                }
            }
        }
        if !self.greeted {
            // Closed before anything was taken (P-02: a server that takes calls has greeted).
            self.outcomes = [Outcome::DidNotRun; CALLS];
        }
    }

    fn take(&mut self, frame: &Frame) {
        match frame.kind {
            REPLY => self.end(frame, Outcome::Answered),
            FAILURE => {
                assert_eq!(frame.aux, code::DRAINING, "{}", frame.text());
                self.end(frame, Outcome::DidNotRun);
            }
            PING => drop(self.peer.try_send(&pong(frame.aux))),
            GOAWAY => {
                assert_eq!(frame.aux, code::DRAINING, "{}", frame.text());
                let taken = u64::from_be_bytes(frame.body[..8].try_into().unwrap());
                let taken = usize::try_from(taken)
                    .unwrap_or(usize::MAX)
                    .min(self.outcomes.len());
                for outcome in &mut self.outcomes[taken..] {
                    // One that was refused before was not answered either.
                    assert_ne!(*outcome, Outcome::Answered, "it was not taken");
                    *outcome = Outcome::DidNotRun;
                }
            }
            kind => panic!("kind {kind}"),
        }
    }

    fn end(&mut self, frame: &Frame, how: Outcome) {
        let outcome = &mut self.outcomes[frame.call as usize];
        assert!(
            *outcome == Outcome::Unknown || *outcome == how,
            "call {} ended twice",
            frame.call
        );
        *outcome = how;
    }
}

fn tally_call(id: u32, key: u64) -> Vec<u8> {
    let method = if id.is_multiple_of(2) {
        "count"
    } else {
        "count_at_work"
    };
    frame(CALL, 0, 0, id, 0, &call_body(method_id(method), 0, &number(key)))
}

fn method_id(name: &str) -> u64 {
    let mut methods = TallyClient::descriptor().methods.iter();
    methods.find(|method| method.name == name).unwrap().id.0
}

/// Calls as programs do, each connection's all at once.
pub(super) fn call_as_client(part: &Part<'_>) -> Vec<(u64, Outcome)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut outcomes = Vec::new();
        for keys in part.keys() {
            let Ok(channel) = within(Channel::connect(part.address.clone())).await else {
                break;
            };
            let client = TallyClient::new(channel);
            let calls: Vec<_> = (0..)
                .zip(keys)
                .map(|(id, key)| (key, tokio::spawn(call(client.clone(), id, key))))
                .collect();
            for (key, call) in calls {
                outcomes.push((key, within(call).await.unwrap()));
            }
        }
        outcomes
    })
}

async fn call(client: TallyClient<Channel>, id: u32, key: u64) -> Outcome {
    let result = match id % 2 {
        0 => client.count(key).owned().await,
        _ => client.count_at_work(key).owned().await,
    };
    match result {
        Ok(answer) => {
            assert_eq!(answer, key);
            Outcome::Answered
        }
        Err(CallError::Failed(failure)) if failure.may_have_run() => Outcome::Unknown,
        Err(CallError::Failed(_)) => Outcome::DidNotRun,
        Err(other) => panic!("{other:?}"),
    }
}

/// A connection with a call that does not end.
pub(super) struct Stuck(RawPeer);

impl Stuck {
    pub(super) const KEY: u64 = u64::MAX;

    pub(super) fn call(address: &Address) -> Self {
        let mut peer = RawPeer::greeted(address);
        let body = call_body(method_id("linger"), 0, &number(Self::KEY));
        peer.send(&frame(CALL, 0, 0, 0, 0, &body));
        Self(peer)
    }

    /// The server has begun to shut down.
    pub(super) fn expect_announcement(&mut self) {
        self.0.expect_announcement();
    }

    pub(super) fn expect_end(&mut self) {
        self.0.read_to_end();
    }
}
