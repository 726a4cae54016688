//! Proxy: stands between a client and a server, and does what networks do: nothing any more, or a reset.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rpc_server::Address;

/// Forwards connections to a server, byte by byte as they come.
pub(crate) struct Proxy {
    pub(crate) address: Address,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Nothing is forwarded, in either direction, and nothing is closed.
    black_hole: AtomicBool,
    stopped: AtomicBool,
    /// Whether connections were reset: their ends are not forwarded in good order then.
    resets: AtomicBool,
    sockets: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub(crate) fn new(server: &Address) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("tcp://{}", listener.local_addr().unwrap())
            .parse()
            .unwrap();
        let shared = Arc::new(Shared::default());
        let server = server.to_string().strip_prefix("tcp://").unwrap().to_owned();
        std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for client in listener.incoming() {
                    if shared.stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let (client, server) = (client.unwrap(), TcpStream::connect(&server).unwrap());
                    for (from, to) in [(&client, &server), (&server, &client)] {
                        let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                        let shared = Arc::clone(&shared);
                        std::thread::spawn(move || forward(from, to, &shared));
                    }
                    shared.sockets.lock().unwrap().extend([client, server]);
                }
            }
        });
        Self { address, shared }
    }

    /// From now on nothing comes through.
    pub(crate) fn swallow(&self) {
        self.shared.black_hole.store(true, Ordering::SeqCst);
    }

    /// Resets every connection, on both sides.
    pub(crate) fn reset(&self) {
        self.shared.resets.store(true, Ordering::SeqCst);
        for socket in self.shared.sockets.lock().unwrap().drain(..) {
            let socket = socket2::Socket::from(socket);
            socket.set_linger(Some(Duration::ZERO)).unwrap();
            // The threads that forward hold it as well: this ends them, and the last to close it resets the connection.
            let _ = socket.shutdown(Shutdown::Read);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let address = self.address.to_string();
        let _ = TcpStream::connect(address.strip_prefix("tcp://").unwrap());
        for socket in self.shared.sockets.lock().unwrap().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

fn forward(mut from: TcpStream, mut to: TcpStream, shared: &Shared) {
    let mut bytes = [0; 4_096];
    while let Ok(len) = from.read(&mut bytes) {
        while shared.black_hole.load(Ordering::SeqCst) {
            if shared.stopped.load(Ordering::SeqCst) {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        if len == 0 || to.write_all(&bytes[..len]).is_err() {
            break;
        }
    }
    if !shared.resets.load(Ordering::SeqCst) {
        let _ = to.shutdown(Shutdown::Write);
    }
}
