//! What a run has found, as it is kept: `results.json`.

use std::collections::BTreeMap;
use std::path::Path;

use harness::{Report, Result, Workload};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::machine::Machine;

/// Everything that the renderer knows.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Results {
    pub(crate) machine: Machine,
    /// Versions of the peers, from `Cargo.lock`.
    pub(crate) versions: BTreeMap<String, String>,
    /// Whether this was a short run, which shows that everything works and nothing else.
    pub(crate) short: bool,
    pub(crate) repetitions: u32,
    /// Whether the machine had other things to do.
    pub(crate) noisy: bool,
    /// Why it must not be published.
    pub(crate) caveats: Vec<String>,
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) failures: Vec<Failed>,
    /// W9.
    pub(crate) builds: Vec<Build>,
    /// All others.
    pub(crate) runs: Vec<Run>,
}

/// A peer that was not measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LeftOut {
    pub(crate) peer: String,
    pub(crate) reason: String,
    /// Whether nothing is wrong but that this machine lacks a tool.
    pub(crate) lacks_tool: bool,
}

/// A measurement that ended without a valid report.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) peer: String,
    pub(crate) cell: String,
    pub(crate) repetition: u32,
    pub(crate) error: String,
}

/// A report, and when it was made.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) repetition: u32,
    /// Seconds since 1970.
    pub(crate) time: u64,
    pub(crate) report: Report,
}

/// The name of the builds among the cells.
pub(crate) const BUILDS: &str = "W9";

/// A clean release build of a smallest service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) peer: String,
    pub(crate) repetition: u32,
    /// Not timed in a short run.
    pub(crate) seconds: Option<f64>,
    /// What it depends on, in whatever way, without itself.
    pub(crate) crates: usize,
}

impl Results {
    /// Reads what was written.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Drops what a repetition has found, but for its builds.
    pub(crate) fn forget(&mut self, repetition: u32) {
        self.runs.retain(|run| run.repetition != repetition);
        self.failures
            .retain(|failed| failed.repetition != repetition || failed.cell == BUILDS);
    }

    /// Drops what was found of a workload.
    pub(crate) fn forget_workload(&mut self, workload: Workload) {
        self.runs.retain(|run| run.report.workload != workload);
        let is_of_it = |cell: &str| cell.split(' ').next() == Some(workload.name());
        self.failures.retain(|failed| !is_of_it(&failed.cell));
    }

    /// Drops what the builds have found.
    pub(crate) fn forget_builds(&mut self) {
        self.builds.clear();
        self.failures.retain(|failed| failed.cell != BUILDS);
    }

    /// Writes it, a run per line, so that changes can be looked at.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(path, self.text()?)?;
        Ok(())
    }

    fn text(&self) -> Result<String> {
        let Value::Object(mut fields) = without_nulls(serde_json::to_value(self)?) else {
            return Err("results are an object".into());
        };
        let mut text = String::from("{\n");
        let runs = fields.remove("runs");
        for (name, value) in &fields {
            text += &format!("{}: {},\n", Value::from(name.as_str()), value);
        }
        let runs = runs.as_ref().and_then(Value::as_array);
        let lines: Vec<String> = runs.into_iter().flatten().map(Value::to_string).collect();
        text += &format!("\"runs\": [\n{}\n]\n}}\n", lines.join(",\n"));
        Ok(text)
    }
}

/// What was not measured need not be written.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            kept.map(|(name, value)| (name, without_nulls(value))).collect()
        }
        Value::Array(values) => values.into_iter().map(without_nulls).collect(),
        other @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => other,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use harness::{RuntimeKind, Transport, Workload};

    use super::*;

    /// A report of nothing.
    pub(crate) fn report(
        peer: &str,
        workload: Workload,
        transport: Transport,
        runtime: RuntimeKind,
    ) -> Report {
        let text = format!(
            r#"{{"peer":"{peer}","version":"1","workload":"{workload}","transport":"{transport}","runtime":"{runtime}","pinned":false,"blocking":false}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    /// Results with these reports; the second of a peer in a cell is of the second repetition, and so on.
    pub(crate) fn results(reports: Vec<Report>) -> Results {
        let cell = |report: &Report| {
            let socket = (report.transport, report.runtime);
            let manner = (report.pinned, report.blocking, report.extra.clone());
            (report.peer.clone(), report.workload, socket, manner)
        };
        let mut runs: Vec<Run> = Vec::new();
        for report in reports {
            let before = runs.iter().filter(|run| cell(&run.report) == cell(&report));
            runs.push(Run {
                repetition: u32::try_from(before.count()).unwrap(),
                time: 0,
                report,
            });
        }
        Results {
            machine: Machine::default(),
            versions: BTreeMap::new(),
            short: false,
            repetitions: 1,
            noisy: false,
            caveats: Vec::new(),
            left_out: Vec::new(),
            failures: Vec::new(),
            builds: Vec::new(),
            runs,
        }
    }

    #[test]
    fn one_repetition_is_forgotten() {
        let report = || report("ours", Workload::W1, Transport::Unix, RuntimeKind::Ct);
        let mut results = results(vec![report(), report()]);
        results.runs[1].repetition = 1;
        results.forget(0);
        let left: Vec<u32> = results.runs.iter().map(|run| run.repetition).collect();
        assert_eq!(left, [1]);
    }

    fn failed(cell: &str) -> Failed {
        Failed {
            peer: "ours".to_owned(),
            cell: cell.to_owned(),
            repetition: 0,
            error: String::new(),
        }
    }

    #[test]
    fn one_workload_is_forgotten() {
        let report = |workload| report("ours", workload, Transport::Unix, RuntimeKind::Ct);
        let mut results = results(vec![report(Workload::W1), report(Workload::W7)]);
        results.failures = vec![failed("W1 tcp ct"), failed("W7 tcp ct"), failed(BUILDS)];
        results.forget_workload(Workload::W7);
        assert_eq!(results.runs.len(), 1);
        assert_eq!(results.runs[0].report.workload, Workload::W1);
        let left: Vec<&str> = results
            .failures
            .iter()
            .map(|failed| failed.cell.as_str())
            .collect();
        assert_eq!(left, ["W1 tcp ct", BUILDS]);
    }

    #[test]
    fn builds_are_forgotten_by_themselves() {
        let mut results = results(Vec::new());
        results.failures = vec![failed("W1 tcp ct"), failed(BUILDS)];
        results.forget(0);
        assert_eq!(results.failures.len(), 1);
        results.forget_builds();
        assert_eq!(results.failures.len(), 0);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut report = report("ours", Workload::W5s, Transport::Unix, RuntimeKind::Mt2);
        report.p50_us = Some(5.5);
        let text = results(vec![report.clone()]).text().unwrap();
        assert!(!text.contains("null"));
        let read: Results = serde_json::from_str(&text).unwrap();
        assert_eq!(read.runs[0].report, report);
    }
}
