//! Server: the role of the process that answers; how it is asked for figures, and ends.

use std::io::{BufRead as _, Write as _, stdin, stdout};

use crate::address::Address;
use crate::options::Options;
use crate::peer::Peer;
use crate::usage::Usage;
use crate::{Result, usage};

/// By which a server says that it listens.
#[derive(Debug)]
pub struct Ready(());

impl Ready {
    /// Connections to this address are accepted from now on.
    ///
    /// # Errors
    ///
    /// Standard output is closed.
    pub fn listening(self, address: &Address) -> Result<()> {
        writeln!(stdout(), "listening {address}")?;
        Ok(())
    }
}

/// Serves until standard input ends.
pub(crate) async fn serve<P: Peer>(options: &Options) -> Result<()> {
    let address = options.address.clone().ok_or("a server needs an --address")?;
    usage::raise_open_files()?;
    // A thread that sleeps in `read` costs nothing while calls are measured.
    std::thread::spawn(answer_questions);
    P::serve(address, options, Ready(())).await
}

/// Says what the process has used whenever it is asked, and ends the process when nobody can ask any more.
fn answer_questions() {
    for line in stdin().lock().lines() {
        let Ok(line) = line else { break };
        if line == "stats" && say_usage().is_err() {
            break;
        }
    }
    std::process::exit(0);
}

fn say_usage() -> Result<()> {
    let usage = serde_json::to_string(&Usage::now()?)?;
    writeln!(stdout(), "{usage}")?;
    Ok(())
}
