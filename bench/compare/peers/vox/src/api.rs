//! The benchmark's service as vox describes it.

use vox::facet::Facet;
use vox::{Tx, service};

/// A body is borrowed (`'vox`): sent from where it is, read where it was received.
#[service]
pub trait Bench {
    async fn echo(&self, data: Vec<u8>) -> Vec<u8>;
    async fn list(&self) -> Vec<Record>;
    async fn blob(&self, length: u64) -> Bytes<'vox>;
    async fn items(&self, count: u64, items: Tx<Vec<u8>>);
}

/// A part of a body; the macro has no eye for slices.
pub type Bytes<'a> = &'a [u8];

/// A record of the list.
#[derive(Clone, Facet)]
#[facet(crate = vox::facet)]
pub struct Record {
    pub id: u64,
    pub name: String,
    pub tags: Vec<String>,
    pub score: f64,
}
