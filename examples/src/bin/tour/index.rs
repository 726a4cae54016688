//! The service: an index from words to the lines they occur in.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::contract::{Match, Search};

/// Files and where their words are.
#[derive(Default)]
pub struct Index(RwLock<Contents>);

#[derive(Default)]
struct Contents {
    files: Vec<(String, Vec<String>)>,
    /// Lower-case word to file and line.
    words: HashMap<String, Vec<(usize, usize)>>,
}

/// Words of a line, in lower case.
pub fn words(line: &str) -> impl Iterator<Item = String> {
    line.split(|c: char| !c.is_alphanumeric())
        .filter(|word| word.len() > 2)
        .map(str::to_lowercase)
}

/// FNV-1a, a hundred times over, so that there is something to compute.
pub fn digest(text: &[u8]) -> u64 {
    (0..100).fold(0xcbf2_9ce4_8422_2325, |seed, _| {
        text.iter().fold(seed, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        })
    })
}

impl Search for Index {
    async fn add(&self, path: &str, text: &[u8]) -> Result<u64, String> {
        let text = std::str::from_utf8(text).map_err(|error| format!("{path} is not UTF-8: {error}"))?;
        let mut contents = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Contents { files, words: index } = &mut *contents;
        let mut count = 0;
        for (number, line) in text.lines().enumerate() {
            for word in words(line) {
                count += 1;
                let places = index.entry(word).or_default();
                if places.last() != Some(&(files.len(), number)) {
                    places.push((files.len(), number));
                }
            }
        }
        files.push((path.to_owned(), text.lines().map(str::to_owned).collect()));
        Ok(count)
    }

    fn digest(&self, text: &[u8]) -> u64 {
        digest(text)
    }

    async fn find(&self, word: &str, limit: u32) -> Vec<Match> {
        let contents = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let places = contents
            .words
            .get(&word.to_lowercase())
            .map(Vec::as_slice)
            .unwrap_or_default();
        let matches = places.iter().take(limit as usize).filter_map(|(file, line)| {
            let (path, lines) = contents.files.get(*file)?;
            let number = u32::try_from(line + 1).unwrap_or(u32::MAX);
            Some(Match {
                path: path.clone(),
                line: number,
                text: lines.get(*line)?.clone(),
            })
        });
        matches.collect()
    }

    async fn clear(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Contents::default();
    }
}
