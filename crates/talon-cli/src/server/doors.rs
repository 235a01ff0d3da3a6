//! The ports of a node: taken at the start, opened when there is something to serve.

use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::{TcpListener, TcpSocket};

use super::ServerError;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A port that is taken but not open: whoever connects is refused, as if nobody were there. A client that is accepted by
/// a node that cannot serve yet may hang, and one that is refused tries elsewhere.
pub struct Door {
    socket: TcpSocket,
    address: SocketAddr,
    setting: &'static str,
}

impl Door {
    /// Takes a port, so that a conflict is known at the start.
    ///
    /// # Errors
    /// If the port is taken or may not be used, with the setting that names it.
    pub fn take(setting: &'static str, host: IpAddr, port: u16) -> Result<Door, ServerError> {
        let address = SocketAddr::new(host, port);
        let socket = || -> io::Result<TcpSocket> {
            let socket = if host.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // Connections of an earlier run that are still closing do not keep the port.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let socket = socket().map_err(|error| ServerError::System(format!("{setting}: {address}"), error))?;
        Ok(Door { socket, address, setting })
    }

    /// Opens it.
    ///
    /// # Errors
    /// If another process has opened the same port meanwhile.
    pub fn open(self) -> Result<TcpListener, ServerError> {
        let Door { socket, address, setting } = self;
        socket.listen(BACKLOG).map_err(|error| ServerError::System(format!("{setting}: {address}"), error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::net::TcpStream;

    #[tokio::test]
    async fn a_taken_door_refuses_until_it_is_opened() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap().port();
        let door = Door::take("resp_port", Ipv4Addr::LOCALHOST.into(), free).unwrap();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, free)).await.is_err());
        let listener = door.open().unwrap();
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, free)).await.is_ok());
        let taken = Door::take("resp_port", Ipv4Addr::LOCALHOST.into(), free).and_then(Door::open).err().unwrap();
        assert!(taken.to_string().contains("resp_port"), "{taken}");
        drop(listener);
    }
}
