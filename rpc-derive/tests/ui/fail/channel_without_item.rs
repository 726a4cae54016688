//! A type of this name without type arguments may be a message. If it is none, the compiler says what is missing.

use rpc_core::{Sender, service};

#[service]
trait Directory {
    async fn scan(&self, rows: Sender) -> u64;
}

fn main() {}
