//! The service manager's notification socket (sd_notify(3)): one datagram for each change of state. Nothing happens without
//! `NOTIFY_SOCKET`.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Tells the service manager `state`, e.g. `READY=1`. A manager that does not listen is no reason to stop.
pub(super) fn notify(state: &str) {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET")
        && let Err(error) = send(path.as_bytes(), state)
    {
        tracing::warn!(%error, "the service manager cannot be told {state}");
    }
}

fn send(path: &[u8], state: &str) -> std::io::Result<()> {
    let address = match path.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abstract_and_path_sockets_get_the_state() {
        let name = format!("causeway-notify-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let path = std::env::temp_dir().join(&name);
        let path_address = SocketAddr::from_pathname(&path).unwrap();
        let path_text = path.as_os_str().as_bytes().to_vec();
        for (address, variable) in
            [(abstract_address, format!("@{name}").into_bytes()), (path_address, path_text)]
        {
            let socket = UnixDatagram::bind_addr(&address).unwrap();
            send(&variable, "READY=1").unwrap();
            let mut got = [0u8; 64];
            let length = socket.recv(&mut got).unwrap();
            assert_eq!(&got[..length], b"READY=1");
        }
        std::fs::remove_file(path).unwrap();
    }
}
