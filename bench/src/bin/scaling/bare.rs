//! Bare: the same shape without this project, sockets and tasks only. What of the scaling is the machine's.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{CONNECTIONS, IN_FLIGHT, Result, TIME, run};

/// About what a call of 64 bytes has on the wire.
const FRAME: usize = 112;

/// Echoes, on as many threads, each with a listener of its own; says the address first.
pub(crate) fn serve(threads: &str) -> Result<()> {
    let mut address = SocketAddr::from(([127, 0, 0, 1], 0));
    for _ in 0..threads.parse()? {
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            run(async move {
                let listener = listen(address)?;
                tell.send(listener.local_addr()?)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    // A client that has what it wants ends the connection.
                    tokio::spawn(echo(stream));
                }
            })
        });
        address = told.recv()?;
    }
    println!("{address}");
    crate::wait_for_end()
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    Ok(socket.listen(1_024)?)
}

async fn echo(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut bytes = [0; IN_FLIGHT * FRAME];
    loop {
        match stream.read(&mut bytes).await? {
            0 => return Ok(()),
            read => stream.write_all(&bytes[..read]).await?,
        }
    }
}

/// Keeps as many frames under way as the clients of this project do calls; says how many came back a second.
pub(crate) async fn call(address: &str) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..CONNECTIONS {
        streams.push(TcpStream::connect(address).await?);
    }
    let start = Instant::now();
    let mut tasks = Vec::new();
    for stream in streams {
        tasks.push(tokio::spawn(frames(stream, start + TIME)));
    }
    let mut bytes = 0;
    for task in tasks {
        bytes += task.await??;
    }
    println!("{}", (bytes / FRAME) as f64 / start.elapsed().as_secs_f64());
    Ok(())
}

/// Sends what has come back once more, until then. How many bytes that were.
async fn frames(mut stream: TcpStream, end: Instant) -> Result<usize> {
    stream.set_nodelay(true)?;
    let mut bytes = [7; IN_FLIGHT * FRAME];
    stream.write_all(&bytes).await?;
    let mut sum = 0;
    while Instant::now() < end {
        let read = stream.read(&mut bytes).await?;
        if read == 0 {
            return Err("the server has ended the connection".into());
        }
        stream.write_all(&bytes[..read]).await?;
        sum += read;
    }
    Ok(sum)
}
