//! Bench: the role of the process that calls and measures.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::lane::{Lane, LaneReport, Lanes, Latencies, Until};
use crate::options::Options;
use crate::peer::{Connection, Peer};
use crate::process::ServerProcess;
use crate::report::Report;
use crate::usage::{Usage, is_pinned};
use crate::workload::{Call, Workload};
use crate::{Result, idle};

/// Calls of W8, behind a warm-up of a tenth of them.
const COUNTED_CALLS: u64 = 100_000;

/// Items of a stream before the measured part.
const WARM_UP_ITEMS: u64 = 50_000;

/// Runs the workload that the options name.
pub(crate) async fn run<P: Peer>(options: &Options) -> Result<Report> {
    let mut report = empty::<P>(options)?;
    report.absent = P::absent(options);
    if report.absent.is_some() {
        return Ok(report);
    }
    report.note = P::note(options);
    if options.workload == Workload::W8 && !cfg!(feature = "count") {
        return Err("W8 needs a program that was built with the feature `count`".into());
    }
    let mut server = ServerProcess::start(options)?;
    if options.workload == Workload::W7 {
        idle::measure::<P>(options, &mut server, &mut report).await?;
    } else {
        let connections = connect_all::<P>(options, &server).await?;
        measure(&connections, options, &mut server, &mut report).await?;
    }
    Ok(report)
}

/// A report of nothing yet.
fn empty<P: Peer>(options: &Options) -> Result<Report> {
    Ok(Report {
        peer: P::name(options).to_owned(),
        version: P::version(),
        workload: options.workload,
        transport: options.transport,
        runtime: options.runtime,
        pinned: is_pinned()?,
        blocking: options.blocking,
        extra: options.extras().clone(),
        absent: None,
        seconds: None,
        operations: None,
        per_second: None,
        p50_us: None,
        p99_us: None,
        p999_us: None,
        bytes_per_second: None,
        client_cpu_s: None,
        server_cpu_s: None,
        client_allocations: None,
        server_allocations: None,
        server_rss_kib_per_connection: None,
        server_rss_kib_per_used_connection: None,
        note: None,
    })
}

async fn connect_all<P: Peer>(options: &Options, server: &ServerProcess) -> Result<Vec<P::Connection>> {
    let count = options.connections.unwrap_or(options.workload.connections());
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        connections.push(P::Connection::connect(&server.address, options).await?);
    }
    Ok(connections)
}

/// Warms up, and measures. Both parts end before figures are taken, so no call is counted in one and paid in the other.
async fn measure<C: Connection>(
    connections: &[C],
    options: &Options,
    server: &mut ServerProcess,
    report: &mut Report,
) -> Result<()> {
    let (warm_up, measured) = match options.workload {
        Workload::W8 => (Until::Calls(COUNTED_CALLS / 10), Until::Calls(COUNTED_CALLS)),
        _ => (stop_flag(), stop_flag()),
    };
    let mut first = lane(options, warm_up);
    if let Call::Items(count) = &mut first.call {
        *count = WARM_UP_ITEMS;
    }
    let start = Instant::now();
    run_lanes(connections, options, first, options.warm_up()).await?;
    let mut measured = lane(options, measured);
    if let Call::Items(count) = &mut measured.call {
        *count = items_in(options.duration(), start.elapsed()).min(*count);
    }
    let before = (Usage::now()?, server.usage()?);
    let start = Instant::now();
    let lanes = run_lanes(connections, options, measured, options.duration()).await?;
    let elapsed = start.elapsed();
    let after = (Usage::now()?, server.usage()?);
    fill_rates(report, &lanes, elapsed);
    report.client_cpu_s = Some(after.0.cpu_s - before.0.cpu_s);
    report.server_cpu_s = Some(after.1.cpu_s - before.1.cpu_s);
    if cfg!(feature = "count") {
        report.client_allocations = Some(after.0.allocations - before.0.allocations);
        report.server_allocations = Some(after.1.allocations - before.1.allocations);
    }
    Ok(())
}

/// Items that a stream has time for, if those of the warm-up took so long: what takes seconds by itself would be measured for minutes.
fn items_in(time: Duration, warm_up: Duration) -> u64 {
    let share = time.as_secs_f64() / warm_up.as_secs_f64().max(1e-9);
    ((WARM_UP_ITEMS as f64 * share) as u64).max(WARM_UP_ITEMS)
}

fn stop_flag() -> Until {
    Until::Stopped(Arc::new(AtomicBool::new(false)))
}

/// What each lane of the workload is to do.
fn lane(options: &Options, until: Until) -> Lane {
    Lane {
        call: options.workload.call(),
        until,
        takes_latencies: options.workload.takes_latencies(),
        number: 0,
    }
}

/// Runs the lanes of all connections to their end. What they have done, together.
pub(crate) async fn run_lanes<C: Connection>(
    connections: &[C],
    options: &Options,
    lane: Lane,
    duration: Duration,
) -> Result<LaneReport> {
    let in_flight = options.workload.in_flight();
    let mut total = LaneReport {
        operations: 0,
        bytes: 0,
        latencies: Latencies::new(lane.takes_latencies),
    };
    if let Until::Stopped(flag) = &lane.until {
        stop_after(duration, Arc::clone(flag));
    }
    let mut tasks = Vec::with_capacity(connections.len() * in_flight);
    for (connection, number) in connections.iter().zip((0..).step_by(in_flight)) {
        let lane = Lane {
            number,
            ..lane.clone()
        };
        tasks.extend(connection.spawn(&Lanes { lane, in_flight }));
    }
    for task in tasks {
        let lane = task.await??;
        total.operations += lane.operations;
        total.bytes += lane.bytes;
        total.latencies.merge(&lane.latencies);
    }
    Ok(total)
}

/// Sets the flag from a thread of its own: a timer of the runtime would be a part of what is measured.
fn stop_after(duration: Duration, flag: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        std::thread::sleep(duration);
        flag.store(true, Ordering::Relaxed);
    });
}

fn fill_rates(report: &mut Report, lanes: &LaneReport, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64();
    report.seconds = Some(seconds);
    report.operations = Some(lanes.operations);
    report.per_second = Some(lanes.operations as f64 / seconds);
    report.bytes_per_second = (lanes.bytes > 0).then_some(lanes.bytes as f64 / seconds);
    report.p50_us = lanes.latencies.quantile_us(0.5);
    report.p99_us = lanes.latencies.quantile_us(0.99);
    report.p999_us = lanes.latencies.quantile_us(0.999);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_as_long_as_there_is_time_for_and_never_shorter_than_the_warm_up() {
        let (tenth, second) = (Duration::from_millis(100), Duration::from_secs(1));
        assert_eq!(items_in(second, tenth), 10 * WARM_UP_ITEMS);
        assert_eq!(items_in(tenth, second), WARM_UP_ITEMS);
        assert!(items_in(second, Duration::ZERO) > 1_000_000);
    }
}
