//! Socket files: which are taken over, which are left alone, and when they go.

mod support;

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use rpc_net::{Address, AddressError, BindErrorKind, BindOptions, BoundListener, DialErrorKind, connect};
use support::{TempDir, bind};

#[test]
fn a_stale_socket_file_is_taken_over() {
    let directory = TempDir::new();
    let path = stale(&directory);
    let listener = bind(&Address::Unix(path.clone()));
    assert_eq!(listener.local_address().unwrap(), Address::Unix(path.clone()));
    UnixStream::connect(path).unwrap();
}

#[test]
fn the_file_of_a_killed_server_of_another_type_is_taken_over() {
    let directory = TempDir::new();
    let path = directory.join("socket");
    drop(std::os::unix::net::UnixDatagram::bind(&path).unwrap());
    let _listener = bind(&Address::Unix(path.clone()));
    UnixStream::connect(path).unwrap();
}

#[test]
fn a_living_server_keeps_its_file() {
    let directory = TempDir::new();
    let path = directory.join("socket");
    let living = UnixListener::bind(&path).unwrap();
    let before = inode(&path);

    let error = bind_error(&path);

    assert_eq!(error.kind(), BindErrorKind::AddressInUse);
    assert_eq!(
        error.to_string(),
        format!("address unix://{} is already in use", path.display())
    );
    assert_eq!(inode(&path), before);
    let (_probe, _client) = (living.accept().unwrap(), UnixStream::connect(&path).unwrap());
    living.accept().unwrap();
}

#[test]
fn a_living_server_of_another_type_keeps_its_file() {
    let directory = TempDir::new();
    let path = directory.join("socket");
    let _living = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    assert_eq!(bind_error(&path).kind(), BindErrorKind::StaleUnchecked);
    assert!(is_socket(&path));
}

#[tokio::test]
async fn a_server_with_a_full_queue_is_living_and_says_so_to_clients() {
    let directory = TempDir::new();
    let address = Address::Unix(directory.join("socket"));
    let options = BindOptions {
        backlog: 0,
        ..BindOptions::default()
    };
    let _busy = BoundListener::bind(&address, &options).unwrap();
    let _waiting = connect(&address).await.unwrap();

    assert_eq!(
        connect(&address).await.unwrap_err().kind(),
        DialErrorKind::QueueFull
    );
    assert_eq!(
        bind_error(&directory.join("socket")).kind(),
        BindErrorKind::AddressInUse
    );
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let directory = TempDir::new();
    let target = stale(&directory);
    fs::write(directory.join("file"), "content").unwrap();
    fs::create_dir(directory.join("directory")).unwrap();
    symlink(&target, directory.join("link")).unwrap();
    symlink(directory.join("nowhere"), directory.join("dangling")).unwrap();

    for name in ["file", "directory", "link", "dangling"] {
        let path = directory.join(name);
        let before = inode(&path);
        let error = bind_error(&path);
        assert_eq!(error.kind(), BindErrorKind::NotASocket, "{name}");
        let text = format!(
            "address unix://{} is the path of something that is not a socket",
            path.display()
        );
        assert_eq!(error.to_string(), text);
        assert_eq!(inode(&path), before, "{name}");
    }

    assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "content");
    assert!(is_socket(&target));
    assert!(!directory.join("nowhere").exists());
}

#[test]
fn a_stale_file_of_another_user_is_left_alone() {
    let directory = TempDir::new();
    let path = stale(&directory);
    let Some(owner) = give_away(&path) else { return };
    assert_eq!(
        bind_error(&path).kind(),
        BindErrorKind::ForeignSocket {
            owner,
            user: directory.user()
        }
    );
    assert!(is_socket(&path));
}

#[test]
fn a_stale_file_in_the_directory_of_another_user_is_left_alone() {
    let directory = TempDir::new();
    let path = stale(&directory);
    let user = directory.user();
    let Some(owner) = give_away(directory.path()) else {
        return;
    };
    assert_eq!(
        bind_error(&path).kind(),
        BindErrorKind::ForeignDirectory { owner, user }
    );
    assert!(is_socket(&path));
}

#[test]
fn nothing_is_taken_over_while_somebody_else_holds_the_directory() {
    let directory = TempDir::new();
    let path = stale(&directory);
    let lock = File::open(directory.path()).unwrap();
    lock.lock().unwrap();
    assert_eq!(bind_error(&path).kind(), BindErrorKind::StaleUnchecked);
    assert!(is_socket(&path));
    // A path that is free needs no taking over.
    bind(&Address::Unix(directory.join("other")));
    lock.unlock().unwrap();
    bind(&Address::Unix(path));
}

#[test]
fn of_many_servers_that_start_on_one_path_exactly_one_gets_it() {
    const SERVERS: usize = 6;
    let directory = TempDir::new();
    for round in 0..30 {
        let path = directory.join(&format!("socket-{round}"));
        // Half of the rounds begin with a stale file, half with none.
        if round % 2 == 0 {
            drop(UnixListener::bind(&path).unwrap());
        }
        let address = Address::Unix(path.clone());
        let options = BindOptions {
            unix_mode: Some(0o600),
            ..BindOptions::default()
        };
        let start = Barrier::new(SERVERS);
        let results: Vec<_> = thread::scope(|scope| {
            let servers: Vec<_> = (0..SERVERS)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        BoundListener::bind(&address, &options)
                    })
                })
                .collect();
            servers.into_iter().map(|server| server.join().unwrap()).collect()
        });

        let (winners, losers): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!(winners.len(), 1);
        for loser in losers {
            assert_eq!(loser.unwrap_err().kind(), BindErrorKind::AddressInUse);
        }
        // The winner is the one that clients reach.
        UnixStream::connect(&path).unwrap();
        drop(winners);
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn a_listener_removes_its_file_when_it_is_dropped() {
    let directory = TempDir::new();
    let path = directory.join("socket");
    let address = Address::Unix(path.clone());

    let bound = bind(&address);
    assert!(is_socket(&path));
    drop(bound);
    assert!(!path.exists());

    let listener = bind(&address).into_tokio().unwrap();
    assert!(is_socket(&path));
    drop(listener);
    assert!(!path.exists());
}

#[tokio::test]
async fn the_last_of_several_handles_removes_the_file() {
    let directory = TempDir::new();
    let path = directory.join("socket");
    let first = bind(&Address::Unix(path.clone()));
    let second = first.try_clone().unwrap().into_tokio().unwrap();
    drop(first);
    let client = connect(&Address::Unix(path.clone())).await.unwrap();
    let server = second.accept().await.unwrap();
    support::write_all(&client, b"x").await;
    assert_eq!(support::read_up_to(&server, 1).await, b"x");
    drop(second);
    assert!(!path.exists());
}

#[test]
fn a_file_that_took_the_place_of_the_socket_stays() {
    let directory = TempDir::new();
    let path = directory.join("socket");

    let first = bind(&Address::Unix(path.clone()));
    fs::remove_file(&path).unwrap();
    let second = bind(&Address::Unix(path.clone()));
    drop(first);
    UnixStream::connect(&path).unwrap();

    fs::write(directory.join("file"), "content").unwrap();
    fs::rename(directory.join("file"), &path).unwrap();
    drop(second);
    assert_eq!(fs::read_to_string(&path).unwrap(), "content");
}

#[test]
fn the_file_of_an_inherited_socket_stays() {
    let directory = TempDir::new();
    let path = directory.join("socket");
    let inherited = BoundListener::from_fd(UnixListener::bind(&path).unwrap().into()).unwrap();
    assert_eq!(inherited.local_address().unwrap(), Address::Unix(path.clone()));
    drop(inherited);
    assert!(is_socket(&path));
}

#[test]
fn only_a_listening_stream_socket_can_be_inherited() {
    let directory = TempDir::new();
    let (connected, _other) = UnixStream::pair().unwrap();
    let datagram = std::os::unix::net::UnixDatagram::bind(directory.join("datagram")).unwrap();
    for fd in [OwnedFd::from(connected), OwnedFd::from(datagram)] {
        assert_eq!(
            BoundListener::from_fd(fd).unwrap_err().kind(),
            io::ErrorKind::InvalidInput
        );
    }
    let file = File::open(directory.path()).unwrap();
    assert_eq!(
        BoundListener::from_fd(file.into()).unwrap_err().raw_os_error(),
        Some(88)
    );
}

#[tokio::test]
async fn a_path_of_107_bytes_works_and_a_longer_one_is_refused() {
    let directory = TempDir::new();
    for (length, fits) in [(107, true), (108, false), (109, false)] {
        let name = "p".repeat(length - directory.path().as_os_str().len() - 1);
        let path = directory.join(&name);
        let address = Address::Unix(path.clone());
        if fits {
            let listener = bind(&address);
            assert_eq!(listener.local_address().unwrap(), address);
            assert!(is_socket(&path));
            connect(&address).await.unwrap();
            continue;
        }
        let error = bind_error(&path);
        assert_eq!(error.kind(), BindErrorKind::InvalidAddress);
        assert_eq!(error.to_string(), format!("address {address} is not valid"));
        let source = error.source().unwrap().to_string();
        assert!(
            source.ends_with(&format!("has a path of {length} bytes, above the limit of 107")),
            "{source}"
        );
        assert_eq!(
            connect(&address).await.unwrap_err().kind(),
            DialErrorKind::InvalidAddress
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_nul_byte_is_refused_and_creates_no_shorter_file() {
    let directory = TempDir::new();
    let error = bind_error(&directory.join("socket\0suffix"));
    assert_eq!(error.kind(), BindErrorKind::InvalidAddress);
    let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
    assert!(source.get_ref().unwrap().is::<AddressError>());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_relative_path_works() {
    let directory = TempDir::new();
    let here = std::env::current_dir().unwrap();
    let up: PathBuf = here.components().skip(1).map(|_| "..").collect();
    let relative = up.join(directory.join("socket").strip_prefix("/").unwrap());
    let address = Address::Unix(relative);

    let listener = bind(&address);
    assert_eq!(listener.local_address().unwrap(), address);
    connect(&address).await.unwrap();
    drop(listener);
    assert!(!directory.join("socket").exists());
}

#[test]
fn a_missing_directory_is_named_as_the_reason() {
    let directory = TempDir::new();
    for path in [directory.join("missing/socket"), stale(&directory).join("socket")] {
        let error = bind_error(&path);
        assert_eq!(error.kind(), BindErrorKind::DirectoryMissing);
        let text = format!(
            "address unix://{} is in a directory that does not exist",
            path.display()
        );
        assert_eq!(error.to_string(), text);
        assert!(error.source().is_some());
    }
}

#[test]
fn the_mode_of_the_file_does_not_depend_on_the_umask() {
    let directory = TempDir::new();
    for mode in [0o600, 0o660, 0o666, 0o777] {
        let path = directory.join(&format!("socket-{mode:o}"));
        let options = BindOptions {
            unix_mode: Some(mode),
            ..BindOptions::default()
        };
        let _listener = BoundListener::bind(&Address::Unix(path.clone()), &options).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, mode);
    }
}

#[test]
fn a_mode_that_was_written_in_decimal_is_refused() {
    let directory = TempDir::new();
    let options = BindOptions {
        unix_mode: Some(660),
        ..BindOptions::default()
    };
    let error = BoundListener::bind(&Address::Unix(directory.join("socket")), &options).unwrap_err();
    assert_eq!(error.kind(), BindErrorKind::InvalidMode { mode: 660 });
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn an_abstract_name_cannot_be_protected_by_a_mode() {
    let options = BindOptions {
        unix_mode: Some(0o600),
        ..BindOptions::default()
    };
    let address = Address::UnixAbstract(format!("rpc-net-{}", support::unique()));
    let error = BoundListener::bind(&address, &options).unwrap_err();
    assert_eq!(error.kind(), BindErrorKind::ModeWithoutFile);
}

#[tokio::test]
async fn a_client_is_told_what_is_wrong_with_a_path() {
    let directory = TempDir::new();
    fs::write(directory.join("file"), "").unwrap();
    let _datagram = std::os::unix::net::UnixDatagram::bind(directory.join("datagram")).unwrap();
    let table = [
        (
            directory.join("missing"),
            DialErrorKind::NoSuchSocket,
            "no such socket file",
        ),
        (
            directory.join("file/socket"),
            DialErrorKind::NoSuchSocket,
            "no such socket file",
        ),
        (
            directory.join("file"),
            DialErrorKind::NotASocket,
            "what is there is not a stream socket",
        ),
        (
            directory.join("datagram"),
            DialErrorKind::NotASocket,
            "what is there is not a stream socket",
        ),
        (stale(&directory), DialErrorKind::Refused, "nothing listens there"),
    ];
    for (path, kind, hint) in table {
        let error = connect(&Address::Unix(path.clone())).await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert_eq!(error.tried(), 1);
        assert_eq!(
            error.to_string(),
            format!("no connection to unix://{}: {hint}", path.display())
        );
        assert!(error.source().unwrap().is::<io::Error>());
    }
}

/// Makes a file as a killed server leaves it behind.
fn stale(directory: &TempDir) -> PathBuf {
    let path = directory.join("stale");
    drop(UnixListener::bind(&path).expect("a socket"));
    path
}

/// Makes another user the owner, and returns that user; none if this user may not do that.
fn give_away(path: &Path) -> Option<u32> {
    const OTHER: u32 = 65533;
    match chown(path, Some(OTHER), None) {
        Ok(()) => Some(OTHER),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => None,
        Err(error) => panic!("changing the owner: {error}"),
    }
}

fn bind_error(path: &Path) -> rpc_net::BindError {
    BoundListener::bind(&Address::Unix(path.to_path_buf()), &BindOptions::default()).expect_err("no listener")
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).expect("a file").ino()
}

fn is_socket(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .expect("a file")
        .file_type()
        .is_socket()
}
