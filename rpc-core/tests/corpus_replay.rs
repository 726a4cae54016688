//! The corpora of the fuzz targets, replayed: hand-made seeds, and what the fuzzer has found worth keeping.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod seeds;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rpc_core::fuzzing::{self, TARGETS};

macro_rules! replay {
    ($($test:ident: $target:ident;)*) => {$(
        #[test]
        fn $test() {
            let inputs = files(&corpus(stringify!($target)));
            assert!(!inputs.is_empty());
            for input in inputs {
                // Shown if the target panics.
                println!("{}", input.display());
                fuzzing::$target(&fs::read(&input).unwrap());
            }
        }
    )*};
}

replay! {
    frames_keeps_its_promises: frames;
    archive_keeps_its_promises: archive;
    server_bytes_keeps_its_promises: server_bytes;
    client_bytes_keeps_its_promises: client_bytes;
    pair_keeps_its_promises: pair;
    dispatch_keeps_its_promises: dispatch;
    channels_keeps_its_promises: channels;
    bridge_keeps_its_promises: bridge;
}

#[test]
fn every_target_is_a_program_and_has_a_corpus() {
    let known: BTreeSet<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let stems = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz().join(folder)).unwrap();
        entries
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    };
    assert_eq!(stems("fuzz_targets"), known);
    assert_eq!(stems("corpus"), known);
}

#[test]
fn no_input_and_inputs_of_one_byte_are_fine() {
    for (_, target) in TARGETS {
        target(&[]);
        (0..=255).for_each(|byte| target(&[byte]));
    }
}

/// Seeds follow the targets' input formats. After a change there, `WRITE_SEEDS=1 cargo test -p rpc-core --test corpus_replay` writes them anew.
#[test]
fn the_committed_seeds_are_those_of_the_generator() {
    let seeds = seeds::all();
    if std::env::var_os("WRITE_SEEDS").is_some() {
        for (target, _) in TARGETS {
            let old = files(&corpus(target)).into_iter().filter(|file| is_seed(file));
            old.for_each(|file| fs::remove_file(file).unwrap());
        }
        for (target, name, bytes) in &seeds {
            fs::write(corpus(target).join(name), bytes).unwrap();
        }
    }
    for (target, name, bytes) in &seeds {
        let file = corpus(target).join(name);
        assert_eq!(fs::read(&file).ok().as_ref(), Some(bytes), "{}", file.display());
    }
    let committed = TARGETS.iter().flat_map(|(target, _)| files(&corpus(target)));
    assert_eq!(committed.filter(|file| is_seed(file)).count(), seeds.len());
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn corpus(target: &str) -> PathBuf {
    fuzz().join("corpus").join(target)
}

fn is_seed(file: &Path) -> bool {
    file.file_name().unwrap().to_str().unwrap().starts_with("seed-")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}
