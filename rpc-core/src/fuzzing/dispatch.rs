//! Target `dispatch`: a generated dispatcher answers any request, and a generated client survives any reply.

use std::collections::{BTreeMap, HashSet};
use std::future::Ready;
use std::num::NonZeroU32;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::input::Input;
use super::messages::{Figure, Plot, Point, Refusal, Tree};
use super::mutate::mutate;
use super::start;
use crate::archive::aligned_copy;
use crate::call::{Answer, Call, Caller, MethodError, OutgoingCall};
use crate::code::Code;
use crate::context::{CallControl, Context, Peer, PeerAddress};
use crate::failure::{CallError, CallFailure};
use crate::frame_buf::FrameBuf;
use crate::incoming::{Completed, IncomingCall, Job, Outcome, Workers, WorkersFull};
use crate::metadata::Metadata;
use crate::service;
use crate::service::Dispatch as _;
use crate::stream::UserChannels;
use crate::wire::{Archived, Bincode, Serde, Wire};

/// A byte of settings and one for the method; then the arguments, or mutations and the values of arguments for the generated client.
pub(super) fn run(input: &mut Input<'_>) {
    let settings = input.byte();
    let max_reply = if settings & 2 == 0 { 1 << 20 } else { input.len() };
    if settings & 1 == 0 {
        let method = usize::from(input.byte());
        answer(method, aligned_copy(input.rest()), max_reply);
        return;
    }
    let mutations = input.bytes(2 * MUTATIONS_LEN);
    let (request, reply) = mutations.split_at(mutations.len().min(MUTATIONS_LEN));
    let damage = Damage {
        request: request.to_vec(),
        reply: reply.to_vec(),
        done: false,
    };
    let damage = Arc::new(Mutex::new(damage));
    let client = ShapesClient::new(InProcess {
        damage: Arc::clone(&damage),
        max_reply,
    });
    let _: Option<()> = call(&client, input);
}

/// Every shape of argument, of return value and of handler.
#[service]
trait Shapes {
    async fn text(&self, text: &str) -> String;
    fn bytes(&self, block: &[u8]) -> u64;
    async fn in_place(&self, figure: &Archived<Figure>) -> u32;
    fn slice(&self, points: &[Archived<Point>]) -> Vec<String>;
    async fn owned(&self, tree: Tree) -> Tree;
    fn scalars(&self, a: bool, b: char, d: i128, e: f64, f: NonZeroU32, g: (u16, i64)) -> (i128, f64, char);
    async fn maps(&self, map: BTreeMap<String, Vec<u8>>, set: HashSet<u64>) -> BTreeMap<String, u64>;
    fn maps_in_place(&self, map: &Archived<BTreeMap<String, Vec<u8>>>, key: &str) -> Option<Vec<u8>>;
    fn codecs(&self, cx: &Context, plot: Serde<Plot>) -> Serde<Plot, Bincode>;
    async fn nothing(&self);
    async fn fails(&self, cx: &Context, fail: bool, times: Vec<Duration>) -> Result<&str, Refusal>;
    fn shared(&self, cx: &Context, list: Vec<Option<Box<Figure>>>) -> Result<Arc<Figure>, Refusal>;
}

struct Handler;

impl Shapes for Handler {
    async fn text(&self, text: &str) -> String {
        text.to_uppercase()
    }

    fn bytes(&self, block: &[u8]) -> u64 {
        block.iter().map(|byte| u64::from(*byte)).sum()
    }

    async fn in_place(&self, figure: &Archived<Figure>) -> u32 {
        format!("{figure:?}")
            .chars()
            .map(u32::from)
            .fold(0, u32::wrapping_add)
    }

    fn slice(&self, points: &[Archived<Point>]) -> Vec<String> {
        points
            .iter()
            .map(|point| point.label.as_str().to_owned())
            .collect()
    }

    async fn owned(&self, tree: Tree) -> Tree {
        Tree {
            label: tree.label.clone(),
            children: vec![tree],
        }
    }

    fn scalars(&self, a: bool, b: char, d: i128, e: f64, f: NonZeroU32, g: (u16, i64)) -> (i128, f64, char) {
        let sum = d.wrapping_add(f.get().into()).wrapping_add(g.1.into());
        (if a { sum } else { i128::from(g.0) }, -e, b)
    }

    async fn maps(&self, map: BTreeMap<String, Vec<u8>>, set: HashSet<u64>) -> BTreeMap<String, u64> {
        map.into_iter()
            .zip(set)
            .map(|((key, _), element)| (key, element))
            .collect()
    }

    fn maps_in_place(&self, map: &Archived<BTreeMap<String, Vec<u8>>>, key: &str) -> Option<Vec<u8>> {
        map.get(key).map(|value| value.to_vec())
    }

    fn codecs(&self, _cx: &Context, plot: Serde<Plot>) -> Serde<Plot, Bincode> {
        Serde::new(plot.into_inner())
    }

    async fn nothing(&self) {}

    async fn fails(&self, _cx: &Context, fail: bool, times: Vec<Duration>) -> Result<&str, Refusal> {
        if fail {
            Err(Refusal {
                reason: format!("{times:?}"),
            })
        } else {
            Ok("lent by the handler")
        }
    }

    fn shared(&self, cx: &Context, list: Vec<Option<Box<Figure>>>) -> Result<Arc<Figure>, Refusal> {
        let figure = list.into_iter().flatten().next();
        figure.map(|figure| Arc::new(*figure)).ok_or_else(|| Refusal {
            reason: cx.peer().address.to_string(),
        })
    }
}

/// Makes one call with values of the input; what comes back undamaged has to be what the handler returns.
fn call(client: &ShapesClient<InProcess>, input: &mut Input<'_>) -> Option<()> {
    match input.byte() % 12 {
        0 => {
            let text: String = input.value()?;
            expect(client, client.text(&text), &text.to_uppercase());
        }
        1 => {
            let block: Vec<u8> = input.value()?;
            expect(client, client.bytes(&block), &Handler.bytes(&block));
        }
        2 => drop(finish(client, client.in_place(&input.value()?))),
        3 => {
            let points: Vec<Point> = input.value()?;
            expect(
                client,
                client.slice(&points),
                &points.iter().map(|point| point.label.clone()).collect(),
            );
        }
        4 => {
            let tree: Tree = input.value()?;
            let reply = Tree {
                label: tree.label.clone(),
                children: vec![tree.clone()],
            };
            expect(client, client.owned(&tree), &reply);
        }
        5 => {
            let (a, b, d, e, f, g): (_, _, _, f64, NonZeroU32, _) = input.value()?;
            let e = if e.is_nan() { 0.0 } else { e };
            expect(
                client,
                client.scalars(a, b, d, e, &f, &g),
                &Handler.scalars(a, b, d, e, f, g),
            );
        }
        6 => drop(finish(client, client.maps(&input.value()?, &input.value()?))),
        7 => {
            let (map, key): (BTreeMap<String, Vec<u8>>, String) = input.value()?;
            expect(client, client.maps_in_place(&map, &key), &map.get(&key).cloned());
        }
        8 => {
            let plot: Plot = input.value()?;
            let answer = client.codecs(&Serde::new(plot.clone()));
            if plot.is_modest() {
                expect(client, answer, &Serde::new(plot));
            } else {
                drop(now_or_never(answer));
            }
        }
        9 => expect(client, client.nothing(), &()),
        10 => {
            let (fail, times): (bool, Vec<Duration>) = input.value()?;
            let answer = finish(client, client.fails(fail, &times));
            let refusal = Refusal {
                reason: format!("{times:?}"),
            };
            assert!(answer.is_none_or(|answer| answer
                == if fail {
                    Err(refusal)
                } else {
                    Ok("lent by the handler".to_owned())
                }));
        }
        _ => drop(finish(client, client.shared(&input.value()?))),
    }
    Some(())
}

fn expect<T: Wire + PartialEq + std::fmt::Debug>(
    client: &ShapesClient<InProcess>,
    call: Call<InProcess, T>,
    expected: &T,
) {
    if let Some(Ok(reply)) = finish(client, call) {
        assert_eq!(&reply, expected);
    }
}

/// The answer to a call that was not damaged on its way, unless it failed for a reason that such a call may have.
fn finish<T: Wire, E: MethodError + std::fmt::Debug>(
    client: &ShapesClient<InProcess>,
    call: Call<InProcess, T, E>,
) -> Option<Result<T, E>> {
    let reply = now_or_never(call);
    let damaged = client
        .caller()
        .damage
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .done;
    let answer = match reply {
        Ok(reply) => reply.deserialize().map(Ok).map_err(CallFailure::from),
        Err(CallError::Method(error)) => Ok(Err(error)),
        Err(CallError::Failed(failure)) => Err(failure),
    };
    match answer {
        Ok(answer) => (!damaged).then_some(answer),
        Err(failure) => {
            // A value too deep or a reply too large is refused where it is made.
            assert!(
                damaged || failure.code().is_none_or(|code| code == Code::REPLY_TOO_LARGE),
                "{failure}"
            );
            None
        }
    }
}

/// Answers one request; whatever it is, there is an answer, and the answer is in order.
fn answer(method: usize, arguments: Bytes, max_reply: usize) -> Completed {
    let peer = Arc::new(Peer {
        address: PeerAddress::InProcess,
        credentials: None,
    });
    let control = CallControl::new(peer, Arc::new(Inline(start())));
    let call = IncomingCall {
        method,
        arguments,
        context: Context::new(None, Metadata::new(), Arc::new(control)),
        channels: UserChannels::default(),
        reply: FrameBuf::new(),
        max_reply,
    };
    let server = ShapesServer::new(Handler);
    let completed = now_or_never(server.dispatch(call));
    match &completed.outcome {
        Outcome::Reply { .. } => assert!(completed.frame.body_len() <= max_reply),
        Outcome::Failure(code, _) => {
            assert_eq!(completed.frame.body_len(), 0);
            let known = method < server.descriptor().methods.len();
            assert!(known == (*code != Code::UNKNOWN_METHOD));
            assert!(
                [Code::UNKNOWN_METHOD, Code::INVALID_ARCHIVE, Code::REPLY_TOO_LARGE].contains(code),
                "{code}"
            );
        }
    }
    completed
}

/// Runs jobs where they are submitted.
#[derive(Debug)]
struct Inline(Instant);

impl Workers for Inline {
    fn submit(&self, job: Job) -> Result<(), WorkersFull> {
        job.run(self.0);
        Ok(())
    }
}

/// What happens to request and reply between client and dispatcher.
#[derive(Debug)]
struct Damage {
    request: Vec<u8>,
    reply: Vec<u8>,
    done: bool,
}

/// Calls the dispatcher without a connection.
#[derive(Clone, Debug)]
struct InProcess {
    damage: Arc<Mutex<Damage>>,
    max_reply: usize,
}

impl Caller for InProcess {
    type Pending = Ready<Result<Answer, CallFailure>>;

    fn max_body(&self) -> usize {
        1 << 20
    }

    fn start(&self, call: OutgoingCall) -> Self::Pending {
        let OutgoingCall { method, frame, .. } = call;
        let mut damage = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        let index = ShapesClient::descriptor()
            .methods
            .iter()
            .position(|known| known.id == method.id);
        let mut arguments = frame.body()[16..].to_vec();
        let mut done = mutate(&mut arguments, &mut Input::new(&damage.request));
        let completed = answer(
            index.unwrap_or(usize::MAX),
            aligned_copy(&arguments),
            self.max_reply,
        );
        let answer = match completed.outcome {
            Outcome::Failure(code, text) => Err(CallFailure::from_peer(code, text)),
            Outcome::Reply { error, .. } => {
                let mut body = completed.frame.body().to_vec();
                done |= mutate(&mut body, &mut Input::new(&damage.reply));
                Ok(Answer {
                    error,
                    body: aligned_copy(&body),
                    metadata: Metadata::new(),
                })
            }
        };
        damage.done = done;
        std::future::ready(answer)
    }
}

/// The result of a future that waits for nothing.
fn now_or_never<F: Future>(future: F) -> F::Output {
    let mut cx = std::task::Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// Bytes that are for mutations of the request, and as many for those of the reply.
const MUTATIONS_LEN: usize = 16;
