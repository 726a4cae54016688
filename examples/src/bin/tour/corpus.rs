//! The caller's own files: every text file under a folder.

use std::fs;
use std::path::Path;

use crate::Failure;
use crate::index::words;

/// Text files, and what was left out.
#[derive(Default)]
pub struct Corpus {
    pub files: Vec<(String, Vec<u8>)>,
    pub binary: usize,
    pub too_large: usize,
    pub unreadable: usize,
}

/// The largest file that is sent, in bytes: what fits into one call at the default limit of 4 MiB, with room for its path.
pub const MAX_FILE: u64 = (4 << 20) - (64 << 10);
/// The most bytes that are sent over each transport, so that a large folder does not make a long tour.
const MAX_TOTAL: usize = 64 << 20;

impl Corpus {
    pub fn bytes(&self) -> usize {
        self.files.iter().map(|(_, text)| text.len()).sum()
    }

    /// Words to ask for: the commonest ones of six letters and more.
    pub fn queries(&self, count: usize) -> Vec<String> {
        let mut counts = std::collections::HashMap::<String, usize>::new();
        for line in self
            .files
            .iter()
            .flat_map(|(_, text)| std::str::from_utf8(text).unwrap_or_default().lines())
        {
            for word in words(line).filter(|word| word.len() >= 6) {
                *counts.entry(word).or_default() += 1;
            }
        }
        let mut words: Vec<_> = counts.into_iter().collect();
        words.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        words.into_iter().take(count).map(|(word, _)| word).collect()
    }
}

/// Reads every text file under a folder, or one file. Hidden entries, links and build output are passed over.
pub fn read(folder: &Path) -> Result<Corpus, Failure> {
    let metadata = fs::metadata(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut corpus = Corpus::default();
    let mut todo = vec![folder.to_path_buf()];
    if metadata.is_file() {
        read_file(folder, &mut corpus);
        todo.clear();
    }
    while let Some(folder) = todo.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            corpus.unreadable += 1;
            continue;
        };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| !is_passed_over(path)) {
            match fs::symlink_metadata(&path) {
                Ok(entry) if entry.is_dir() => todo.push(path),
                Ok(entry) if entry.is_file() => read_file(&path, &mut corpus),
                Ok(_) => {}
                Err(_) => corpus.unreadable += 1,
            }
        }
    }
    if corpus.files.is_empty() {
        return Err(format!("{} holds no text files", folder.display()).into());
    }
    Ok(corpus)
}

fn is_passed_over(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') || name == "target"
}

fn read_file(path: &Path, corpus: &mut Corpus) {
    let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if size > MAX_FILE || corpus.bytes() + usize::try_from(size).unwrap_or(usize::MAX) > MAX_TOTAL {
        corpus.too_large += 1;
        return;
    }
    match fs::read(path) {
        Ok(text) if std::str::from_utf8(&text).is_ok() && !text.contains(&0) => {
            corpus.files.push((path.display().to_string(), text));
        }
        Ok(_) => corpus.binary += 1,
        Err(_) => corpus.unreadable += 1,
    }
}
