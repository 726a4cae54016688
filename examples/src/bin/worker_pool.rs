//! A plain `fn` runs on the worker pool: it may block or compute, while `async` methods of the same server go on answering.

use std::error::Error;
use std::time::{Duration, Instant};

use rpc_client::Channel;
use rpc_core::{CallError, Context, FailureKind, service};
use rpc_server::Server;

#[service]
pub trait Crunch {
    /// Runs on a worker, and stops when nobody waits for it any more.
    fn count_primes(&self, cx: &Context, below: u64) -> u64;
    /// Runs on the connection's own task.
    async fn ping(&self) -> bool;
}

struct Cruncher;

impl Crunch for Cruncher {
    fn count_primes(&self, cx: &Context, below: u64) -> u64 {
        let is_prime = |n: &u64| (2..).take_while(|d| d * d <= *n).all(|d| !n.is_multiple_of(d));
        (2..below)
            .take_while(|_| !cx.is_cancelled())
            .filter(is_prime)
            .count() as u64
    }

    async fn ping(&self) -> bool {
        true
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::builder()
        .service(CrunchServer::new(Cruncher))
        .listen("tcp://127.0.0.1:0")
        .workers(1)
        .worker_queue(2)
        .start()?;
    let crunch = CrunchClient::new(Channel::connect(server.addresses()[0].clone()).await?);

    println!(
        "primes below 10,000: {}",
        crunch.count_primes(10_000).owned().await?
    );

    // One job runs, two wait, further ones are refused at once, and everything else goes on.
    let endless = || tokio::spawn(crunch.count_primes(u64::MAX).timeout(Duration::from_secs(1)));
    let jobs: Vec<_> = (0..8).map(|_| endless()).collect();
    let start = Instant::now();
    crunch.ping().await?;
    println!("a ping beside them took {:?}", start.elapsed());

    let (mut refused, mut expired) = (0, 0);
    for job in jobs {
        match job.await? {
            Err(CallError::Failed(failure)) if failure.kind() == FailureKind::Refused => refused += 1,
            Err(CallError::Failed(failure)) if failure.kind() == FailureKind::DeadlineExceeded => {
                expired += 1
            }
            other => return Err(format!("unexpected: {other:?}").into()),
        }
    }
    println!("{refused} were refused, {expired} ran out of time");
    assert_eq!(refused + expired, 8);

    // The job that ran has seen that its caller is gone: the worker is free again.
    println!(
        "primes below 1,000: {}",
        crunch.count_primes(1_000).owned().await?
    );
    server.shutdown().await;
    Ok(())
}
