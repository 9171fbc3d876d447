//! Holds a task for each connection, as in the tutorial of Tokio.
use std::net::SocketAddr;

use tokio::io::AsyncReadExt;
use tokio::net::TcpSocket;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|text| text.parse().ok()).expect("usage: discard PORT");
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::from(([127, 0, 0, 1], port)))?;
    let listener = socket.listen(4096)?;
    loop {
        let (mut socket, _) = listener.accept().await?;
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while matches!(socket.read(&mut buffer).await, Ok(count) if count > 0) {}
        });
    }
}
