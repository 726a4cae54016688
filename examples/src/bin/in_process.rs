//! The same generated client without a socket: a service is called in its own process, for tests.

use std::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};

use rpc_client::in_process;
use rpc_core::{CallError, service};

#[service]
pub trait Account {
    async fn deposit(&self, amount: u64) -> u64;
    async fn withdraw(&self, amount: u64) -> Result<u64, String>;
}

#[derive(Default)]
struct Ledger(AtomicU64);

impl Account for Ledger {
    async fn deposit(&self, amount: u64) -> u64 {
        self.0.fetch_add(amount, Ordering::Relaxed) + amount
    }

    async fn withdraw(&self, amount: u64) -> Result<u64, String> {
        let take = |balance: u64| balance.checked_sub(amount);
        let before = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        before
            .map(|balance| balance - amount)
            .map_err(|balance| format!("only {balance} left"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // Arguments and replies are archived, validated and read in place as over a socket.
    let account = AccountClient::new(in_process(AccountServer::new(Ledger::default())));

    println!("deposit 100: balance {}", account.deposit(100).owned().await?);
    println!("withdraw 30: balance {}", account.withdraw(30).owned().await?);
    match account.withdraw(100).owned().await {
        Err(CallError::Method(reason)) => println!("withdraw 100: {reason}"),
        other => return Err(format!("unexpected: {other:?}").into()),
    }
    Ok(())
}
