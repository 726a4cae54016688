//! The client: uploads, digests and queries over one transport, with their times.

use std::time::{Duration, Instant};

use rpc_client::Channel;

use crate::Failure;
use crate::contract::SearchClient;
use crate::corpus::Corpus;
use crate::index;

/// What one transport did.
pub struct Run {
    pub transport: String,
    pub stages: Vec<Stage>,
    /// Query, number of lines found (at most [`LINES`]), and the first of them.
    pub found: Vec<(String, usize, Option<String>)>,
    pub copied: u64,
}

/// Calls of one kind.
pub struct Stage {
    pub name: &'static str,
    pub bytes: usize,
    pub took: Duration,
    pub times: Vec<Duration>,
}

/// Lines asked for by each query.
pub const LINES: u32 = 100;
/// How often each query is asked.
const ROUNDS: usize = 500;
/// The files whose digest is worked out: the largest ones.
const DIGESTS: usize = 20;

impl Stage {
    fn new(name: &'static str) -> Self {
        Self {
            name,
            bytes: 0,
            took: Duration::ZERO,
            times: Vec::new(),
        }
    }

    /// Awaits one call and notes its time.
    async fn time<T>(&mut self, call: impl Future<Output = T>) -> T {
        let start = Instant::now();
        let result = call.await;
        let time = start.elapsed();
        self.took += time;
        self.times.push(time);
        result
    }
}

pub async fn run(address: &str, corpus: &Corpus) -> Result<Run, Failure> {
    let channel = Channel::connect(address).await?;
    let search = SearchClient::new(channel.clone());
    search.clear().await?;
    let upload = upload(&search, corpus).await?;
    let digest = digest(&search, corpus).await?;
    let (query, found) = query(&search, corpus).await?;
    let transport = address.split("://").next().unwrap_or(address).to_owned();
    Ok(Run {
        transport,
        stages: vec![upload, digest, query],
        found,
        copied: channel.copied_bytes(),
    })
}

async fn upload(search: &SearchClient<Channel>, corpus: &Corpus) -> Result<Stage, Failure> {
    let mut stage = Stage::new("add a file");
    for (path, text) in &corpus.files {
        // The file's bytes are borrowed; the server indexes them where they arrive.
        stage.time(search.add(path, text)).await?;
        stage.bytes += text.len();
    }
    Ok(stage)
}

async fn digest(search: &SearchClient<Channel>, corpus: &Corpus) -> Result<Stage, Failure> {
    let mut stage = Stage::new("digest (worker pool)");
    let mut files: Vec<_> = corpus.files.iter().collect();
    files.sort_by_key(|(_, text)| std::cmp::Reverse(text.len()));
    for (path, text) in files.into_iter().take(DIGESTS) {
        let text = text.get(..text.len().min(64 << 10)).unwrap_or_default();
        let digest = stage.time(search.digest(text)).await?;
        stage.bytes += text.len();
        if digest.to_native() != index::digest(text) {
            return Err(format!("{path}: the server worked out another digest").into());
        }
    }
    Ok(stage)
}

type Found = Vec<(String, usize, Option<String>)>;

async fn query(search: &SearchClient<Channel>, corpus: &Corpus) -> Result<(Stage, Found), Failure> {
    let mut stage = Stage::new("find a word");
    let mut found = Found::new();
    let queries = corpus.queries(8);
    for round in 0..ROUNDS {
        for word in &queries {
            // The matches are read where they arrived.
            let matches = stage.time(search.find(word, LINES)).await?;
            stage.bytes += matches.as_bytes().len();
            if !matches
                .iter()
                .all(|line| line.text.to_lowercase().contains(word.as_str()))
            {
                return Err(format!("a line was found that does not contain {word}").into());
            }
            if round == 0 {
                let first = matches.first().map(|line| format!("{}:{}", line.path, line.line));
                found.push((word.clone(), matches.len(), first));
            }
        }
    }
    Ok((stage, found))
}
