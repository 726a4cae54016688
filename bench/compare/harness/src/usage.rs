//! What a process has used, as the kernel says.

use nix::sched::{CpuSet, sched_getaffinity};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::count::allocations;

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    /// Processor time, in user mode and in the kernel.
    pub(crate) cpu_s: f64,
    /// Allocations, if they are counted.
    pub(crate) allocations: u64,
    /// Resident memory.
    pub(crate) rss_kib: u64,
}

impl Usage {
    /// Of this process.
    pub(crate) fn now() -> Result<Self> {
        let allocations = allocations();
        let usage = getrusage(UsageWho::RUSAGE_SELF)?;
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Ok(Self {
            cpu_s: seconds(usage.user_time()) + seconds(usage.system_time()),
            allocations,
            rss_kib: resident_kib()?,
        })
    }
}

fn resident_kib() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    Ok(number.ok_or("/proc/self/status has no VmRSS")?.parse()?)
}

/// Whether this process may run on one core only.
pub(crate) fn is_pinned() -> Result<bool> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    let cores = (0..CpuSet::count()).filter(|core| set.is_set(*core).unwrap_or(false));
    Ok(cores.count() == 1)
}

/// Allows this process as many open files as it may have. How many that is.
pub(crate) fn raise_open_files() -> Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    }
    Ok(hard)
}
