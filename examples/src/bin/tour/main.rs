//! The tour: a search service in a process of its own, reached over TCP and over a Unix socket, fed with your own files.
//!
//! ```text
//! cargo run --release -p examples --bin tour -- .
//! ```

mod client;
mod contract;
mod corpus;
mod index;
mod report;
mod server;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

type Failure = Box<dyn Error + Send + Sync>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [server::ROLE, socket] => server::run(socket),
        [folder] => tour(Path::new(folder)),
        _ => Err("usage: tour FOLDER".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tour: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts the server, sends it every text file under the folder over each transport, asks it, and prints what came of it.
fn tour(folder: &Path) -> Result<(), Failure> {
    let corpus = corpus::read(folder)?;
    let mut server = server::Process::start()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut runs = Vec::new();
    for address in server.addresses().to_vec() {
        runs.push(runtime.block_on(client::run(&address, &corpus))?);
    }
    let server_copied = server.stop()?;
    report::print(&corpus, &runs, server_copied);
    Ok(())
}
