//! The service, and its implementation.

use std::sync::Arc;

use harness::{BLOCK, Call, data};
use serde::{Deserialize, Serialize};
use serde_bytes::{ByteArray, ByteBuf};
use tarpc::context::Context;

/// A record of the list.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) tags: Vec<String>,
    pub(crate) score: f64,
}

/// What is measured. What is behind an `Arc` is encoded from where it is.
#[tarpc::service]
pub(crate) trait Compare {
    /// Sends the block back.
    async fn echo(block: ByteArray<BLOCK>) -> ByteArray<BLOCK>;
    /// Sends all records.
    async fn list() -> Arc<Vec<Record>>;
    /// Sends the body.
    async fn blob() -> Arc<ByteBuf>;
}

/// The implementation.
#[derive(Clone)]
pub(crate) struct Service {
    records: Arc<Vec<Record>>,
    blob: Arc<ByteBuf>,
}

impl Service {
    pub(crate) fn new(call: Call) -> Self {
        let record = |record: data::Record| Record {
            id: record.id,
            name: record.name,
            tags: record.tags,
            score: record.score,
        };
        let blob = match call {
            Call::Blob(len) => data::blob(len),
            Call::Echo | Call::List | Call::Items(_) => Vec::new(),
        };
        Self {
            records: Arc::new(data::records().map(record).collect()),
            blob: Arc::new(ByteBuf::from(blob)),
        }
    }
}

impl Compare for Service {
    async fn echo(self, _: Context, block: ByteArray<BLOCK>) -> ByteArray<BLOCK> {
        block
    }

    async fn list(self, _: Context) -> Arc<Vec<Record>> {
        self.records
    }

    async fn blob(self, _: Context) -> Arc<ByteBuf> {
        self.blob
    }
}
