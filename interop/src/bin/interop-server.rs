//! The server: listens at the address that it is given, says where that is, and serves until its standard input ends.

use std::error::Error;
use std::io::{Read as _, Write as _, stdin, stdout};

use interop::contract::InteropServer;
use interop::service::Service;
use rpc_server::Server;

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: interop-server ADDRESS")?;
    let server = Server::builder()
        .service(InteropServer::new(Service::default()))
        .listen(address)
        .start()?;
    for address in server.addresses() {
        writeln!(stdout(), "{address}")?;
    }
    stdin().read_to_end(&mut Vec::new())?;
    match server.shutdown_blocking().cut_off {
        0 => Ok(()),
        connections => Err(format!("{connections} connections were cut off").into()),
    }
}
