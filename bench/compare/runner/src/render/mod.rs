//! Renders what was measured: BENCHMARKS.md, its charts, and the README's table. Reads results and hand-written notes, nothing else.

mod charts;
mod glance;
mod sections;
mod svg;
mod tables;

use harness::Result;

use crate::places::Places;
use crate::results::Results;
use crate::say;
use crate::table::Table;

pub(crate) use glance::glance;

/// Writes text and charts. What must not be published is refused, unless as a draft, which says so.
pub(crate) fn write(results: &Results, places: &Places, draft: bool) -> Result<()> {
    if !draft && !results.caveats.is_empty() {
        let caveats = results.caveats.join("; ");
        return Err(format!("not published: {caveats}. --draft renders it all the same, and says so").into());
    }
    let notes = std::fs::read_to_string(places.notes())?;
    let table = Table::new(results);
    let folder = places.charts();
    std::fs::create_dir_all(&folder)?;
    let charts = charts::charts(&table);
    for chart in &charts {
        std::fs::write(folder.join(chart.file), svg::draw(&chart.drawing))?;
    }
    let link = |workload: &str| {
        let of_workload = charts.iter().filter(|chart| chart.section == workload);
        let links = of_workload.map(|chart| {
            format!(
                "![{}]({}/{})\n",
                chart.drawing.title,
                places.charts_link(),
                chart.file
            )
        });
        links.collect::<Vec<_>>().join("\n")
    };
    std::fs::write(places.markdown(), document(&table, &notes, link))?;
    say(&format!("written: {}", places.markdown().display()));
    Ok(())
}

/// The whole text.
fn document(table: &Table<'_>, notes: &str, charts: impl Fn(&str) -> String) -> String {
    let parts = [
        head(table.results),
        format!("## At a glance\n\n{}", glance(table)),
        format!("## Targets\n\n{}", tables::targets(table)),
        format!("## Where this project loses\n\n{}", tables::losses(table)),
        sections::sections(table, charts),
        format!("## Left out\n\n{}", tables::left_out(table)),
        format!("## Settings of the peers\n\n{}", tables::settings(table)),
        notes.trim_end().to_owned() + "\n",
    ];
    parts.join("\n")
}

fn head(results: &Results) -> String {
    let machine = &results.machine;
    let mut text = String::from(
        "<!-- Written by `bench/compare/run` from bench/compare/results.json and bench/compare/notes.md: change those. -->\n\n# Benchmarks\n\n",
    );
    if !results.caveats.is_empty() {
        text += &format!("> **Draft. Do not quote: {}.**\n\n", results.caveats.join("; "));
    }
    text += &format!(
        "This project beside other frameworks and beside bare sockets: client and server are two processes on one machine, every answer is validated, every limit of this project is at its default \
(W5l raises those on the size of a body). Figures are medians with [least–most]; repetitions: {} (W6, W7, W8 and builds: five). In each, all peers run one after the other, in an order that rotates; a ratio is the median of those within a repetition, because the machine is not the same in all. \
Absolute figures move by tens of per cent between machines and hours: compare within a table.\n\n",
        results.repetitions
    );
    text += "```sh\nbench/compare/run           # builds, measures, writes bench/compare/results.json, this file and its charts: 70 minutes behind the builds\nbench/compare/run --short   # a few minutes: shows that everything works\n```\n\n";
    text += &format!(
        "Machine: {}, {} cores, {} GiB, Linux {}; {}; {} UTC; load average before {:.2}.\n\n",
        machine.cpu,
        machine.cores,
        machine.memory_gib,
        machine.kernel,
        machine.rustc,
        machine.date,
        machine.load_before
    );
    let versions: Vec<String> = results
        .versions
        .iter()
        .map(|(peer, version)| format!("{peer} {version}"))
        .collect();
    text += &format!("Versions: {} (of the floors: tokio's).\n\n", versions.join(", "));
    text + "`ct`: both sides on current-thread runtimes. `mt2`: both on multi-thread runtimes with two workers, which is `#[tokio::main]` on two cores. `raw-tokio` and `raw-std`: frames with a length in front and nothing \
above the socket, the floor; in W4 they carry rkyv archives, encoded per call and validated.\n"
}
