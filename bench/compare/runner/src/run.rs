//! A run: every repetition, every cell, all peers one after the other.

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::Result;

use crate::machine::Machine;
use crate::matrix::{self, Cell};
use crate::noise::{busy_load, noise};
use crate::options::{Again, ENOUGH, Options};
use crate::order::rotated;
use crate::peers::OURS;
use crate::programs::{self, Program};
use crate::results::{Failed, LeftOut, Results, Run};
use crate::table::Table;
use crate::{execute, minimal, render, say};

/// Builds, measures, writes, renders. Fails where something was wrong that is not this machine's lack of a tool.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    execute::check_tools()?;
    if let Some(again) = options.again {
        return run_again(options, again);
    }
    let mut machine = Machine::look(options.load_before);
    let (programs, left_out) = programs::build(&options.peers, &options.places);
    quiet(options, &mut machine);
    let mut results = empty(options, machine, left_out);
    measure(options, &programs, &mut results)?;
    if options.builds {
        measure_builds(options, &mut results);
    }
    finish(options, results)
}

/// Waits for what ran before to be over where the figures may be published, and looks whether anything else runs.
fn quiet(options: &Options, machine: &mut Machine) {
    const PATIENCE: Duration = Duration::from_secs(300);
    if options.is_complete() && !options.short && !options.draft {
        machine.settle(busy_load(machine.cores), PATIENCE);
    }
    machine.watch();
}

fn measure_builds(options: &Options, results: &mut Results) {
    minimal::measure(
        &options.peers,
        options.short,
        options.repetitions,
        &options.places,
        results,
    );
}

/// Measures a part of earlier results anew, on the same machine and with the same peers.
fn run_again(options: &Options, again: Again) -> Result<ExitCode> {
    let mut results = Results::read(&options.places.results())?;
    if !options.is_complete() || options.short != results.short {
        return Err(
            "what is measured anew is so as a whole: without --peers and --workloads, and --short if it was"
                .into(),
        );
    }
    if let Again::Repetition(number) = again
        && !(1..=results.repetitions).contains(&number)
    {
        return Err(format!("there is no repetition {number}").into());
    }
    let mut machine = Machine::look(options.load_before);
    let (programs, left_out) = programs::build(&options.peers, &options.places);
    let names = |left_out: &[LeftOut]| left_out.iter().map(|peer| peer.peer.clone()).collect::<Vec<_>>();
    if !machine.is(&results.machine) || names(&left_out) != names(&results.left_out) {
        return Err("another machine or other peers: nothing of that can stand beside the rest".into());
    }
    quiet(options, &mut machine);
    results.machine.take_load(&machine, again == Again::Repetition(1));
    match again {
        Again::Repetition(number) => {
            results.forget(number - 1);
            let cells = matrix::cells(options.short, &options.workloads);
            measure_repetition(options, &programs, &cells, number - 1, &mut results);
        }
        Again::Workload(workload) => {
            results.forget_workload(workload);
            let cells = matrix::cells(options.short, &[workload]);
            for repetition in 0..results.repetitions {
                measure_repetition(options, &programs, &cells, repetition, &mut results);
            }
        }
        Again::Builds => {
            results.forget_builds();
            measure_builds(options, &mut results);
        }
    }
    finish(options, results)
}

fn finish(options: &Options, mut results: Results) -> Result<ExitCode> {
    conclude(options, &mut results);
    results.write(&options.places.results())?;
    say(&format!("written: {}", options.places.results().display()));
    render::write(&results, &options.places, options.draft || options.short)?;
    Ok(verdict(&results))
}

fn empty(options: &Options, machine: Machine, left_out: Vec<LeftOut>) -> Results {
    Results {
        machine,
        versions: Default::default(),
        short: options.short,
        repetitions: options.repetitions,
        noisy: false,
        caveats: Vec::new(),
        left_out,
        failures: Vec::new(),
        builds: Vec::new(),
        runs: Vec::new(),
    }
}

fn measure(options: &Options, programs: &[Program], results: &mut Results) -> Result<()> {
    let cells = matrix::cells(options.short, &options.workloads);
    let names: Vec<_> = programs.iter().map(|program| program.peer.name).collect();
    let builds = if options.builds {
        minimal::estimate(options.short, options.repetitions)
    } else {
        0.0
    };
    let seconds = matrix::estimate(&cells, &names, options.repetitions) + builds;
    say(&format!(
        "measuring: about {:.0} minutes",
        (seconds / 60.0).ceil()
    ));
    for repetition in 0..options.repetitions {
        measure_repetition(options, programs, &cells, repetition, results);
        // Whoever ends a run early keeps what there is.
        results.write(&options.places.results())?;
    }
    Ok(())
}

fn measure_repetition(
    options: &Options,
    programs: &[Program],
    cells: &[Cell],
    repetition: u32,
    results: &mut Results,
) {
    for cell in cells.iter().filter(|cell| repetition < cell.at_most) {
        say(&format!("{}/{} {cell}", repetition + 1, results.repetitions));
        for program in rotated(programs, repetition).filter(|program| cell.has(program.peer.name)) {
            measure_one(options, program, cell, repetition, results);
        }
    }
}

fn measure_one(options: &Options, program: &Program, cell: &Cell, repetition: u32, results: &mut Results) {
    match execute::measure(program, cell) {
        Ok(report) => {
            results
                .versions
                .insert(report.peer.clone(), report.version.clone());
            results.runs.push(Run {
                repetition,
                time: SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |time| time.as_secs()),
                report,
            });
        }
        Err(error) => {
            let error = options.places.anonymous(&error.to_string());
            say(&format!("  {}: {error}", program.peer.name));
            results.failures.push(Failed {
                peer: program.peer.name.to_owned(),
                cell: cell.to_string(),
                repetition,
                error,
            });
        }
    }
}

/// Says what stands against publishing it.
fn conclude(options: &Options, results: &mut Results) {
    let noise = noise(&results.machine, &Table::new(results));
    results.noisy = !noise.is_empty();
    results.caveats = noise;
    let is_too_few = results.repetitions < ENOUGH;
    let ours_failed = results.failures.iter().any(|failed| failed.peer == OURS);
    let mut add = |is_so: bool, caveat: &str| {
        if is_so {
            results.caveats.push(caveat.to_owned());
        }
    };
    add(options.short, "it was a short run");
    add(!options.is_complete(), "it was a part of the comparison only");
    add(is_too_few, &format!("there were fewer than {ENOUGH} repetitions"));
    add(ours_failed, "measurements of this project failed");
}

/// Whether everything that could be measured was.
fn verdict(results: &Results) -> ExitCode {
    for failed in &results.failures {
        say(&format!(
            "failed: {}, {}: {}",
            failed.peer, failed.cell, failed.error
        ));
    }
    for left_out in &results.left_out {
        say(&format!("left out: {}: {}", left_out.peer, left_out.reason));
    }
    let is_lack_of_tools = results.left_out.iter().all(|left_out| left_out.lacks_tool);
    if results.failures.is_empty() && is_lack_of_tools {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
