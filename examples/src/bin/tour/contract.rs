//! The contract between the two processes.

use rpc_core::{message, service};

/// A line of a file in which a word was found.
#[message]
#[derive(Debug)]
pub struct Match {
    pub path: String,
    pub line: u32,
    pub text: String,
}

#[service]
pub trait Search {
    /// Adds a file to the index. `text` is the file as it lies in the receive buffer. Returns how many words it has.
    async fn add(&self, path: &str, text: &[u8]) -> Result<u64, String>;

    /// Works out a digest of a file: CPU-bound, so a plain `fn` on the worker pool.
    fn digest(&self, text: &[u8]) -> u64;

    /// The first `limit` lines in which a word occurs.
    async fn find(&self, word: &str, limit: u32) -> Vec<Match>;

    /// Forgets every file.
    async fn clear(&self);
}
