//! Main: what the program of a peer does.

use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

use tokio::runtime::{Builder, Runtime};
use tokio::task::LocalSet;

use crate::options::{Options, RuntimeKind};
use crate::peer::Peer;
use crate::{Result, bench, server};

/// Runs the program of a peer: `bench` or `server`, as its command line says.
pub fn main<P: Peer>() -> ExitCode {
    match run::<P>() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // There is nobody else to tell.
            let _ = writeln!(stderr(), "{}: {error}", P::PACKAGE);
            ExitCode::FAILURE
        }
    }
}

fn run<P: Peer>() -> Result<()> {
    let options = Options::parse(std::env::args().skip(1), P::EXTRA)?;
    let runtime = runtime(options.runtime)?;
    let local = LocalSet::new();
    let work = work::<P>(&options);
    if P::IS_LOCAL {
        local.block_on(&runtime, work)
    } else {
        runtime.block_on(work)
    }
}

async fn work<P: Peer>(options: &Options) -> Result<()> {
    if options.is_server {
        return server::serve::<P>(options).await;
    }
    let report = bench::run::<P>(options).await?;
    writeln!(stdout(), "{}", serde_json::to_string(&report)?)?;
    Ok(())
}

fn runtime(kind: RuntimeKind) -> Result<Runtime> {
    let mut builder = match kind {
        RuntimeKind::Ct => Builder::new_current_thread(),
        RuntimeKind::Mt2 => Builder::new_multi_thread(),
    };
    // Ignored by the current-thread runtime.
    Ok(builder.worker_threads(2).enable_all().build()?)
}
