//! The file of a Unix socket: who may replace it, when it is removed, and the lock under which both happen.
//!
//! Binding creates the file, closing the socket leaves it behind. So a server that was killed leaves a
//! *stale* file, which keeps its successor from binding. Telling a stale file from a living server takes a
//! probe, and removing it must not race with another server that starts at the same time: between `bind` and
//! `listen` a new server's file looks stale too. Therefore all of it happens under a lock on the directory.
//! The lock is advisory and needs no file of its own.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::bind_error::{BindErrorKind, BindFault};

/// A socket file that this process created. Dropping it removes the file if it is still the same one.
///
/// It has to be dropped while the socket is still open: then the file cannot be stale, and no other server
/// takes its path over between the look at the file and its removal.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    /// Remembers which file the socket that was just bound to `path` has.
    pub(crate) fn record(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        // The working directory can change before the file is removed.
        let path = std::path::absolute(path)?;
        Ok(Self {
            path,
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Ok(metadata) = fs::symlink_metadata(&self.path) else {
            return;
        };
        if (metadata.dev(), metadata.ino()) == (self.device, self.inode) {
            // Nobody is left to be told: at worst the file is stale, and the next server takes it over.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A lock on the directory of a socket file, held while a server binds to it. Released on drop, and by the
/// kernel when the process dies.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    directory: File,
}

impl DirectoryLock {
    /// Locks the directory of `path`; waits a second at most.
    pub(crate) fn acquire(path: &Path) -> io::Result<Self> {
        // The dot makes sure that it is a directory: opening a FIFO would wait for its other end.
        let parent = path
            .parent()
            .map_or_else(|| PathBuf::from("/"), |parent| parent.join("."));
        let directory = File::open(parent)?;
        for _ in 0..LOCK_ATTEMPTS {
            match directory.try_lock() {
                Ok(()) => return Ok(Self { directory }),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the directory is locked by another process",
        ))
    }

    fn owner(&self) -> io::Result<u32> {
        Ok(self.directory.metadata()?.uid())
    }
}

/// Removes the file that keeps `user` from binding to `path`, if it is a socket that `user` owns and no
/// server has.
///
/// # Errors
///
/// Everything else that can be there stays as it is, and is the error.
pub(crate) fn remove_stale(
    path: &Path,
    user: u32,
    lock: &io::Result<DirectoryLock>,
) -> Result<(), BindFault> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unchecked(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(BindErrorKind::NotASocket.into());
    }
    if metadata.uid() != user {
        return Err(BindErrorKind::ForeignSocket {
            owner: metadata.uid(),
            user,
        }
        .into());
    }
    match probe(path) {
        Probe::Gone => return Ok(()),
        Probe::Living => return Err(BindErrorKind::AddressInUse.into()),
        Probe::Silent => {}
        Probe::Unknown(error) => return Err(unchecked(error)),
    }
    let lock = match lock {
        Ok(lock) => lock,
        Err(error) => return Err(unchecked(io::Error::new(error.kind(), error.to_string()))),
    };
    let owner = lock.owner().map_err(unchecked)?;
    if owner != user && owner != ROOT {
        return Err(BindErrorKind::ForeignDirectory { owner, user }.into());
    }
    fs::remove_file(path).map_err(unchecked)
}

fn unchecked(error: io::Error) -> BindFault {
    BindFault::with_source(BindErrorKind::StaleUnchecked, error)
}

enum Probe {
    /// The file vanished: its server has just finished.
    Gone,
    /// A server has it.
    Living,
    /// No socket of this machine is bound to it, or its socket does not listen.
    Silent,
    Unknown(io::Error),
}

/// Connects to see whether somebody listens, without waiting. A living server sees a connection that ends
/// before its first byte.
fn probe(path: &Path) -> Probe {
    let connected = SockAddr::unix(path).and_then(|address| {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.connect(&address)
    });
    match connected {
        Ok(()) => Probe::Living,
        // The queue of new connections is full: somebody listens.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Probe::Living,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Probe::Silent,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Probe::Gone,
        Err(error) => Probe::Unknown(error),
    }
}

const ROOT: u32 = 0;
/// The lock is held for a few system calls, so even a crowd of servers that start together is through in a
/// fraction of this.
const LOCK_ATTEMPTS: u32 = 200;
const LOCK_PAUSE: Duration = Duration::from_millis(5);
