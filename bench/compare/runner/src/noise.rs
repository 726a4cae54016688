//! Whether a machine was quiet enough for what it measured to be published.

use harness::{RuntimeKind, Transport};

use crate::machine::Machine;
use crate::metric::Metric;
use crate::peers::FLOOR;
use crate::table::{Key, Table};

/// Load of other programs per core.
const LOAD: f64 = 0.5;

/// How far the floor's medians may be apart between repetitions, those in the middle half.
const SPREAD: f64 = 1.5;

/// The load average from which on a machine of so many cores counts as busy.
pub(crate) fn busy_load(cores: usize) -> f64 {
    LOAD * cores as f64
}

/// What was disturbing; nothing, on a quiet machine.
pub(crate) fn noise(machine: &Machine, table: &Table<'_>) -> Vec<String> {
    let mut noise = Vec::new();
    let busy = busy_load(machine.cores);
    if machine.load_before > busy {
        noise.push(format!(
            "the load average was {:.2} before the run",
            machine.load_before
        ));
    }
    if machine.busy_before > busy {
        noise.push(format!(
            "{:.1} cores were busy before the first measurement",
            machine.busy_before
        ));
    }
    for transport in [Transport::Tcp, Transport::Unix] {
        for runtime in [RuntimeKind::Ct, RuntimeKind::Mt2] {
            let key = Key::pinned(transport, runtime, false);
            let floor = table.summary(key, FLOOR, Metric::P50);
            if let Some(floor) = floor.filter(|floor| floor.spread() > SPREAD) {
                noise.push(format!(
                    "{FLOOR}'s p50 of {} differs by a factor of {:.2}",
                    key.name(),
                    floor.spread()
                ));
            }
        }
    }
    noise
}

#[cfg(test)]
mod tests {
    use harness::{Report, Workload};

    use super::*;
    use crate::results::tests::{report, results};

    fn floor(p50: f64) -> Report {
        let mut report = report(FLOOR, Workload::W1, Transport::Unix, RuntimeKind::Ct);
        report.pinned = true;
        report.p50_us = Some(p50);
        report
    }

    fn machine(load_before: f64, busy_before: f64) -> Machine {
        Machine {
            cores: 2,
            load_before,
            busy_before,
            ..Machine::default()
        }
    }

    #[test]
    fn a_floor_that_moves_is_noise() {
        let quiet = results(vec![floor(4.0), floor(5.9)]);
        assert!(noise(&machine(0.9, 0.9), &Table::new(&quiet)).is_empty());
        let noisy = results(vec![floor(4.0), floor(6.1)]);
        assert_eq!(noise(&machine(0.0, 0.0), &Table::new(&noisy)).len(), 1);
    }

    #[test]
    fn a_machine_with_other_work_is_noise() {
        let results = results(vec![]);
        assert_eq!(noise(&machine(1.1, 0.0), &Table::new(&results)).len(), 1);
        assert_eq!(noise(&machine(1.1, 1.1), &Table::new(&results)).len(), 2);
    }
}
