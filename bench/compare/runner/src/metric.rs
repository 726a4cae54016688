//! Metrics: which figure of a report is looked at, which way is better, and how it is written.

use harness::Report;

/// A figure of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    P50,
    P99,
    P999,
    /// Calls or items per second.
    Rate,
    /// CPU seconds of both processes per million calls.
    CpuPerMillion,
    GibPerSecond,
    /// KiB of the server per connection that was only greeted.
    IdleKib,
    /// KiB of the server per connection that has carried a call.
    UsedKib,
    ClientAllocations,
    ServerAllocations,
    /// Of both sides.
    Allocations,
    /// Of a build; not in reports.
    BuildSeconds,
    /// Of a build; not in reports.
    Crates,
}

impl Metric {
    /// Its value, if it was measured.
    pub(crate) fn of(self, report: &Report) -> Option<f64> {
        let operations = report.operations.map(|operations| operations as f64);
        match self {
            Self::P50 => report.p50_us,
            Self::P99 => report.p99_us,
            Self::P999 => report.p999_us,
            Self::Rate => report.per_second,
            Self::CpuPerMillion => {
                let cpu = report.client_cpu_s? + report.server_cpu_s?;
                crate::stats::ratio(cpu * 1e6, operations?)
            }
            Self::GibPerSecond => report.bytes_per_second.map(|bytes| bytes / f64::from(1 << 30)),
            Self::IdleKib => report.server_rss_kib_per_connection,
            Self::UsedKib => report.server_rss_kib_per_used_connection,
            Self::ClientAllocations => crate::stats::ratio(report.client_allocations? as f64, operations?),
            Self::ServerAllocations => crate::stats::ratio(report.server_allocations? as f64, operations?),
            Self::Allocations => {
                Some(Self::ClientAllocations.of(report)? + Self::ServerAllocations.of(report)?)
            }
            Self::BuildSeconds | Self::Crates => None,
        }
    }

    /// Whether more is better.
    pub(crate) fn more_is_better(self) -> bool {
        matches!(self, Self::Rate | Self::GibPerSecond)
    }

    /// Whether a ratio to the floor says something: of allocations a floor has none.
    pub(crate) fn has_floor(self) -> bool {
        !matches!(
            self,
            Self::ClientAllocations | Self::ServerAllocations | Self::Allocations
        )
    }

    /// Whether `value` is better than `other`.
    pub(crate) fn is_better(self, value: f64, other: f64) -> bool {
        if self.more_is_better() {
            value > other
        } else {
            value < other
        }
    }

    /// What it is, with its unit.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::P50 => "p50, µs",
            Self::P99 => "p99, µs",
            Self::P999 => "p99.9, µs",
            Self::Rate => "per second",
            Self::CpuPerMillion => "CPU seconds per million, client and server",
            Self::GibPerSecond => "GiB/s",
            Self::IdleKib => "KiB per greeted connection",
            Self::UsedKib => "KiB per connection that has carried a call",
            Self::ClientAllocations => "allocations per call, client",
            Self::ServerAllocations => "allocations per call, server",
            Self::Allocations => "allocations per call, client and server",
            Self::BuildSeconds => "seconds",
            Self::Crates => "crates",
        }
    }

    /// A value as people read it.
    pub(crate) fn write(self, value: f64) -> String {
        match self {
            Self::Rate => with_prefix(value),
            Self::Crates => format!("{value:.0}"),
            Self::ClientAllocations | Self::ServerAllocations | Self::Allocations => count(value),
            _ => significant(value),
        }
    }
}

/// About three digits.
fn significant(value: f64) -> String {
    match value.abs() {
        size if size >= 99.95 => format!("{value:.0}"),
        size if size >= 9.995 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// About three digits, and thousands or millions by letter.
fn with_prefix(value: f64) -> String {
    match value {
        value if value >= 999_500.0 => format!("{} M", significant(value / 1e6)),
        value if value >= 999.5 => format!("{} k", significant(value / 1e3)),
        _ => significant(value),
    }
}

/// Whole where it is whole but for what happens once per run.
fn count(value: f64) -> String {
    if (value - value.round()).abs() < 0.005 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use harness::{RuntimeKind, Transport, Workload};

    use super::*;
    use crate::results::tests::report;

    #[test]
    fn figures_are_written_with_about_three_digits() {
        let written = [1.234, 12.34, 123.4, 99.96].map(|value| Metric::P50.write(value));
        assert_eq!(written, ["1.23", "12.3", "123", "100"]);
        let written = [950.4, 705_400.0, 3_170_000.0, 999_700.0].map(|value| Metric::Rate.write(value));
        assert_eq!(written, ["950", "705 k", "3.17 M", "1.00 M"]);
        let written = [0.0004, 14.0, 14.5].map(|value| Metric::Allocations.write(value));
        assert_eq!(written, ["0", "14", "14.50"]);
    }

    #[test]
    fn figures_per_call_are_of_both_sides() {
        let mut report = report("ours", Workload::W8, Transport::Tcp, RuntimeKind::Ct);
        report.operations = Some(2_000_000);
        (report.client_cpu_s, report.server_cpu_s) = (Some(0.4), Some(0.6));
        (report.client_allocations, report.server_allocations) = (Some(4_000_000), Some(6_000_000));
        assert_eq!(Metric::CpuPerMillion.of(&report), Some(0.5));
        assert_eq!(Metric::Allocations.of(&report), Some(5.0));
        assert_eq!(Metric::P50.of(&report), None);
    }
}
