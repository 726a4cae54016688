//! Report: what one run of one workload has measured, as one line of JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::address::Transport;
use crate::options::RuntimeKind;
use crate::workload::Workload;

/// The result of `compare-x bench`. What a workload does not measure is `None`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Who was measured: `ours`, `raw-tokio`, `tarpc`, …
    pub peer: String,
    /// Its version.
    pub version: String,
    /// What was measured.
    pub workload: Workload,
    /// Over which kind of socket.
    pub transport: Transport,
    /// On which kind of runtime, on both sides.
    pub runtime: RuntimeKind,
    /// Whether the processes were confined to one core.
    pub pinned: bool,
    /// Whether the client was a blocking one.
    pub blocking: bool,
    /// Options that only this peer has, such as `server-mode`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, String>,
    /// Why the peer does not do this workload; then nothing was measured.
    pub absent: Option<String>,
    /// How long the measured part took.
    pub seconds: Option<f64>,
    /// Calls in that time; items for W6; connections for W7.
    pub operations: Option<u64>,
    /// Calls or items per second.
    pub per_second: Option<f64>,
    /// Half of the calls were faster.
    pub p50_us: Option<f64>,
    /// 99 % of the calls were faster.
    pub p99_us: Option<f64>,
    /// 99.9 % of the calls were faster.
    pub p999_us: Option<f64>,
    /// Bytes of answers per second.
    pub bytes_per_second: Option<f64>,
    /// Processor time of the client's process during the measured part.
    pub client_cpu_s: Option<f64>,
    /// The same of the server's process.
    pub server_cpu_s: Option<f64>,
    /// Allocations of the client's process during the measured part, when they are counted.
    pub client_allocations: Option<u64>,
    /// The same of the server's process.
    pub server_allocations: Option<u64>,
    /// Resident memory of the server per connection that was made and not used.
    pub server_rss_kib_per_connection: Option<f64>,
    /// The same after each connection has carried one call.
    pub server_rss_kib_per_used_connection: Option<f64>,
    /// What a reader has to know: settings of the peer, deviations.
    pub note: Option<String>,
}
