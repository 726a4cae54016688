//! Peer: what a handler may know of the other end, from what the socket knows.

use rpc_core::{Credentials, Peer, PeerAddress};
use rpc_net::Socket;

/// Describes the other end of a socket. A peer that has vanished already is described as far as possible; reading will find out.
pub(crate) fn describe(socket: &Socket) -> Peer {
    match socket.peer() {
        Ok(rpc_net::Peer::Tcp(address)) => Peer {
            address: PeerAddress::Tcp(address),
            credentials: None,
        },
        Ok(rpc_net::Peer::Unix { path, credentials }) => {
            let credentials = Credentials {
                user: credentials.uid,
                group: credentials.gid,
                process: credentials.pid,
            };
            Peer {
                address: PeerAddress::Unix(path),
                credentials: Some(credentials),
            }
        }
        Err(_) => Peer {
            address: PeerAddress::Unix(None),
            credentials: None,
        },
    }
}
