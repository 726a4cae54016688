//! Dialling: from an address to a connection whose server has greeted.

use std::future::poll_fn;
use std::sync::Arc;

use rpc_net::Address;
use tokio::time::timeout;

use crate::config::Settings;
use crate::connection::Shared;
use crate::driver::Driver;
use crate::error::ConnectError;
use crate::keep_alive::KeepAlive;

/// Dials, shakes hands, and leaves the connection to a driver on the current runtime.
///
/// Until the handshake is complete the caller drives, so dropping this future closes the socket.
pub(crate) async fn dial(
    address: &Address,
    settings: &Settings,
    keep_alive: Option<Arc<KeepAlive>>,
) -> Result<Arc<Shared>, ConnectError> {
    let after = settings.connect_timeout;
    let mut socket = timeout(after, rpc_net::connect(address))
        .await
        .map_err(|_| ConnectError::Timeout {
            address: address.clone(),
            after,
        })?
        .map_err(ConnectError::Dial)?;
    // What the kernel makes of it is its affair; the connection works with any.
    let _ = socket.set_receive_buffer(settings.receive_buffer);
    let shared = Arc::new(Shared::new(socket, address.clone(), settings, keep_alive));
    let mut driver = Driver::new(Arc::clone(&shared));
    poll_fn(|cx| driver.poll_greeted(cx))
        .await
        .map_err(|lost| ConnectError::from_lost(address.clone(), lost))?;
    tokio::spawn(driver);
    Ok(shared)
}
