//! The benchmark's service as remoc describes it.

use std::sync::Arc;

use bytes::Bytes;
use remoc::prelude::*;
use remoc::rtc::CallError;
use serde::{Deserialize, Serialize};

/// Names from `_0` on travel as one byte: "Compact representation" in the documentation of `rtc`. `Bytes` instead of `Vec<u8>`: that of `codec`.
#[rtc::remote]
pub(crate) trait Bench {
    #[serde(rename = "_0")]
    async fn echo(&self, #[serde(rename = "_0")] data: Bytes) -> Result<Bytes, CallError>;

    /// Shared, so that it is sent from where it is.
    #[serde(rename = "_1")]
    async fn list(&self) -> Result<Arc<Vec<Record>>, CallError>;

    #[serde(rename = "_2")]
    async fn blob(&self, #[serde(rename = "_0")] length: u64) -> Result<Bytes, CallError>;

    #[serde(rename = "_3")]
    async fn items(
        &self,
        #[serde(rename = "_0")] count: u64,
    ) -> Result<rch::mpsc::Receiver<Bytes>, CallError>;
}

/// A record of the list.
#[derive(Serialize, Deserialize)]
pub(crate) struct Record {
    #[serde(rename = "_0")]
    pub(crate) id: u64,
    #[serde(rename = "_1")]
    pub(crate) name: String,
    #[serde(rename = "_2")]
    pub(crate) tags: Vec<String>,
    #[serde(rename = "_3")]
    pub(crate) score: f64,
}
