//! Script: what client and server say to each other, and where that can be broken off.

use std::time::Duration;

use crate::raw_server::{
    CALL, CANCEL, CHUNK, CREDIT, END, FAILURE, GOAWAY, ITEM, PING, PONG, Preface, REPLY, STOP, frame,
};

/// What happens next in the conversation.
#[derive(Debug)]
pub(super) enum Step {
    /// The client does something.
    Client(Action),
    /// The server reads the client's preface.
    ReadPreface,
    /// It sends its own.
    SendPreface,
    /// It reads up to a frame of this kind about this call.
    Read(u8, u32),
    /// It sends a frame.
    Send(Vec<u8>),
    /// It answers the last ping.
    SendPong,
}

/// What the client does. Calls are known by the number of those that were begun before; it is their id as well, until one is used again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// Is connected.
    Connected,
    /// Begins a call.
    Begin(Method),
    /// Gives up the last call that it has begun.
    GiveUp,
    /// Sends an item of so many bytes in a call.
    SendItem(u32, u32),
    /// Receives an item in a call.
    Receive(u32),
    /// Sends nothing more in a call.
    Finish(u32),
    /// Receives nothing more in a call.
    Stop(u32),
}

/// What the client calls.
#[derive(Clone, Copy, Debug)]
pub(super) enum Method {
    Hang,
    Next,
    /// With a block of so many bytes.
    Weigh(usize),
    Fill,
    Mirror,
}

/// Where the conversation is broken off: after so many steps, and inside of the frame of the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) steps: usize,
    pub(super) inside: Option<Inside>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    Header,
    Body,
}

/// The longest body of a frame that either side sends: whatever is longer comes in chunks.
const MAX_FRAME: u32 = 16_384;
/// The length of a body that takes three of them.
const LONG: u32 = 40_000;
/// The length of a body that no socket takes whole before somebody reads.
pub(super) const HUGE: usize = 48 << 20;
/// How long a server that owes answers may be silent before it is asked.
pub(super) const PING_AFTER: Duration = Duration::from_millis(30);
/// How long it may take to answer: longer than the test.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// How many calls the conversation has.
const CALLS: u64 = 8;

pub(super) fn preface() -> Preface {
    Preface {
        max_frame: MAX_FRAME,
        ..Preface::default()
    }
}

pub(super) fn conversation() -> Vec<Step> {
    [begin(), streams(), answers(), control(), drain()]
        .into_iter()
        .flatten()
        .collect()
}

/// Calls 0 to 6. The first and the last stream are under way until the connection ends.
fn begin() -> Vec<Step> {
    let mut steps = vec![
        Step::ReadPreface,
        Step::SendPreface,
        Step::Client(Action::Connected),
    ];
    let methods = [
        Method::Hang,
        Method::Next,
        Method::Weigh(LONG as usize),
        Method::Fill,
        Method::Mirror,
        Method::Mirror,
        Method::Hang,
    ];
    for (call, method) in (0..).zip(methods) {
        steps.extend([Step::Client(Action::Begin(method)), Step::Read(CALL, call)]);
        if let Method::Weigh(_) = method {
            steps.extend([Step::Read(CHUNK, call), Step::Read(CHUNK, call)]);
        }
    }
    steps.extend([
        Step::Client(Action::GiveUp),
        Step::Read(CANCEL, 6),
        Step::Send(frame(FAILURE, 0, 6, 1, b"cancelled")),
    ]);
    steps
}

/// Items in chunks, credit, and both ways to end a channel, in both directions.
fn streams() -> Vec<Step> {
    let mut steps = vec![
        Step::Client(Action::SendItem(4, LONG)),
        Step::Read(ITEM, 4),
        Step::Read(CHUNK, 4),
        Step::Read(CHUNK, 4),
        Step::Send(frame(CREDIT, 0, 4, LONG, &[])),
    ];
    steps.extend(chunked(ITEM, 4));
    steps.extend([
        Step::Client(Action::Receive(4)),
        Step::Read(CREDIT, 4),
        Step::Send(frame(STOP, 0, 4, 0, &[])),
        Step::Read(END, 4),
        Step::Client(Action::Stop(4)),
        Step::Read(STOP, 4),
        Step::Send(frame(END, 0, 4, 1, &[])),
        Step::Send(frame(ITEM, 0, 5, 0, &block(8))),
        Step::Client(Action::Receive(5)),
        Step::Client(Action::SendItem(5, 8)),
        Step::Read(ITEM, 5),
        Step::Client(Action::Finish(5)),
        Step::Read(END, 5),
    ]);
    steps
}

fn answers() -> Vec<Step> {
    let mut steps = vec![
        Step::Send(frame(REPLY, 0, 1, 0, &2_u64.to_le_bytes())),
        Step::Send(frame(FAILURE, 0, 2, 48, b"handler panicked")),
    ];
    steps.extend(chunked(REPLY, 3));
    steps
}

fn control() -> Vec<Step> {
    vec![
        Step::Send(frame(PING, 0, 0, 5, &[])),
        Step::Read(PONG, 0),
        Step::Read(PING, 0),
        Step::SendPong,
    ]
}

/// The drain of the server, in two steps, while a call is on its way. In the end a stream ends cleanly, and a call that has one.
fn drain() -> Vec<Step> {
    let goaway = |taken: u64| {
        frame(
            GOAWAY,
            0,
            0,
            33,
            &[&taken.to_be_bytes()[..], b"draining"].concat(),
        )
    };
    vec![
        Step::Client(Action::Begin(Method::Weigh(HUGE))),
        Step::Read(CALL, 7),
        Step::Send(goaway(u64::MAX)),
        Step::Send(frame(PING, 0, 0, 6, &[])),
        Step::Read(PONG, 0),
        Step::Send(goaway(CALLS)),
        Step::Send(frame(END, 0, 5, 0, &[])),
        Step::Send(frame(REPLY, 0, 5, 0, &1_u64.to_le_bytes())),
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

/// A long block in frames.
fn chunked(kind: u8, call: u32) -> Vec<Step> {
    let body = block(LONG);
    let mut pieces = body.chunks(MAX_FRAME as usize);
    let total = u32::try_from(body.len()).unwrap();
    let first = frame(kind, 1, call, total, pieces.next().unwrap());
    let rest = pieces.map(|piece| frame(CHUNK, 0, call, 0, piece));
    std::iter::once(first).chain(rest).map(Step::Send).collect()
}

impl Step {
    /// The kind of frame that the server reads.
    pub(super) fn reads(&self) -> Option<u8> {
        match self {
            Self::Read(kind, _) => Some(*kind),
            Self::Client(_) | Self::ReadPreface | Self::SendPreface | Self::Send(_) | Self::SendPong => None,
        }
    }

    /// The kind of frame that the server sends.
    pub(super) fn sends(&self) -> Option<u8> {
        match self {
            Self::Send(bytes) => Some(bytes[4]),
            Self::SendPong => Some(PONG),
            Self::Client(_) | Self::ReadPreface | Self::SendPreface | Self::Read(..) => None,
        }
    }

    /// The places inside of its frame.
    fn insides(&self) -> &'static [Inside] {
        match self {
            Self::Send(bytes) if bytes.len() == 16 => &[Inside::Header],
            Self::SendPong => &[Inside::Header],
            Self::Send(_) | Self::Read(..) | Self::ReadPreface | Self::SendPreface => {
                &[Inside::Header, Inside::Body]
            }
            Self::Client(_) => &[],
        }
    }
}

/// Every boundary, and the places between them.
pub(super) fn points(steps: &[Step]) -> Vec<Point> {
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
