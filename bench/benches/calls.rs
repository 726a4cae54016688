//! Calls: through the dispatcher alone, in process, and over sockets on this machine. Each benchmark checks its answer before it is timed.

#![allow(missing_docs, reason = "criterion's macros make public items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails has nothing to report")]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bench::{BenchClient, BenchServer, Records, archive, records, sum};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rpc_client::{Channel, in_process};
use rpc_core::context::CallControl;
use rpc_core::incoming::{IncomingCall, Job, Outcome, Workers, WorkersFull};
use rpc_core::{Caller, Dispatch, FrameBuf, Peer, PeerAddress};
use rpc_server::Server;
use tokio::runtime::{Builder, Runtime};

fn service() -> BenchServer<Records> {
    BenchServer::new(Records(Arc::new(records(1_000))))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// No method that is dispatched here runs on a worker.
#[derive(Debug)]
struct NoWorkers;

impl Workers for NoWorkers {
    fn submit(&self, _: Job) -> Result<(), WorkersFull> {
        Err(WorkersFull { limit: 0 })
    }
}

fn dispatch(c: &mut Criterion) {
    let service = service();
    let arguments = archive(&(vec![7_u8; 64],));
    let peer = Arc::new(Peer {
        address: PeerAddress::InProcess,
        credentials: None,
    });
    let control = Arc::new(CallControl::new(peer, Arc::new(NoWorkers)));
    let mut frame = FrameBuf::new();
    let mut call = || {
        let call = IncomingCall {
            method: 0,
            arguments: arguments.clone(),
            channels: rpc_core::stream::UserChannels::default(),
            context: rpc_core::Context::new(None, rpc_core::Metadata::new(), Arc::clone(&control)),
            reply: std::mem::take(&mut frame),
            max_reply: 1 << 20,
        };
        let mut future = std::pin::pin!(service.dispatch(call));
        let Poll::Ready(completed) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("the handler waits");
        };
        assert!(matches!(completed.outcome, Outcome::Reply { error: false, .. }));
        frame = completed.frame;
        frame.clear();
    };
    c.bench_function("dispatch/64 bytes", |b| b.iter(&mut call));
}

fn calls<C: Caller>(c: &mut Criterion, name: &str, runtime: &Runtime, client: &BenchClient<C>) {
    let block = [7_u8; 64];
    let large = vec![7_u8; 1 << 20];
    runtime.block_on(async {
        assert_eq!(client.count(&block).owned().await.unwrap(), 64);
        assert_eq!(client.count_on_worker(&block).owned().await.unwrap(), 64);
        assert_eq!(client.list().await.unwrap().len(), 1_000);
    });
    let mut group = c.benchmark_group(name);
    group.bench_function("64 bytes", |b| {
        b.iter(|| runtime.block_on(async { client.count(&block).owned().await.unwrap() }))
    });
    group.bench_function("64 bytes on a worker", |b| {
        b.iter(|| runtime.block_on(async { client.count_on_worker(&block).owned().await.unwrap() }));
    });
    group.bench_function("64 bytes, 256 at once", |b| {
        b.iter(|| {
            runtime.block_on(async {
                let calls: Vec<_> = (0..256)
                    .map(|_| tokio::spawn(client.count(&block).owned()))
                    .collect();
                for call in calls {
                    assert_eq!(call.await.unwrap().unwrap(), 64);
                }
            });
        });
    });
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("1,000 records back", |b| {
        b.iter(|| runtime.block_on(async { sum(&client.list().await.unwrap()) }))
    });
    group.throughput(Throughput::Bytes(1 << 20));
    group.bench_function("1 MiB there", |b| {
        b.iter(|| runtime.block_on(async { client.count(&large).owned().await.unwrap() }))
    });
    group.finish();
}

fn in_this_process(c: &mut Criterion) {
    calls(
        c,
        "in process",
        &runtime(),
        &BenchClient::new(in_process(service())),
    );
}

fn over_sockets(c: &mut Criterion) {
    let path = std::env::temp_dir().join(format!("bench-{}.sock", std::process::id()));
    let server = Server::builder()
        .service(service())
        .listen("tcp://127.0.0.1:0")
        .listen(format!("unix://{}", path.display()))
        .reactors(1)
        .start()
        .unwrap();
    for (name, address) in ["tcp", "unix"].into_iter().zip(server.addresses()) {
        let runtime = runtime();
        let channel = runtime.block_on(Channel::connect(address.clone())).unwrap();
        calls(c, name, &runtime, &BenchClient::new(channel));
    }
    server.shutdown_blocking();
}

criterion_group!(benches, dispatch, in_this_process, over_sockets);
criterion_main!(benches);
