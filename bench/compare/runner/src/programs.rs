//! The peers' programs: built, and put aside, so that nobody's next build changes what is measured.

use std::path::{Path, PathBuf};
use std::process::Command;

use harness::Result;

use crate::peers::Peer;
use crate::places::Places;
use crate::results::LeftOut;
use crate::say;

/// A peer that can be measured.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) peer: &'static Peer,
    /// As it is used.
    pub(crate) plain: PathBuf,
    /// With a counting allocator.
    pub(crate) counting: PathBuf,
}

/// Builds all; who cannot be built is left out, with the reason.
pub(crate) fn build(peers: &[&'static Peer], places: &Places) -> (Vec<Program>, Vec<LeftOut>) {
    let (mut programs, mut left_out) = (Vec::new(), Vec::new());
    for &peer in peers {
        match build_one(peer, places) {
            Ok(program) => programs.push(program),
            Err(reason) => {
                say(&format!("{}: {}; left out", peer.name, reason.reason));
                left_out.push(reason);
            }
        }
    }
    (programs, left_out)
}

fn build_one(peer: &'static Peer, places: &Places) -> Result<Program, LeftOut> {
    let left_out = |reason: String, lacks_tool| LeftOut {
        peer: peer.name.to_owned(),
        reason,
        lacks_tool,
    };
    if let Some(tool) = peer.tool.filter(|tool| !tool.is_here()) {
        let reason = format!("needs {} (Debian package {})", tool.name, tool.package);
        return Err(left_out(reason, true));
    }
    say(&format!("{}: building", peer.name));
    let program = |is_counting| {
        compile(peer, places, is_counting)
            .map_err(|error| left_out(places.anonymous(&error.to_string()), false))
    };
    Ok(Program {
        peer,
        counting: program(true)?,
        plain: program(false)?,
    })
}

/// Builds a program, and copies it to where it is run from.
fn compile(peer: &Peer, places: &Places, is_counting: bool) -> Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(&places.compare);
    cargo.args([
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--package",
        peer.package,
        "--target-dir",
    ]);
    cargo.arg(&places.target);
    if is_counting {
        cargo.args(["--features", "count"]);
    }
    let output = cargo.output()?;
    if !output.status.success() {
        return Err(format!("does not build: {}", first_error(&output.stderr)).into());
    }
    let kind = if is_counting { "counting" } else { "plain" };
    let folder = places.target.join("compared").join(kind);
    std::fs::create_dir_all(&folder)?;
    let copy = folder.join(peer.package);
    replace(&places.target.join("release").join(peer.package), &copy)?;
    Ok(copy)
}

/// Puts a copy where perhaps the same program is run from right now.
fn replace(from: &Path, to: &Path) -> Result<()> {
    let new = to.with_extension("new");
    std::fs::copy(from, &new)?;
    std::fs::rename(new, to)?;
    Ok(())
}

/// The line that says what is wrong.
pub(crate) fn first_error(output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().find(|line| line.starts_with("error"));
    line.or(text.lines().last())
        .unwrap_or("no reason was given")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_lines_the_one_with_the_error_is_told() {
        assert_eq!(
            first_error(b"warning: x\nerror[E1]: y\n  --> z\nerror: aborting"),
            "error[E1]: y"
        );
        assert_eq!(first_error(b"no such file"), "no such file");
        assert_eq!(first_error(b""), "no reason was given");
    }
}
