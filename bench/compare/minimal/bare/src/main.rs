//! A server, a client and one call with tokio and rkyv alone: what any service that uses both has to build.

use std::error::Error;

use rkyv::rancor;
use rkyv::util::AlignedVec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Terms {
    a: i64,
    b: i64,
}

#[derive(rkyv::Archive, rkyv::Serialize)]
struct Sum(i64);

async fn read_frame(stream: &mut TcpStream) -> Result<AlignedVec, Box<dyn Error>> {
    let len = stream.read_u32_le().await?;
    if len > 1024 {
        return Err("frame too long".into());
    }
    let mut frame = AlignedVec::new();
    frame.resize(len as usize, 0);
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

async fn write_frame(stream: &mut TcpStream, archive: &[u8]) -> Result<(), Box<dyn Error>> {
    stream.write_u32_le(u32::try_from(archive.len())?).await?;
    stream.write_all(archive).await?;
    Ok(())
}

async fn serve(listener: TcpListener) -> Result<(), Box<dyn Error>> {
    let (mut stream, _) = listener.accept().await?;
    let frame = read_frame(&mut stream).await?;
    let terms = rkyv::access::<ArchivedTerms, rancor::Error>(&frame)?;
    let sum = Sum(terms.a.to_native() + terms.b.to_native());
    write_frame(&mut stream, &rkyv::to_bytes::<rancor::Error>(&sum)?).await
}

async fn call(address: std::net::SocketAddr) -> Result<i64, Box<dyn Error>> {
    let mut stream = TcpStream::connect(address).await?;
    let terms = Terms { a: 2, b: 3 };
    write_frame(&mut stream, &rkyv::to_bytes::<rancor::Error>(&terms)?).await?;
    let frame = read_frame(&mut stream).await?;
    Ok(rkyv::access::<ArchivedSum, rancor::Error>(&frame)?.0.to_native())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let (served, sum) = tokio::join!(serve(listener), call(address));
    served?;
    println!("2 + 3 = {}", sum?);
    Ok(())
}
