//! W9: how long the smallest service of a peer takes to build, and of how many crates it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use harness::Result;

use crate::order::rotated;
use crate::peers::{CAPNP, PROTOC, Peer, Tool};
use crate::places::Places;
use crate::programs::first_error;
use crate::results::{BUILDS, Build, Failed, Results};
use crate::say;

/// A smallest service.
#[derive(Debug)]
pub(crate) struct Minimal {
    name: &'static str,
    tool: Option<Tool>,
    /// Seconds that it takes on two cores, roughly.
    estimate: f64,
    /// Whether it is built in a short run too.
    in_short: bool,
}

/// The floor: tokio and rkyv, which this project stands on.
pub(crate) const BARE: &str = "bare";

const MINIMAL: &[Minimal] = &[
    minimal(BARE, None, 13.0, true),
    minimal("ours", None, 17.0, true),
    minimal("tarpc", None, 22.0, false),
    minimal("tonic", Some(PROTOC), 43.0, false),
    minimal("capnp", Some(CAPNP), 16.0, false),
    minimal("volo", None, 109.0, false),
    minimal("remoc", None, 37.0, false),
    minimal("vox", None, 64.0, false),
];

const fn minimal(name: &'static str, tool: Option<Tool>, estimate: f64, in_short: bool) -> Minimal {
    Minimal {
        name,
        tool,
        estimate,
        in_short,
    }
}

/// Repetitions beyond which nobody waits: builds vary little, and are half of a run as it is.
const AT_MOST: u32 = 5;

/// What every one of them prints.
const PRINTED: &str = "2 + 3 = 5";

/// How long all builds take, roughly: seconds.
pub(crate) fn estimate(short: bool, repetitions: u32) -> f64 {
    let built = MINIMAL.iter().filter(|minimal| minimal.in_short || !short);
    built
        .map(|minimal| minimal.estimate * f64::from(repetitions.min(AT_MOST)))
        .sum()
}

/// Builds those of `peers`, and the floor, interleaved.
pub(crate) fn measure(
    peers: &[&'static Peer],
    short: bool,
    repetitions: u32,
    places: &Places,
    results: &mut Results,
) {
    let is_wanted = |name: &str| name == BARE || peers.iter().any(|peer| peer.name == name);
    let has_tool = |minimal: &&Minimal| minimal.tool.is_none_or(Tool::is_here);
    let wanted: Vec<_> = MINIMAL
        .iter()
        .filter(|minimal| is_wanted(minimal.name))
        .filter(has_tool)
        .collect();
    for repetition in 0..repetitions.min(AT_MOST) {
        for minimal in rotated(&wanted, repetition) {
            say(&format!("W9 {}", minimal.name));
            let is_timed = minimal.in_short || !short;
            match build(minimal, repetition, is_timed, places) {
                Ok(build) => results.builds.push(build),
                Err(error) => results.failures.push(Failed {
                    peer: minimal.name.to_owned(),
                    cell: BUILDS.to_owned(),
                    repetition,
                    error: places.anonymous(&error.to_string()),
                }),
            }
        }
    }
}

fn build(minimal: &Minimal, repetition: u32, is_timed: bool, places: &Places) -> Result<Build> {
    let folder = places.compare.join("minimal").join(minimal.name);
    run(cargo(&folder, "fetch"))?;
    let tree =
        run(cargo(&folder, "tree").args(["--offline", "--edges", "normal,build", "--prefix", "none"]))?;
    let seconds = if is_timed {
        Some(time(minimal, &folder)?)
    } else {
        None
    };
    Ok(Build {
        peer: minimal.name.to_owned(),
        repetition,
        seconds,
        crates: crates(&String::from_utf8_lossy(&tree.stdout)),
    })
}

/// Seconds of a build from nothing; then the program is run, because only one that works counts.
fn time(minimal: &Minimal, folder: &Path) -> Result<f64> {
    let target = Fresh::new(minimal.name)?;
    let start = Instant::now();
    run(cargo(folder, "build")
        .args(["--release", "--offline", "-j2", "--target-dir"])
        .arg(&target.0))?;
    let seconds = start.elapsed().as_secs_f64();
    let program = target.0.join("release").join(format!("minimal-{}", minimal.name));
    let output = run(Command::new("timeout").arg("20").arg(program))?;
    if String::from_utf8_lossy(&output.stdout).trim() != PRINTED {
        return Err("builds, but its call has another result".into());
    }
    Ok(seconds)
}

/// Cargo, in a folder, without what would make one build unlike another.
fn cargo(folder: &Path, what: &str) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(folder).args([what, "--quiet", "--locked"]);
    for name in [
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET_DIR",
        "CARGO_INCREMENTAL",
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
    ] {
        cargo.env_remove(name);
    }
    cargo
}

fn run(mut command: impl std::borrow::BorrowMut<Command>) -> Result<Output> {
    let output = command.borrow_mut().output()?;
    if output.status.success() {
        return Ok(output);
    }
    Err(first_error(&output.stderr).into())
}

/// Different crates in the lines `name v1.2.3 (…)` of a tree, without the program itself.
fn crates(tree: &str) -> usize {
    let name_and_version = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    let crates: BTreeSet<String> = tree
        .lines()
        .map(name_and_version)
        .filter(|line| !line.is_empty())
        .collect();
    crates.len().saturating_sub(1)
}

/// A folder that is gone afterwards.
struct Fresh(PathBuf);

impl Fresh {
    fn new(name: &str) -> Result<Self> {
        let path = std::env::temp_dir().join(format!("compare-minimal-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // A folder that stays is in a folder for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_counts_once_and_the_program_does_not() {
        let tree = "minimal v0.0.0 (/somewhere)\nsyn v2.0.1\nsyn v1.0.9\nquote v1.0.0 (proc-macro)\n\nsyn v2.0.1 (*)\n";
        assert_eq!(crates(tree), 3);
        assert_eq!(crates(""), 0);
    }
}
