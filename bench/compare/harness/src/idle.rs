//! W7: what connections cost the server that nobody uses.

use std::time::Duration;

use crate::bench::run_lanes;
use crate::lane::{Lane, Until};
use crate::options::Options;
use crate::peer::{Connection, Peer};
use crate::process::ServerProcess;
use crate::report::Report;
use crate::usage::raise_open_files;
use crate::workload::Call;
use crate::{Failure, Result};

/// Files that either process has open besides its connections, generously.
const OTHER_FILES: u64 = 100;

/// Makes the connections, and compares the server's memory before and after; then once more after a call over each.
pub(crate) async fn measure<P: Peer>(
    options: &Options,
    server: &mut ServerProcess,
    report: &mut Report,
) -> Result<()> {
    let wanted = options.connections.unwrap_or(options.workload.connections());
    let possible = usize::try_from(raise_open_files()?.saturating_sub(OTHER_FILES))?;
    let count = wanted.min(possible);
    if count < wanted {
        add_note(report, &format!("{count} connections: no more files can be open"));
    }
    let connect = async || P::Connection::connect(&server.address, options).await;
    // What the first connections bring into being is not theirs.
    let first = [connect().await?];
    call_over(&first, options).await?;
    let mut connections = Vec::with_capacity(count);
    let before = server.usage()?;
    for _ in 0..count {
        connections.push(P::Connection::connect(&server.address, options).await?);
    }
    // Connections are accepted in order, so with the last one greeted or answered all of them are there.
    call_over(&connections[count.saturating_sub(1)..], options).await?;
    settle().await;
    let greeted = server.usage()?;
    call_over(&connections, options).await?;
    settle().await;
    let used = server.usage()?;
    let per_connection = |after: u64| after.saturating_sub(before.rss_kib) as f64 / count as f64;
    report.operations = Some(count as u64);
    report.server_rss_kib_per_connection = Some(per_connection(greeted.rss_kib));
    report.server_rss_kib_per_used_connection = Some(per_connection(used.rss_kib));
    Ok(())
}

/// Time for a server to put away what it does not need any more.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

/// One call over each, one after the other.
async fn call_over<C: Connection>(connections: &[C], options: &Options) -> Result<(), Failure> {
    let lane = Lane {
        call: Call::Echo,
        until: Until::Calls(1),
        takes_latencies: false,
        number: 0,
    };
    for connection in connections {
        run_lanes(
            std::slice::from_ref(connection),
            options,
            lane.clone(),
            Duration::ZERO,
        )
        .await?;
    }
    Ok(())
}

fn add_note(report: &mut Report, text: &str) {
    let note = report.note.take();
    report.note = Some(note.map_or_else(|| text.to_owned(), |note| format!("{note}; {text}")));
}
