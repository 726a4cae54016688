//! The server: listens at the address that it is given, says where that is, and serves until its standard input ends or it gets SIGTERM. The second signal ends it at
//! once. In the end it says which calls were counted.

use std::error::Error;
use std::io::{self, Read as _, Write as _, stdin, stdout};
use std::pin::pin;

use interop::contract::InteropServer;
use interop::service::Service;
use rpc_server::{Drained, Server};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: interop-server ADDRESS")?;
    // Before anybody knows that there is somebody to be signalled.
    let mut terminate = signal(SignalKind::terminate())?;
    let service = Service::default();
    let counted = service.counted();
    let server = Server::builder()
        .service(InteropServer::new(service))
        .listen(address)
        .start()?;
    for address in server.addresses() {
        writeln!(stdout(), "{address}")?;
    }
    tokio::select! {
        () = end_of_input()? => {}
        _ = terminate.recv() => {}
    }
    let drained = shut_down(server, &mut terminate).await;
    for key in counted.keys() {
        writeln!(stdout(), "{key}")?;
    }
    match drained.cut_off {
        0 => Ok(()),
        connections => Err(format!("{connections} connections were cut off").into()),
    }
}

/// Waits for the end of the standard input, on a thread that nobody waits for.
fn end_of_input() -> io::Result<impl Future<Output = ()>> {
    let (ended, end) = oneshot::channel();
    std::thread::Builder::new().spawn(move || {
        // However it ends.
        let _ = stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    })?;
    Ok(async {
        let _ = end.await;
    })
}

async fn shut_down(server: Server, terminate: &mut Signal) -> Drained {
    let closer = server.closer();
    let mut shutdown = pin!(server.shutdown());
    loop {
        tokio::select! {
            drained = &mut shutdown => return drained,
            _ = terminate.recv() => closer.close(),
        }
    }
}
