//! Where things are: the sources of the comparison, and what it writes.

use std::path::{Path, PathBuf};

/// Files and folders of a run.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    /// The folder `bench/compare`.
    pub(crate) compare: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
    /// Where everything is written, if not to where it is kept.
    pub(crate) out: Option<PathBuf>,
}

impl Places {
    /// As this program was built: it runs where its sources are.
    pub(crate) fn new() -> Self {
        let runner = Path::new(env!("CARGO_MANIFEST_DIR"));
        let compare = runner.parent().unwrap_or(runner).to_owned();
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| compare.join("target"), PathBuf::from);
        Self {
            compare,
            target,
            out: None,
        }
    }

    /// The root of the repository.
    pub(crate) fn root(&self) -> PathBuf {
        self.compare.join("../..")
    }

    /// What was measured.
    pub(crate) fn results(&self) -> PathBuf {
        self.out.as_ref().unwrap_or(&self.compare).join("results.json")
    }

    /// What people read.
    pub(crate) fn markdown(&self) -> PathBuf {
        self.out
            .clone()
            .unwrap_or_else(|| self.root())
            .join("BENCHMARKS.md")
    }

    /// The pictures in it.
    pub(crate) fn charts(&self) -> PathBuf {
        self.out.as_ref().unwrap_or(&self.compare).join("charts")
    }

    /// The folder of the pictures, as it is called in the text.
    pub(crate) fn charts_link(&self) -> &'static str {
        match self.out {
            Some(_) => "charts",
            None => "bench/compare/charts",
        }
    }

    /// What people have written by hand.
    pub(crate) fn notes(&self) -> PathBuf {
        self.compare.join("notes.md")
    }

    /// A text without the path of this checkout, which is nobody's business.
    pub(crate) fn anonymous(&self, text: &str) -> String {
        let root = self.root();
        let root = root.canonicalize().unwrap_or(root);
        text.replace(&*root.to_string_lossy(), ".")
    }
}
