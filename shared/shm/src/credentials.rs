//! Who is at the other end of a Unix socket, as the kernel knows it (`SO_PEERCRED`).
//!
//! Asked of libc directly: rustix holds a process id as a number that cannot be zero, and the kernel says zero for a peer
//! in a PID namespace that is not ours, as when the two daemons run in two containers.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A peer's identity when it connected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerCredentials {
    /// Process id; 0 when its PID namespace is not visible from ours.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

impl PeerCredentials {
    pub(crate) fn of(socket: BorrowedFd<'_>) -> io::Result<PeerCredentials> {
        let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
        let mut len = size_of::<libc::ucred>() as libc::socklen_t;
        // SAFETY: the descriptor is open, and the kernel writes at most `len` octets into `peer`, which has that size and
        // is valid for any contents.
        let answer = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERCRED,
                (&raw mut peer).cast(),
                &raw mut len,
            )
        };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(PeerCredentials { pid: u32::try_from(peer.pid).unwrap_or(0), uid: peer.uid, gid: peer.gid })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_pair_of_ours_is_us() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = PeerCredentials::of(ours.as_fd()).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        let gid = rustix::process::getegid().as_raw();
        assert_eq!(peer, PeerCredentials { pid: std::process::id(), uid, gid });
    }
}
