//! The service, as client and server have agreed on it, and its implementation.

use bytes::Bytes;
use harness::{Block, data};
use rpc_core::{Archived, Sender, message, service};

/// A record of the list.
#[message]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) score: f64,
}

/// What is measured.
#[service]
pub(crate) trait Compare {
    /// Sends the block back. It is read where it was received.
    async fn echo(&self, block: &Archived<[u8; 64]>) -> [u8; 64];
    /// Sends all records, from where they are.
    async fn list(&self) -> &[Record];
    /// Sends so many bytes, from where they are.
    async fn blob(&self, len: u64) -> Bytes;
    /// Sends so many blocks.
    async fn items(&self, count: u64, items: Sender<[u8; 64]>) -> u64;
}

/// The implementation.
pub(crate) struct Service {
    records: Vec<Record>,
    blob: Bytes,
}

impl Service {
    pub(crate) fn new(blob_len: u64) -> Self {
        let record = |record: data::Record| Record {
            id: record.id,
            name: record.name,
            tags: record.tags,
            score: record.score,
        };
        Self {
            records: data::records().map(record).collect(),
            blob: data::blob(blob_len).into(),
        }
    }
}

impl Compare for Service {
    async fn echo(&self, block: &Archived<Block>) -> Block {
        *block
    }

    async fn list(&self) -> &[Record] {
        &self.records
    }

    async fn blob(&self, len: u64) -> Bytes {
        self.blob
            .slice(..usize::try_from(len).map_or(0, |len| len.min(self.blob.len())))
    }

    async fn items(&self, count: u64, mut items: Sender<Block>) -> u64 {
        for number in 0..count {
            if items.send(&data::item(number)).await.is_err() {
                return number; // the caller wants no more
            }
        }
        count
    }
}
