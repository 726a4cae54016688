//! Shows by addresses that a handler and a caller read from the receive buffer: nothing was copied on the way to them.

use std::error::Error;
use std::ops::Range;

use rpc_core::{Archived, Reply, message, service};
use rpc_server::Server;

#[message]
pub struct Reading {
    pub sensor: String,
    pub samples: Vec<f32>,
}

#[message]
pub struct Seen {
    /// Where the handler's arguments lay: start and end of each.
    pub places: Vec<(u64, u64)>,
    pub label: String,
}

#[service]
pub trait Lab {
    async fn measure(&self, label: &str, block: &[u8], reading: &Archived<Reading>) -> Seen;
}

struct Bench;

impl Lab for Bench {
    async fn measure(&self, label: &str, block: &[u8], reading: &Archived<Reading>) -> Seen {
        let samples = reading.samples.as_slice().as_ptr_range();
        let ranges = [
            place(label.as_bytes().as_ptr_range()),
            place(block.as_ptr_range()),
            (samples.start.addr() as u64, samples.end.addr() as u64),
        ];
        Seen {
            places: ranges.to_vec(),
            label: label.to_owned(),
        }
    }
}

fn place(range: Range<*const u8>) -> (u64, u64) {
    (range.start.addr() as u64, range.end.addr() as u64)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder()
        .service(LabServer::new(Bench))
        .listen("tcp://127.0.0.1:0")
        .start()?;
    let lab = LabClient::new(rpc_client::Channel::connect(server.addresses()[0].clone()).await?);

    let reading = Reading {
        sensor: "north wall".into(),
        samples: vec![0.5; 1_000],
    };
    let seen: Reply<Seen> = lab
        .measure("a label that is not stored inline", &[7; 5_000], &reading)
        .await?;

    // The handler: three arguments of 33, 5,000 and 4,000 bytes, all within the few kilobytes of one frame.
    let starts = seen.places.iter().map(|place| place.0.to_native());
    let ends = seen.places.iter().map(|place| place.1.to_native());
    let span = ends.max().unwrap_or(0) - starts.min().unwrap_or(0);
    println!(
        "handler: arguments of {} bytes lie within {span} bytes of the receive buffer",
        33 + 5_000 + 4_000
    );
    assert!(
        (9_033..9_200).contains(&span),
        "the arguments were copied somewhere else"
    );

    // The caller: the text of the reply lies within the bytes that arrived.
    let bytes = seen.as_bytes().as_ptr_range();
    let label = seen.label.as_bytes().as_ptr_range();
    println!(
        "caller: the label lies {} bytes into the reply",
        label.start.addr() - bytes.start.addr()
    );
    assert!(
        bytes.start <= label.start && label.end <= bytes.end,
        "the reply was copied somewhere else"
    );

    println!(
        "bytes copied between buffers of the server: {}",
        server.stats().bytes_copied
    );
    server.shutdown().await;
    Ok(())
}
