//! Options: the command line of a peer's program.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::address::{Address, Transport};
use crate::workload::Workload;
use crate::{Failure, Result};

/// The kind of tokio runtime on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeKind {
    /// Current-thread.
    Ct,
    /// Multi-thread with two workers.
    Mt2,
}

impl FromStr for RuntimeKind {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "ct" => Ok(Self::Ct),
            "mt2" => Ok(Self::Mt2),
            other => Err(format!("runtime is ct or mt2, not {other}").into()),
        }
    }
}

impl fmt::Display for RuntimeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ct => "ct",
            Self::Mt2 => "mt2",
        })
    }
}

/// What the program was told. The server is told the same as the client, and its address.
#[derive(Clone, Debug)]
pub struct Options {
    /// `server` rather than `bench`.
    pub is_server: bool,
    /// What is measured.
    pub workload: Workload,
    /// Over which kind of socket.
    pub transport: Transport,
    /// On which kind of runtime.
    pub runtime: RuntimeKind,
    /// How long the measured part is to take.
    pub seconds: f64,
    /// Whether the client is to be a blocking one.
    pub blocking: bool,
    /// How many connections, if not as many as the workload says.
    pub connections: Option<usize>,
    /// Where the server is to listen.
    pub address: Option<Address>,
    extra: BTreeMap<String, String>,
}

impl Options {
    /// Reads the arguments behind the program's name. `extra` are the names of options that the peer has besides.
    ///
    /// # Errors
    ///
    /// The arguments are not `bench` or `server` and known options with values.
    pub fn parse(arguments: impl IntoIterator<Item = String>, extra: &[&str]) -> Result<Self> {
        let mut arguments = arguments.into_iter();
        let is_server = match arguments.next().as_deref() {
            Some("bench") => false,
            Some("server") => true,
            _ => {
                return Err(
                    "usage: bench|server --workload W --transport tcp|unix --runtime ct|mt2 …".into(),
                );
            }
        };
        let mut options = Self {
            is_server,
            workload: Workload::W1,
            transport: Transport::Tcp,
            runtime: RuntimeKind::Ct,
            seconds: 3.0,
            blocking: false,
            connections: None,
            address: None,
            extra: BTreeMap::new(),
        };
        while let Some(argument) = arguments.next() {
            let name = argument.strip_prefix("--").ok_or("options begin with --")?;
            if name == "blocking" {
                options.blocking = true;
                continue;
            }
            let value = arguments
                .next()
                .ok_or_else(|| format!("--{name} needs a value"))?;
            options.set(name, value, extra)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: String, extra: &[&str]) -> Result<()> {
        match name {
            "workload" => self.workload = value.parse()?,
            "transport" => self.transport = value.parse()?,
            "runtime" => self.runtime = value.parse()?,
            "seconds" => self.seconds = value.parse()?,
            "connections" => self.connections = Some(value.parse()?),
            "address" => self.address = Some(value.parse()?),
            name if extra.contains(&name) => {
                self.extra.insert(name.to_owned(), value);
            }
            name => return Err(format!("unknown option --{name}").into()),
        }
        if !self.seconds.is_finite() || self.seconds <= 0.0 {
            return Err("--seconds is a number above 0".into());
        }
        Ok(())
    }

    /// The arguments of the server that goes with this client.
    pub(crate) fn server_arguments(&self, address: &Address) -> Vec<String> {
        let mut arguments = vec!["server".to_owned()];
        let mut add = |name: &str, value: String| arguments.extend([format!("--{name}"), value]);
        add("workload", self.workload.to_string());
        add("transport", self.transport.to_string());
        add("runtime", self.runtime.to_string());
        add("address", address.to_string());
        for (name, value) in &self.extra {
            add(name, value.clone());
        }
        arguments
    }

    /// How long calls are made before the measured part.
    pub fn warm_up(&self) -> Duration {
        Duration::from_secs_f64((self.seconds * 0.2).clamp(0.1, 1.0))
    }

    /// How long the measured part is to take.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// The value of an option that only this peer has.
    pub fn extra(&self, name: &str) -> Option<&str> {
        self.extra.get(name).map(String::as_str)
    }

    /// All options that only this peer has.
    pub fn extras(&self) -> &BTreeMap<String, String> {
        &self.extra
    }
}
