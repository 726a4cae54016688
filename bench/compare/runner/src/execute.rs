//! One measurement: a program is run, and its report looked at.

use std::process::{Command, Output};

use harness::{Report, Result, Workload};

use crate::machine;
use crate::matrix::Cell;
use crate::metric::Metric;
use crate::peers::Tool;
use crate::programs::{Program, first_error};

/// Keeps processes on one core.
const TASKSET: Tool = Tool {
    name: "taskset",
    package: "util-linux",
};

/// Ends a program that does not end.
const TIMEOUT: Tool = Tool {
    name: "timeout",
    package: "coreutils",
};

/// Seconds after which a program is not waited for any longer, whatever it was told.
const PATIENCE: f64 = 90.0;

/// Checks for the tools without which nothing can be measured.
pub(crate) fn check_tools() -> Result<()> {
    match [TASKSET, TIMEOUT].into_iter().find(|tool| !tool.is_here()) {
        Some(tool) => Err(format!("needs {} (Debian package {})", tool.name, tool.package).into()),
        None => Ok(()),
    }
}

/// Measures a peer in a cell.
pub(crate) fn measure(program: &Program, cell: &Cell) -> Result<Report> {
    let output = command(program, cell).output()?;
    let report = read(&output)?;
    check(&report, program.peer.name, cell)?;
    Ok(report)
}

fn command(program: &Program, cell: &Cell) -> Command {
    let mut command = Command::new(TIMEOUT.name);
    command.args(["--kill-after", "5", &(PATIENCE + cell.seconds).to_string()]);
    if cell.pinned {
        // The last core; interrupts tend to go to the first.
        let core = machine::cores().saturating_sub(1).to_string();
        command.args([TASKSET.name, "--cpu-list", &core]);
    }
    command.arg(if cell.counts_allocations() {
        &program.counting
    } else {
        &program.plain
    });
    command.args(["bench", "--workload", cell.workload.name()]);
    command.args(["--transport", &cell.transport.to_string()]);
    command.args(["--runtime", &cell.runtime.to_string()]);
    command.args(["--seconds", &cell.seconds.to_string()]);
    command.args(program.peer.arguments);
    if let Some(connections) = cell.connections {
        command.args(["--connections", &connections.to_string()]);
    }
    if let Some(variant) = cell.variant {
        command.args(variant.arguments);
    }
    command
}

/// The report, which is the one line that was written.
fn read(output: &Output) -> Result<Report> {
    if output.status.code() == Some(124) {
        return Err("did not end".into());
    }
    if !output.status.success() {
        return Err(first_error(&output.stderr).into());
    }
    let line = str::from_utf8(&output.stdout)?.trim();
    serde_json::from_str(line).map_err(|error| format!("its report cannot be read: {error}").into())
}

/// Whether a report is of what was asked for, and has the figures that its workload has.
fn check(report: &Report, peer: &str, cell: &Cell) -> Result<()> {
    let is_asked_for = report.peer == peer
        && report.workload == cell.workload
        && report.transport == cell.transport
        && report.runtime == cell.runtime
        && report.pinned == (cell.pinned || machine::cores() == 1)
        && report.blocking == cell.is_blocking();
    if !is_asked_for {
        return Err(format!(
            "its report is of something else: {} {}",
            report.peer, report.workload
        )
        .into());
    }
    if report.absent.is_some() {
        return Ok(());
    }
    for metric in required(cell.workload) {
        let is_valid = metric
            .of(report)
            .is_some_and(|value| value.is_finite() && value >= 0.0);
        if !is_valid {
            return Err(format!("its report lacks {}", metric.title()).into());
        }
    }
    if report.operations == Some(0) {
        return Err("nothing was done".into());
    }
    Ok(())
}

/// What a report of the workload has to say.
fn required(workload: Workload) -> &'static [Metric] {
    match workload {
        Workload::W1 => &[Metric::P50, Metric::P99, Metric::P999, Metric::Rate],
        Workload::W2 | Workload::W3 => &[Metric::Rate, Metric::CpuPerMillion],
        Workload::W4 => &[Metric::Rate, Metric::P50],
        Workload::W5s | Workload::W5l => &[Metric::GibPerSecond],
        Workload::W6 => &[Metric::Rate],
        Workload::W7 => &[Metric::IdleKib, Metric::UsedKib],
        Workload::W8 => &[Metric::ClientAllocations, Metric::ServerAllocations],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matrix::cells;
    use crate::results::tests::report;

    fn cell() -> Cell {
        cells(false, &[Workload::W5s])[0]
    }

    fn valid() -> Report {
        let cell = cell();
        let mut report = report("ours", cell.workload, cell.transport, cell.runtime);
        report.pinned = machine::cores() == 1;
        report.bytes_per_second = Some(1e9);
        report.operations = Some(1_000);
        report
    }

    #[test]
    fn a_report_has_the_figures_of_its_workload() {
        assert!(check(&valid(), "ours", &cell()).is_ok());
        let mut lacking = valid();
        lacking.bytes_per_second = None;
        assert!(check(&lacking, "ours", &cell()).is_err());
        lacking.bytes_per_second = Some(f64::NAN);
        assert!(check(&lacking, "ours", &cell()).is_err());
        lacking.absent = Some("cannot".into());
        assert!(check(&lacking, "ours", &cell()).is_ok());
    }

    #[test]
    fn a_report_is_of_what_was_asked_for() {
        assert!(check(&valid(), "tarpc", &cell()).is_err());
        let mut other = valid();
        other.blocking = true;
        assert!(check(&other, "ours", &cell()).is_err());
        let mut idle = valid();
        idle.operations = Some(0);
        assert!(check(&idle, "ours", &cell()).is_err());
    }
}
