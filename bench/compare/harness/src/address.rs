//! Address: where a server listens, as text and as what a socket takes.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Failure, Result};

/// The kind of socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP on the loopback interface.
    Tcp,
    /// A Unix socket.
    Unix,
}

impl FromStr for Transport {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "tcp" => Ok(Self::Tcp),
            "unix" => Ok(Self::Unix),
            other => Err(format!("transport is tcp or unix, not {other}").into()),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
        })
    }
}

/// Where a server listens: `tcp://127.0.0.1:7000`, `unix:///tmp/x.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP. Port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket at this path. There is no file there before the server is started.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        if let Some(socket) = text.strip_prefix("tcp://") {
            return Ok(Self::Tcp(socket.parse()?));
        }
        match text.strip_prefix("unix://") {
            Some(path) => Ok(Self::Unix(path.into())),
            None => Err(format!("not an address: {text}").into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(socket) => write!(f, "tcp://{socket}"),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}
