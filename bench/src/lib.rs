//! What the benchmarks share: a list of records, and a service that echoes and lists.

use std::sync::Arc;

use bytes::Bytes;
use rpc_core::encode::encode;
use rpc_core::wire::ByRef;
use rpc_core::{FrameBuf, Wire, message, service};

/// A record as services send them by the thousand.
#[message]
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number.
    pub id: u64,
    /// A name of about sixteen bytes.
    pub name: String,
    /// Three tags.
    pub tags: Vec<String>,
    /// A figure.
    pub score: f64,
}

/// `count` different records.
pub fn records(count: u64) -> Vec<Record> {
    let record = |id: u64| Record {
        id,
        name: format!("record no. {id:05}"),
        tags: (0..3).map(|tag| format!("tag {}", (id + tag) % 17)).collect(),
        score: f64::from(u32::try_from(id % 1_000).unwrap_or(0)) / 8.0,
    };
    (0..count).map(record).collect()
}

/// The sum of the scores and of the lengths of the names, read in place.
pub fn sum(records: &rpc_core::Archived<Vec<Record>>) -> f64 {
    records
        .iter()
        .map(|record| record.score.to_native() + record.name.len() as f64)
        .sum()
}

/// The archive of a value in 16-aligned memory.
///
/// # Panics
///
/// If the value cannot be archived.
pub fn archive<T: Wire>(value: &T) -> Bytes {
    let mut frame = FrameBuf::new();
    if let Err(error) = encode(&mut frame, &ByRef(value), 64 << 20) {
        panic!("{error}");
    }
    match rpc_core::Archive::<T>::validate(Bytes::copy_from_slice(frame.body())) {
        Ok(archive) => archive.into_bytes(),
        Err(error) => panic!("{error}"),
    }
}

/// The service that is called.
#[service]
pub trait Bench {
    /// Returns how many bytes it was given.
    async fn count(&self, bytes: &[u8]) -> u64;
    /// Returns every record, from where they are.
    async fn list(&self) -> &[Record];
    /// Counts on the worker pool.
    fn count_on_worker(&self, bytes: &[u8]) -> u64;
}

/// Its implementation.
#[derive(Clone, Debug)]
pub struct Records(pub Arc<Vec<Record>>);

impl Bench for Records {
    async fn count(&self, bytes: &[u8]) -> u64 {
        bytes.len() as u64
    }

    async fn list(&self) -> &[Record] {
        &self.0
    }

    fn count_on_worker(&self, bytes: &[u8]) -> u64 {
        bytes.len() as u64
    }
}
