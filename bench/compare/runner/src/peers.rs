//! Who is compared: their programs, and the tools that building them needs.

use harness::Result;

/// A peer: a framework, this project, or a floor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// What it is called in reports.
    pub(crate) name: &'static str,
    /// The package of this workspace that is its program; a floor's has two flavours.
    pub(crate) package: &'static str,
    /// What its program is told besides.
    pub(crate) arguments: &'static [&'static str],
    /// A tool that building it needs.
    pub(crate) tool: Option<Tool>,
}

/// A program that others need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tool {
    pub(crate) name: &'static str,
    /// The Debian package that it is in.
    pub(crate) package: &'static str,
}

impl Tool {
    /// Whether it can be run.
    pub(crate) fn is_here(self) -> bool {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths).any(|folder| folder.join(self.name).is_file())
    }
}

/// Generates tonic's services.
pub(crate) const PROTOC: Tool = Tool {
    name: "protoc",
    package: "protobuf-compiler",
};

/// Generates capnp's services.
pub(crate) const CAPNP: Tool = Tool {
    name: "capnp",
    package: "capnproto, with libcapnp-dev",
};

/// This project's name in reports.
pub(crate) const OURS: &str = "ours";

/// The floor to which everything is compared.
pub(crate) const FLOOR: &str = "raw-tokio";

/// All of them, in the order in which they are shown.
pub(crate) const PEERS: &[Peer] = &[
    peer("raw-std", "compare-raw", &["--flavour", "std"], None),
    peer(FLOOR, "compare-raw", &["--flavour", "tokio"], None),
    peer(OURS, "compare-ours", &[], None),
    peer("tarpc", "compare-tarpc", &[], None),
    peer("tonic", "compare-tonic", &[], Some(PROTOC)),
    peer("capnp", "compare-capnp", &[], Some(CAPNP)),
    peer("volo", "compare-volo", &[], None),
    peer("remoc", "compare-remoc", &[], None),
    peer("vox", "compare-vox", &[], None),
];

const fn peer(
    name: &'static str,
    package: &'static str,
    arguments: &'static [&'static str],
    tool: Option<Tool>,
) -> Peer {
    Peer {
        name,
        package,
        arguments,
        tool,
    }
}

impl Peer {
    /// The one with this name.
    pub(crate) fn named(name: &str) -> Result<&'static Self> {
        let found = PEERS.iter().find(|peer| peer.name == name);
        found.ok_or_else(|| format!("no peer {name}").into())
    }
}

/// Whether it is neither this project nor a floor.
pub(crate) fn is_other(name: &str) -> bool {
    !name.starts_with(OURS) && !is_floor(name)
}

/// Whether it has nothing above the socket.
pub(crate) fn is_floor(name: &str) -> bool {
    name.starts_with("raw-") || name == "bare"
}
