//! With the feature `tracing`: spans on both sides, in one trace across calls that handlers make.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use rpc_client::Channel;
use rpc_core::trace::{TRACEPARENT, TraceContext};
use rpc_core::{Context, service};
use rpc_server::Server;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

#[service]
trait Inner {
    /// Runs on the worker pool.
    fn parent(&self, cx: &Context) -> String;
}

#[service]
trait Outer {
    async fn pass_on(&self, cx: &Context) -> Vec<String>;
}

struct Leaf;

impl Inner for Leaf {
    fn parent(&self, cx: &Context) -> String {
        tracing::info!("at the leaf");
        cx.metadata().get_str(TRACEPARENT).unwrap_or("none").to_owned()
    }
}

struct Hop(InnerClient<Channel>);

impl Outer for Hop {
    async fn pass_on(&self, cx: &Context) -> Vec<String> {
        let own = cx.metadata().get_str(TRACEPARENT).unwrap_or("none").to_owned();
        let inner = self.0.parent().owned().await;
        let inner = inner.unwrap_or_else(|error| error.to_string());
        vec![own, inner]
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn calls_of_a_handler_belong_to_the_trace_of_its_caller() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .with_span_events(FmtSpan::CLOSE)
        .init();
    let start = || Server::builder().listen("tcp://127.0.0.1:0");
    let inner = start().service(InnerServer::new(Leaf)).start().unwrap();
    let channel = Channel::connect(inner.addresses()[0].clone()).await.unwrap();
    let hop = Hop(InnerClient::new(channel));
    let outer = start().service(OuterServer::new(hop)).start().unwrap();
    let channel = Channel::connect(outer.addresses()[0].clone()).await.unwrap();
    let parents = OuterClient::new(channel).pass_on().owned().await.unwrap();
    outer.shutdown().await;
    inner.shutdown().await;

    let contexts: Vec<_> = parents
        .iter()
        .map(|text| TraceContext::parse(text).expect("every call carries its trace"))
        .collect();
    assert_eq!(contexts[0].trace_id(), contexts[1].trace_id());
    assert_ne!(contexts[0].span_id(), contexts[1].span_id());
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let trace = format!("trace_id={:032x}", contexts[0].trace_id());
    let closed = |name: &str, method: &str| {
        let lines = log.lines().filter(|line| line.contains(": close "));
        // The last of the spans that a line names is the one that it is about.
        let spans = lines.filter_map(|line| line.rsplit("}:").nth(1));
        spans
            .filter(|span| span.contains(name) && span.contains(method) && span.contains(&trace))
            .count()
    };
    for method in ["rpc.method=\"pass_on\"", "rpc.method=\"parent\""] {
        assert_eq!(
            (closed("rpc call", method), closed("rpc handler", method)),
            (1, 1),
            "{log}"
        );
    }
    let leaf = log.lines().find(|line| line.contains("at the leaf")).unwrap();
    assert!(
        leaf.contains(&trace) && leaf.contains("rpc.method=\"parent\""),
        "on the worker, too: {leaf}"
    );
    let parent = format!("parent_id={:016x}", contexts[1].span_id());
    assert!(leaf.contains(&parent), "{leaf}");
    assert!(log.contains("outcome=\"ok\""), "{log}");
}
