//! The machine that measured, as far as it matters.

use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What it is, and what else it did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) rustc: String,
    /// In UTC.
    pub(crate) date: String,
    /// Load average of the last minute before anything was started.
    pub(crate) load_before: f64,
    /// Cores that were busy just before the first measurement, with nothing of this running.
    pub(crate) busy_before: f64,
}

impl Machine {
    /// Looks at this one. Its load before is what the caller has seen, or what it is now.
    pub(crate) fn look(load_before: Option<f64>) -> Self {
        let cpuinfo = read("/proc/cpuinfo");
        let release = read("/proc/sys/kernel/osrelease");
        let memory = field(&read("/proc/meminfo"), "MemTotal").and_then(first_number);
        Self {
            cpu: field(&cpuinfo, "model name").unwrap_or("unknown").to_owned(),
            cores: cores(),
            memory_gib: memory.map_or(0, |kib| (kib / f64::from(1 << 20)).round() as u64),
            // What a distribution appends says who built it.
            kernel: release.trim().split('-').next().unwrap_or_default().to_owned(),
            rustc: line_of("rustc", &["--version"]),
            date: line_of("date", &["-u", "+%F %H:%M"]),
            load_before: load_before
                .or_else(|| first_number(&read("/proc/loadavg")))
                .unwrap_or(0.0),
            busy_before: 0.0,
        }
    }

    /// Whether it is that one, with the same kernel and compiler.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let same_machine = (&self.cpu, self.cores) == (&other.cpu, other.cores);
        same_machine && (&self.kernel, &self.rustc) == (&other.kernel, &other.rustc)
    }

    /// Waits for the load average to fall below `busy`, since what ran a moment ago still counts in it, and takes note of what it has fallen to. Not for longer than `patience`:
    /// other programs may go on.
    pub(crate) fn settle(&mut self, busy: f64, patience: Duration) {
        self.settle_by(busy, patience, std::thread::sleep, || {
            first_number(&read("/proc/loadavg"))
        });
    }

    fn settle_by(
        &mut self,
        busy: f64,
        patience: Duration,
        mut sleep: impl FnMut(Duration),
        mut load: impl FnMut() -> Option<f64>,
    ) {
        // As often as the kernel computes it.
        const PAUSE: Duration = Duration::from_secs(5);
        let mut waited = Duration::ZERO;
        while self.load_before > busy && waited < patience {
            if waited.is_zero() {
                crate::say(&format!(
                    "the load average is {:.2}: waiting for {busy:.1}, for up to {} s",
                    self.load_before,
                    patience.as_secs()
                ));
            }
            sleep(PAUSE);
            waited += PAUSE;
            self.load_before = load().unwrap_or(self.load_before);
        }
    }

    /// Takes note of the load before a repetition that was measured anew: the load before the first one is what was found then.
    pub(crate) fn take_load(&mut self, again: &Self, is_first: bool) {
        let worse = |old: f64, new: f64| if is_first { new } else { old.max(new) };
        self.load_before = worse(self.load_before, again.load_before);
        self.busy_before = worse(self.busy_before, again.busy_before);
    }

    /// Looks how busy it is while this program does nothing.
    pub(crate) fn watch(&mut self) {
        const LOOK: Duration = Duration::from_secs(3);
        let before = CpuTimes::now();
        std::thread::sleep(LOOK);
        let share = before
            .zip(CpuTimes::now())
            .and_then(|(before, after)| after.busy_since(before));
        self.busy_before = share.unwrap_or(0.0) * self.cores as f64;
    }
}

/// How many cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Time of all cores together, in ticks.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CpuTimes {
    idle: f64,
    all: f64,
}

impl CpuTimes {
    fn now() -> Option<Self> {
        Self::parse(&read("/proc/stat"))
    }

    /// `cpu user nice system idle iowait …`; what waits for a disk is idle.
    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<f64> = line
            .split_whitespace()
            .filter_map(|tick| tick.parse().ok())
            .collect();
        Some(Self {
            idle: ticks.get(3)? + ticks.get(4)?,
            all: ticks.iter().take(8).sum(),
        })
    }

    fn busy_since(self, before: Self) -> Option<f64> {
        crate::stats::ratio(self.idle - before.idle, self.all - before.all).map(|idle| 1.0 - idle)
    }
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

fn line_of(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_of_a_later_repetition_hides_nothing() {
        let machine = |load_before, busy_before| Machine {
            load_before,
            busy_before,
            ..Machine::default()
        };
        let mut first = machine(0.1, 1.4);
        first.take_load(&machine(0.5, 0.2), false);
        assert_eq!((first.load_before, first.busy_before), (0.5, 1.4));
        first.take_load(&machine(0.3, 0.0), true);
        assert_eq!((first.load_before, first.busy_before), (0.3, 0.0));
    }

    /// What is left of a load, and how long was waited for it, in seconds.
    fn settled(loads: &[f64]) -> (f64, u64) {
        let mut machine = Machine {
            load_before: loads[0],
            ..Machine::default()
        };
        let (mut waited, mut later) = (Duration::ZERO, loads[1..].iter().copied());
        let patience = Duration::from_secs(20);
        machine.settle_by(1.0, patience, |pause| waited += pause, || later.next());
        (machine.load_before, waited.as_secs())
    }

    #[test]
    fn a_load_of_before_is_waited_for_and_one_that_stays_is_told() {
        assert_eq!(settled(&[0.9]), (0.9, 0));
        assert_eq!(settled(&[3.0, 1.5, 0.8, 0.5]), (0.8, 10));
        assert_eq!(settled(&[3.0, 2.0, 2.5, 2.2, 2.1, 2.0]), (2.1, 20));
        // Where nothing can be read, what was known is kept.
        assert_eq!(settled(&[3.0]), (3.0, 20));
    }

    #[test]
    fn idle_time_is_not_busy() {
        let before = CpuTimes::parse("cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1 1").unwrap();
        let after = CpuTimes::parse("cpu  20 0 20 140 20 0 0 0 0 0").unwrap();
        assert!((after.busy_since(before).unwrap() - 0.2).abs() < 1e-9);
        assert_eq!(before.busy_since(before), None);
        assert_eq!(CpuTimes::parse("nothing"), None);
    }
}
