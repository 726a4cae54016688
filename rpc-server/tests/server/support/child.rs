//! Child processes: a test runs itself again, with a role.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use rpc_server::Address;

const ROLE: &str = "RPC_SERVER_TEST_ROLE";
const MARK: &str = "listening on ";
const PEER: &str = "RPC_SERVER_TEST_PEER";

/// Whether this process was started by [`Server::spawn`], to be the server.
pub(crate) fn is_server() -> bool {
    std::env::var_os(ROLE).is_some()
}

/// Tells the parent where the server is, and serves until the parent ends this process.
#[expect(clippy::print_stdout, reason = "the parent reads it")]
pub(crate) fn serve(address: &Address) -> ! {
    println!("{MARK}{address}");
    loop {
        std::thread::park();
    }
}

/// The server that this process, started by [`ChildClient::spawn`], is a client of.
pub(crate) fn peer() -> Option<Address> {
    std::env::var(PEER).ok().map(|address| address.parse().unwrap())
}

/// A client in a process of its own, which is killed in the end.
pub(crate) struct ChildClient(Child);

impl ChildClient {
    /// Runs the test with this name in a process that is told where the server is.
    pub(crate) fn spawn(test: &str, server: &Address) -> Self {
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(PEER, server.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(process)
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for ChildClient {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A server in a process of its own, which is killed in the end.
pub(crate) struct ChildServer {
    process: Child,
    pub(crate) address: Address,
}

impl ChildServer {
    /// Runs the test with this name in a process with that many file descriptors.
    pub(crate) fn spawn(test: &str, descriptors: u32) -> Self {
        let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let mut process = Command::new("sh")
            .args(["-c", &script])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(ROLE, "server")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = lines
            .map(Result::unwrap)
            .find_map(|line| line.split_once(MARK).map(|(_, address)| address.parse().unwrap()));
        match address {
            Some(address) => Self { process, address },
            None => panic!("the server did not start: {:?}", process.wait()),
        }
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    /// The most memory that was ever resident, in bytes.
    pub(crate) fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kibibytes = line.and_then(|rest| rest.split_whitespace().next()).unwrap();
        kibibytes.parse::<usize>().unwrap() << 10
    }

    /// Kills the process with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for ChildServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
