//! The program `compare`: builds the peers, runs them interleaved, renders what came out.
//!
//! ```text
//!  options ─▶ programs (built, or left out with the reason) ─▶ run: repetitions × cells × peers ─▶ results.json
//!                                                                                                     │
//!                                              BENCHMARKS.md, charts, the README's table ◀─ render ◀──┘
//! ```

mod execute;
mod machine;
mod matrix;
mod metric;
mod minimal;
mod noise;
mod options;
mod order;
mod peers;
mod places;
mod programs;
mod render;
mod results;
mod run;
mod stats;
mod table;
mod targets;

use std::io::{Write as _, stderr, stdout};
use std::process::ExitCode;

use harness::Result;

use crate::options::{Action, Options};
use crate::results::Results;
use crate::table::Table;

fn main() -> ExitCode {
    match act() {
        Ok(code) => code,
        Err(error) => {
            say(&format!("compare: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn act() -> Result<ExitCode> {
    let options = Options::parse(std::env::args().skip(1))?;
    match options.action {
        Action::Run => run::run(&options),
        Action::Render => {
            let results = Results::read(&options.places.results())?;
            render::write(&results, &options.places, options.draft)?;
            Ok(ExitCode::SUCCESS)
        }
        Action::ReadmeTable => {
            let results = Results::read(&options.places.results())?;
            write!(stdout(), "{}", render::glance(&Table::new(&results)))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Tells whoever waits how it goes.
fn say(text: &str) {
    // There is nobody else to tell that nobody listens.
    let _ = writeln!(stderr(), "{text}");
}
