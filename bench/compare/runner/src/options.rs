//! Options: the command line.

use std::path::PathBuf;
use std::str::FromStr;

use harness::{Failure, Result, Workload};

use crate::peers::{PEERS, Peer};
use crate::places::Places;

/// How it is called.
const USAGE: &str = "usage: compare [run|render|readme-table] [--short] [--again N|W1|…|W9] [--peers a,b] [--workloads W1,W9] [--repetitions N] \
[--out DIR] [--render-only] [--draft] [--load-before L]";

/// Repetitions that are published. Many short ones rather than few long ones: what disturbs a shared machine comes in bursts of a second or two,
/// which a median of ten leaves out, wherever they fall.
pub(crate) const ENOUGH: u32 = 10;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Build, measure, render.
    Run,
    /// Render what was measured before.
    Render,
    /// Print the table that the README shows.
    ReadmeTable,
}

/// What the program was told.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) action: Action,
    /// A few minutes that show that everything works.
    pub(crate) short: bool,
    /// Render although it must not be published, and say so in it.
    pub(crate) draft: bool,
    pub(crate) peers: Vec<&'static Peer>,
    /// What the peers' programs run.
    pub(crate) workloads: Vec<Workload>,
    /// W9, which is no program's.
    pub(crate) builds: bool,
    pub(crate) repetitions: u32,
    /// What of earlier results is measured anew, since something disturbed it.
    pub(crate) again: Option<Again>,
    /// The load of the machine before anything was started or built.
    pub(crate) load_before: Option<f64>,
    pub(crate) places: Places,
}

/// A part of a run that can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Again {
    /// One repetition, counted from 1, of all but the builds.
    Repetition(u32),
    /// All of a workload that the peers' programs run.
    Workload(Workload),
    /// All builds (W9).
    Builds,
}

impl FromStr for Again {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "W9" => Ok(Self::Builds),
            name if name.starts_with('W') => Ok(Self::Workload(name.parse()?)),
            number => Ok(Self::Repetition(number.parse()?)),
        }
    }
}

impl Options {
    /// Reads the arguments behind the program's name.
    pub(crate) fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self> {
        let mut options = Self {
            action: Action::Run,
            short: false,
            draft: false,
            peers: PEERS.iter().collect(),
            workloads: Workload::ALL.to_vec(),
            builds: true,
            repetitions: 0,
            again: None,
            load_before: None,
            places: Places::new(),
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if !options.set_flag(&argument) {
                let value = arguments
                    .next()
                    .ok_or_else(|| format!("{argument}: unknown, or lacks its value\n{USAGE}"))?;
                options.set(&argument, &value)?;
            }
        }
        options.fill_in();
        Ok(options)
    }

    fn set_flag(&mut self, name: &str) -> bool {
        match name {
            "run" => self.action = Action::Run,
            "render" | "--render-only" => self.action = Action::Render,
            "readme-table" => self.action = Action::ReadmeTable,
            "--short" => self.short = true,
            "--draft" => self.draft = true,
            _ => return false,
        }
        true
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        match name {
            "--peers" => self.peers = value.split(',').map(Peer::named).collect::<Result<_>>()?,
            "--workloads" => {
                let (builds, others): (Vec<&str>, Vec<&str>) =
                    value.split(',').partition(|name| *name == "W9");
                self.builds = !builds.is_empty();
                self.workloads = others.into_iter().map(str::parse).collect::<Result<_>>()?;
            }
            "--repetitions" => self.repetitions = value.parse()?,
            "--again" => self.again = Some(value.parse()?),
            "--out" => self.places.out = Some(PathBuf::from(value)),
            "--load-before" => self.load_before = Some(value.parse()?),
            name => return Err(format!("unknown option {name}\n{USAGE}").into()),
        }
        Ok(())
    }

    /// What follows from the rest. A short run must not replace what a full one has found.
    fn fill_in(&mut self) {
        if self.repetitions == 0 {
            self.repetitions = if self.short { 1 } else { ENOUGH };
        }
        if self.short && self.places.out.is_none() {
            self.places.out = Some(self.places.target.join("short"));
        }
    }

    /// Whether everything is measured that there is.
    pub(crate) fn is_complete(&self) -> bool {
        self.peers.len() == PEERS.len() && self.workloads.len() == Workload::ALL.len() && self.builds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn a_repetition_or_a_workload_is_measured_again() {
        assert_eq!(parse("--again 2").unwrap().again, Some(Again::Repetition(2)));
        assert_eq!(parse("--again W9").unwrap().again, Some(Again::Builds));
        let workload = Again::Workload(Workload::W7);
        assert_eq!(parse("--again W7").unwrap().again, Some(workload));
        assert!(parse("--again W0").is_err() && parse("--again all").is_err());
    }

    #[test]
    fn without_arguments_everything_is_measured_often_enough() {
        let options = parse("").unwrap();
        assert_eq!(options.action, Action::Run);
        assert!(options.is_complete());
        assert_eq!(options.repetitions, ENOUGH);
        assert_eq!(options.places.out, None);
    }

    #[test]
    fn a_short_run_is_written_elsewhere() {
        let options = parse("--short").unwrap();
        assert_eq!(options.repetitions, 1);
        assert!(options.places.results().ends_with("short/results.json"));
    }

    #[test]
    fn build_times_are_a_workload_of_their_own() {
        let options = parse("--workloads W1,W9 --peers ours,tarpc").unwrap();
        assert_eq!(options.workloads, [Workload::W1]);
        assert!(options.builds && !options.is_complete());
        assert!(!parse("--workloads W1").unwrap().builds);
    }

    #[test]
    fn what_is_unknown_is_said() {
        for line in [
            "--peers nobody",
            "--workloads W0",
            "--fast",
            "--fast 3",
            "--repetitions many",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
