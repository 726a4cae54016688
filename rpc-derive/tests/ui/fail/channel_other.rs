//! The channel of another crate: it is none of a call.

use std::sync::mpsc::Sender;

use rpc_core::service;

#[service]
trait Directory {
    async fn scan(&self, prefix: &str, rows: Sender<String>);
}

fn main() {}
