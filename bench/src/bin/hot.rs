//! Hot functions, one at a time, so many times: what `bench/instructions` counts the instructions of.
//!
//! Usage: `hot NAME COUNT`, or `hot` for the list of names.

use std::error::Error;
use std::hint::black_box;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use bench::{BenchClient, BenchServer, Record, Records, archive, records, sum};
use bytes::BufMut as _;
use rpc_client::{Channel, in_process};
use rpc_core::archive::access;
use rpc_core::connection::{ClientConnection, ClientEvent, NewCall, ServerConnection, ServerEvent};
use rpc_core::encode::encode;
use rpc_core::header::{Flags, FrameHeader, Kind};
use rpc_core::wire::{ByRef, BySlice};
use rpc_core::{CallId, Caller, FrameBuf, Limits, MethodId};
use rpc_server::Server;
use tokio::runtime::{Builder, Runtime};

type Outcome = Result<(), Box<dyn Error>>;

/// Runs a function so many times.
type Hot = fn(u32) -> Outcome;

/// What is counted, by name.
const HOT: &[(&str, Hot)] = &[
    ("header", header),
    ("encode 64 bytes", encode_block),
    ("read 64 bytes", read_block),
    ("encode 64 bytes as array", encode_array),
    ("encode 1,000 records", encode_list),
    ("read 1,000 records", read_list),
    ("connection: call and reply", connections),
    ("call in process", call_in_process),
    ("call over unix socket", call_over_unix),
    ("256 calls over unix socket", calls_over_unix),
    ("call on worker", call_on_worker),
];

fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for (name, _) in HOT {
            writeln!(std::io::stdout(), "{name}")?;
        }
        return Ok(());
    };
    let count = arguments.next().ok_or("how often?")?.parse()?;
    let (_, run) = HOT
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or("no such function")?;
    run(count)
}

fn header(count: u32) -> Outcome {
    for number in 0..count {
        let header = FrameHeader {
            body_len: 64,
            ..FrameHeader::new(Kind::Call, CallId(number))
        };
        let bytes = black_box(header).encode();
        black_box(FrameHeader::decode(black_box(&bytes), 1 << 20)?);
    }
    Ok(())
}

fn encode_block(count: u32) -> Outcome {
    let mut frame = FrameBuf::new();
    for _ in 0..count {
        frame.clear();
        encode(&mut frame, black_box(&(BySlice(&[7_u8; 64]),)), 1 << 20)?;
    }
    Ok(())
}

fn read_block(count: u32) -> Outcome {
    let block = archive(&(vec![7_u8; 64],));
    for _ in 0..count {
        black_box(access::<(Vec<u8>,)>(black_box(&block))?.0.len());
    }
    Ok(())
}

fn encode_array(count: u32) -> Outcome {
    let mut frame = FrameBuf::new();
    for _ in 0..count {
        frame.clear();
        encode(&mut frame, black_box(&ByRef(&[7_u8; 64])), 1 << 20)?;
    }
    Ok(())
}

fn encode_list(count: u32) -> Outcome {
    let list = records(1_000);
    let mut frame = FrameBuf::new();
    for _ in 0..count {
        frame.clear();
        encode(&mut frame, black_box(&ByRef(&list)), 1 << 20)?;
    }
    Ok(())
}

fn read_list(count: u32) -> Outcome {
    let list = archive(&records(1_000));
    for _ in 0..count {
        black_box(access::<Vec<Record>>(black_box(&list)).map(sum)?);
    }
    Ok(())
}

/// Both ends of a connection, without sockets: a call of 64 bytes and a reply of 64 bytes.
fn connections(count: u32) -> Outcome {
    let now = Instant::now();
    let mut client = ClientConnection::new(Limits::default(), now);
    let mut server = ServerConnection::new(Limits::default(), now);
    /// Moves what one side has queued to the other.
    macro_rules! pass {
        ($from:ident, $to:ident) => {
            while !$from.send_queue().is_empty() {
                let mut slices = [std::io::IoSlice::new(&[])];
                $from.io_slices(&mut slices);
                let mut room = $to.recv_buffer();
                let len = slices[0].len().min(room.remaining_mut());
                room.put_slice(&slices[0][..len]);
                $from.advance(len);
            }
        };
    }
    let mut frame = FrameBuf::new();
    pass!(client, server);
    server.poll_event(now)?;
    pass!(server, client);
    client.poll_event(now)?;
    for _ in 0..count {
        frame.clear();
        frame.extend(&[7; 80]);
        client.start_call(&NewCall::of(MethodId(1)), &mut frame, now)?;
        pass!(client, server);
        let Some(ServerEvent::Call { call, .. }) = server.poll_event(now)? else {
            return Err("no call".into());
        };
        frame.clear();
        frame.extend(&[7; 64]);
        server.reply(call, &mut frame, Flags::NONE);
        pass!(server, client);
        let Some(ClientEvent::Reply { body, .. }) = client.poll_event(now)? else {
            return Err("no reply".into());
        };
        black_box(body);
    }
    Ok(())
}

fn service() -> BenchServer<Records> {
    BenchServer::new(Records(Arc::new(Vec::new())))
}

fn runtime() -> std::io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

async fn call<C: Caller>(client: &BenchClient<C>, count: u32) -> Outcome {
    for _ in 0..count {
        if *client.count(&[7; 64]).await? != 64 {
            return Err("wrong answer".into());
        }
    }
    Ok(())
}

fn call_in_process(count: u32) -> Outcome {
    let client = BenchClient::new(in_process(service()));
    runtime()?.block_on(call(&client, count))
}

/// A client and a server in one runtime.
fn over_unix(run: impl AsyncFnOnce(BenchClient<Channel>) -> Outcome) -> Outcome {
    let runtime = runtime()?;
    runtime.block_on(async {
        let address = format!("unix-abstract:bench-hot-{}", std::process::id());
        let server = Server::builder()
            .service(service())
            .listen(address)
            .workers(1)
            .start_here()?;
        let address = server.addresses().first().ok_or("no address")?.clone();
        run(BenchClient::new(Channel::connect(address).await?)).await
    })
}

fn call_over_unix(count: u32) -> Outcome {
    over_unix(async |client| call(&client, count).await)
}

/// So many times 256 calls that are in flight at once.
fn calls_over_unix(count: u32) -> Outcome {
    over_unix(async |client| {
        let lanes: Vec<_> = (0..256)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { call(&client, count).await.map_err(|error| error.to_string()) })
            })
            .collect();
        for lane in lanes {
            lane.await??;
        }
        Ok(())
    })
}

fn call_on_worker(count: u32) -> Outcome {
    over_unix(async |client| {
        for _ in 0..count {
            if *client.count_on_worker(&[7; 64]).await? != 64 {
                return Err("wrong answer".into());
            }
        }
        Ok(())
    })
}
