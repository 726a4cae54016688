//! Resets: a conversation that has every kind of frame is broken off by its client at every boundary between frames, and inside of every frame.

use std::thread::JoinHandle;
use std::time::Duration;

use rpc_server::{Address, Drained, Server};

use crate::support::lab::{Event, Lab};
use crate::support::raw::{
    CALL, CANCEL, CHUNK, CREDIT, END, FAILURE, GOAWAY, ITEM, PING, PONG, PREFACE, REPLY, RawPeer, STOP, call,
    call_body, cancel, chunked, code, end, frame, item, method_id, number, pong, sending_call,
};
use crate::support::{builder, panics, socket_path, until_blocking};

/// What happens next in the conversation.
#[derive(Debug)]
enum Step {
    /// The client sends a frame.
    Send(Vec<u8>),
    /// It answers the last ping.
    SendPong,
    /// It reads up to a frame of this kind about this call.
    Read(u8, u32),
    /// It reads the server's preface.
    ReadPreface,
    /// The handler with this key is at work.
    Started(u64),
    /// The server is told to shut down.
    Drain,
}

/// Where the conversation is broken off: after so many steps, and inside of the frame of the next one.
#[derive(Clone, Copy, Debug)]
struct Point {
    steps: usize,
    inside: Option<Inside>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Header,
    Body,
}

/// The longest body of a frame that the client accepts: whatever is longer comes in chunks.
const MAX_FRAME: u32 = 16_384;
/// A length for which the server, too, has to be sent chunks, by this client.
const LONG: u32 = 40_000;
/// Handlers that run to the end of the connection: on its reactor, on a worker, in wait of a channel, and without it.
const ENDLESS: [u64; 4] = [0, 1, 9, 10];

/// The conversation. A call's key is its id.
fn conversation() -> Vec<Step> {
    [greeting(), calls(), streams(), answers(), control(), drain()]
        .into_iter()
        .flatten()
        .collect()
}

fn greeting() -> Vec<Step> {
    let mut preface = PREFACE;
    preface[16..20].copy_from_slice(&MAX_FRAME.to_be_bytes());
    vec![Step::Send(preface.to_vec()), Step::ReadPreface]
}

/// Calls that run until the connection ends.
fn calls() -> Vec<Step> {
    vec![
        Step::Send(call(0, "hold", &number(0))),
        Step::Started(0),
        Step::Send(call(1, "block", &number(1))),
        Step::Started(1),
        Step::Send(sending_call(9, "sum", &number(9))),
        Step::Send(item(9, 1)),
        Step::Started(9),
    ]
}

/// Items in chunks and credit in both directions, and both ways to end a channel.
fn streams() -> Vec<Step> {
    let mut steps = vec![Step::Send(sending_call(2, "mirror", &number(2)))];
    steps.extend(in_frames(chunked(ITEM, 0, 2, &block(LONG), MAX_FRAME as usize)));
    steps.extend([
        Step::Read(ITEM, 2),
        Step::Read(CHUNK, 2),
        Step::Read(CHUNK, 2),
        Step::Read(CREDIT, 2),
        Step::Send(frame(CREDIT, 0, 0, 2, LONG, &[])),
        Step::Send(frame(STOP, 0, 0, 2, 0, &[])),
        Step::Read(END, 2),
        Step::Send(frame(ITEM, 0, 0, 2, 0, &block(8))),
        Step::Read(REPLY, 2),
        Step::Send(cancel(2)),
        Step::Send(sending_call(3, "sum", &number(3))),
        Step::Send(item(3, 1)),
        Step::Send(end(3)),
        Step::Read(REPLY, 3),
        Step::Send(sending_call(10, "spurn", &number(10))),
        Step::Read(STOP, 10),
        Step::Send(frame(END, 0, 0, 10, code::CANCELLED, &[])),
    ]);
    steps
}

/// Bodies in chunks in both directions, and a call that fails because it is given up.
fn answers() -> Vec<Step> {
    let arguments = call_body(method_id("weigh"), 0, &block(LONG));
    let mut steps = in_frames(chunked(CALL, 0, 4, &arguments, MAX_FRAME as usize));
    steps.extend([
        Step::Read(REPLY, 4),
        Step::Send(call(5, "fill", &LONG.to_le_bytes())),
        Step::Read(REPLY, 5),
        Step::Read(CHUNK, 5),
        Step::Read(CHUNK, 5),
        Step::Send(call(6, "hold", &number(6))),
        Step::Send(cancel(6)),
        Step::Read(FAILURE, 6),
    ]);
    steps
}

fn control() -> Vec<Step> {
    vec![
        Step::Send(frame(PING, 0, 0, 0, 7, &[])),
        Step::Read(PONG, 0),
        Step::Send(frame(GOAWAY, 0, 0, 0, 0, &[&[0; 8][..], b"bye"].concat())),
    ]
}

fn drain() -> Vec<Step> {
    vec![
        Step::Drain,
        Step::Read(GOAWAY, 0),
        Step::Read(PING, 0),
        Step::Send(call(7, "add", &number(1))),
        Step::Read(REPLY, 7),
        Step::SendPong,
        Step::Read(GOAWAY, 0),
        Step::Send(call(8, "add", &number(1))),
        Step::Read(FAILURE, 8),
    ]
}

/// The archive of a block of so many bytes, which are a multiple of 4.
fn block(len: u32) -> Vec<u8> {
    let back = -i32::try_from(len).unwrap();
    [
        &vec![7; len as usize][..],
        &back.to_le_bytes(),
        &len.to_le_bytes(),
    ]
    .concat()
}

/// A step for each of the frames.
fn in_frames(mut bytes: Vec<u8>) -> Vec<Step> {
    let mut steps = Vec::new();
    while let Some(len) = bytes.first_chunk() {
        let rest = bytes.split_off(16 + (u32::from_be_bytes(*len) as usize).next_multiple_of(16));
        steps.push(Step::Send(bytes));
        bytes = rest;
    }
    steps
}

impl Step {
    /// The kind of frame that the client sends.
    fn sends(&self) -> Option<u8> {
        match self {
            // All but the preface, where another number is at that place.
            Self::Send(bytes) => Some(bytes[4]).filter(|_| bytes[0] != PREFACE[0]),
            Self::SendPong => Some(PONG),
            Self::Read(..) | Self::ReadPreface | Self::Started(_) | Self::Drain => None,
        }
    }

    /// The kind of frame that it reads.
    fn reads(&self) -> Option<u8> {
        match self {
            Self::Read(kind, _) => Some(*kind),
            Self::Send(_) | Self::SendPong | Self::ReadPreface | Self::Started(_) | Self::Drain => None,
        }
    }

    /// The places inside of its frame.
    fn insides(&self) -> &'static [Inside] {
        match self {
            Self::Send(bytes) if bytes.len() > 16 => &[Inside::Header, Inside::Body],
            Self::Send(_) | Self::SendPong => &[Inside::Header],
            Self::Read(..) | Self::ReadPreface => &[Inside::Header, Inside::Body],
            Self::Started(_) | Self::Drain => &[],
        }
    }
}

/// Every boundary, and the places between them.
fn points(steps: &[Step]) -> Vec<Point> {
    let boundaries = (0..=steps.len()).map(|steps| Point { steps, inside: None });
    let places = steps.iter().enumerate().flat_map(|(steps, next)| {
        let inside = move |inside| Point {
            steps,
            inside: Some(inside),
        };
        next.insides().iter().copied().map(inside)
    });
    boundaries.chain(places).collect()
}

/// A server, until it is told to shut down.
struct Scene {
    lab: Lab,
    address: Address,
    server: Option<Server>,
    shutdown: Option<JoinHandle<Drained>>,
}

/// The client's end of the conversation.
struct Talk<'a> {
    peer: RawPeer,
    scene: &'a mut Scene,
    /// Frames that came before those that were waited for: kinds and calls.
    unread: Vec<(u8, u32)>,
    ping: u32,
}

impl Talk<'_> {
    fn take(&mut self, step: &Step) {
        match step {
            Step::Send(bytes) => self.peer.send(bytes),
            Step::SendPong => self.peer.send(&pong(self.ping)),
            Step::Read(kind, call) => self.read_up_to((*kind, *call)),
            Step::ReadPreface => drop(self.peer.read_preface()),
            Step::Started(key) => {
                let lab = &self.scene.lab;
                until_blocking("handler started", || lab.saw(Event::Started(*key)));
            }
            Step::Drain => {
                let server = self.scene.server.take().unwrap();
                self.scene.shutdown = Some(std::thread::spawn(|| server.shutdown_blocking()));
            }
        }
    }

    fn read_up_to(&mut self, wanted: (u8, u32)) {
        while !self.unread.contains(&wanted) {
            let frame = self.peer.frame();
            if frame.kind == PING {
                self.ping = frame.aux;
            }
            self.unread.push((frame.kind, frame.call));
        }
        let at = self.unread.iter().position(|frame| *frame == wanted);
        self.unread.remove(at.unwrap());
    }

    /// Begins a step and stops in the middle of its frame.
    fn take_part(&mut self, step: &Step, inside: Inside) {
        let part = |len: usize| match inside {
            Inside::Header => 8,
            Inside::Body => 16 + (len - 16) / 2,
        };
        match step {
            Step::Send(bytes) => self.peer.send(&bytes[..part(bytes.len())]),
            Step::SendPong => self.peer.send(&pong(self.ping)[..part(16)]),
            Step::Read(kind, call) if self.unread.contains(&(*kind, *call)) => {}
            Step::Read(..) => self.peer.read_exact(&mut vec![0; part(17)]).unwrap(),
            Step::ReadPreface => self.peer.read_exact(&mut vec![0; part(32)]).unwrap(),
            Step::Started(_) | Step::Drain => unreachable!("it is no frame"),
        }
    }
}

impl Scene {
    /// A server with room for one connection, one handshake and one job: whatever is not given back is missed by the next client.
    fn new(listen: &str) -> Self {
        let lab = Lab::default();
        let listen = match listen {
            "unix" => format!("unix://{}", socket_path().display()),
            tcp => tcp.to_owned(),
        };
        let server = builder(&lab)
            .workers(1)
            .max_connections(1)
            .max_handshakes(1)
            .grace(Duration::from_secs(600))
            .listen(listen)
            .start()
            .unwrap();
        Self {
            address: server.addresses()[0].clone(),
            lab,
            server: Some(server),
            shutdown: None,
        }
    }

    /// Has the conversation up to a point, and breaks it off there.
    fn break_off(&mut self, steps: &[Step], point: Point) {
        let mut talk = Talk {
            peer: RawPeer::connect(&self.address),
            scene: self,
            unread: Vec::new(),
            ping: 0,
        };
        for step in &steps[..point.steps] {
            talk.take(step);
        }
        if let Some(inside) = point.inside {
            talk.take_part(&steps[point.steps], inside);
        }
        talk.peer.reset();
    }

    /// Nothing is left of the connection, and the server is there for others or has ended.
    fn assert_clean(&mut self) {
        if let Some(shutdown) = self.shutdown.take() {
            until_blocking("shutdown is over", || shutdown.is_finished());
            assert_eq!(shutdown.join().unwrap().cut_off, 0);
        }
        if let Some(server) = &self.server {
            let mut other = RawPeer::greeted(&self.address);
            other.send(&[call(0, "add", &number(0)), call(1, "add_at_work", &number(0))].concat());
            let mut answered = [other.answer(), other.answer()].map(|answer| (answer.kind, answer.call));
            answered.sort_unstable();
            assert_eq!(answered, [(REPLY, 0), (REPLY, 1)]);
            drop(other);
            until_blocking("connections are forgotten", || server.stats().connections == 0);
            assert_eq!(server.stats().handler_panics, 0);
        }
        let is_start = |event: &Event| matches!(event, Event::Started(_));
        let started = self.lab.count(is_start);
        assert_eq!(
            self.lab.count(|event| !is_start(event)),
            started,
            "all have stopped"
        );
        // One that waits for its channel may go on with the end of it, which is no clean one.
        let is_clean = |key| self.lab.end(key).is_none_or(|end| end.starts_with("Ok("));
        for key in ENDLESS {
            assert!(!(self.lab.saw(Event::Finished(key)) && is_clean(key)), "{key}");
        }
    }
}

/// Breaks the conversation off everywhere, on several servers at a time.
#[expect(clippy::print_stdout, reason = "shown by a test that fails")]
fn break_off_everywhere(listen: &'static str) {
    assert_eq!(panics::unwanted(), 0);
    let steps = &conversation();
    let points = points(steps);
    std::thread::scope(|scope| {
        for share in points.chunks(points.len().div_ceil(4)) {
            scope.spawn(move || {
                for point in share {
                    println!("{point:?}");
                    let mut scene = Scene::new(listen);
                    scene.break_off(steps, *point);
                    scene.assert_clean();
                }
            });
        }
    });
    assert_eq!(panics::unwanted(), 0);
}

/// L3
#[test]
fn a_reset_at_any_point_leaves_nothing_behind() {
    break_off_everywhere("tcp://127.0.0.1:0");
}

/// L3: a Unix socket that is closed where a TCP connection would be reset.
#[test]
fn a_close_at_any_point_leaves_nothing_behind() {
    break_off_everywhere("unix");
}

/// The conversation is worth its name: a kind of frame that it lacks is one of which nobody knows.
#[test]
fn the_conversation_has_every_kind_of_frame() {
    let steps = conversation();
    // P-15: a server sends no call and no cancel, a client no reply and no failure.
    for kind in CALL..=STOP {
        let is_sent = steps.iter().any(|step| step.sends() == Some(kind));
        let is_read = steps.iter().any(|step| step.reads() == Some(kind));
        let by_client = ![REPLY, FAILURE].contains(&kind);
        let by_server = ![CALL, CANCEL].contains(&kind);
        assert_eq!((is_sent, is_read), (by_client, by_server), "{kind}");
    }
}
