//! The data plane's socket: gives the segment to one control plane at a time, and notices at once when that one dies.
//!
//! Enters: connections. Leaves: for the first, a hello with the memfd and both doorbells (`SCM_RIGHTS`), and the
//! connection is kept open so that its end is the peer's end; for any other, a hello that says why not. Nothing here blocks.

use std::fs;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType, accept_with, bind, connect, listen, recv, sendmsg, socket_with,
};

use crate::credentials::PeerCredentials;
use crate::data_side::DataSegment;
use crate::hello::{Answer, encode};

/// Descriptors that come with an offer: memfd, the control plane's doorbell, the data plane's doorbell.
pub(crate) const OFFERED_FDS: usize = 3;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 8;

/// Owner and group may connect.
const SOCKET_MODE: u32 = 0o660;

/// Where and for whom to listen.
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// The socket's path; a socket that nobody listens on any more is replaced.
    pub path: PathBuf,
    /// The control plane's user, beside root and our own user; the socket is given to it, which takes CAP_CHOWN.
    pub control_uid: Option<u32>,
    /// The group that may connect, if not the one that files are created with.
    pub socket_gid: Option<u32>,
}

/// Why the socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    /// Another data plane listens there.
    #[error("another data plane listens on {}", .path.display())]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path is taken by something that is not a socket.
    #[error("{} exists and is not a socket; remove it or choose another run directory", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The kernel refused.
    #[error("cannot {doing} {}: {source}", .path.display())]
    System {
        /// What was tried.
        doing: &'static str,
        /// On which socket.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What happened on the socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkEvent {
    /// A control plane has the segment now.
    Attached(PeerCredentials),
    /// The control plane is gone: it closed the connection or died. Its SAs stay installed.
    Detached(PeerCredentials),
    /// A second control plane was refused.
    RefusedBusy(PeerCredentials),
    /// A user that we do not serve was refused.
    RefusedUser(PeerCredentials),
}

/// The listening socket and the control plane that has the segment, if one has.
pub struct Handover {
    listener: OwnedFd,
    options: ListenOptions,
    segment: DataSegment,
    attached: Option<(OwnedFd, PeerCredentials)>,
}

impl Handover {
    /// Opens the socket.
    ///
    /// # Errors
    /// See [`HandoverError`].
    pub fn bind(options: ListenOptions, segment: &DataSegment) -> Result<Handover, HandoverError> {
        let path = &options.path;
        let failed =
            |doing| move |source: io::Error| HandoverError::System { doing, path: path.clone(), source };
        let address = SocketAddrUnix::new(path.as_path()).map_err(io::Error::from).map_err(failed("name"))?;
        remove_stale_socket(path, &address)?;
        let listener = seqpacket().map_err(failed("create"))?;
        // The mode of the unbound socket limits the file that bind creates: it is never wider than meant, whatever umask.
        fchmod(&listener, Mode::from_raw_mode(SOCKET_MODE))
            .map_err(io::Error::from)
            .map_err(failed("protect"))?;
        bind(&listener, &address).map_err(io::Error::from).map_err(failed("bind"))?;
        // Who is neither its owner nor of its group could not even connect. Without root's rights the group has to be the
        // right one already: that of a run directory with the set-group-id bit.
        let owner = options.control_uid.filter(|_| rustix::process::geteuid().is_root());
        chown(path, owner, options.socket_gid).map_err(failed("give an owner or group to"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed("protect"))?;
        listen(&listener, BACKLOG).map_err(io::Error::from).map_err(failed("listen on"))?;
        Ok(Handover { listener, segment: segment.clone(), attached: None, options })
    }

    /// Does what there is to do, one step per call: call it until it returns `None`, whenever [`Self::listener`] or
    /// [`Self::peer`] is readable, or every so often.
    pub fn serve(&mut self) -> Option<LinkEvent> {
        if let Some((link, peer)) = self.attached.take() {
            if has_ended(link.as_fd()) {
                return Some(LinkEvent::Detached(peer));
            }
            self.attached = Some((link, peer));
        }
        // A connection that vanished before we looked is no event: the next call sees the next one.
        let link = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()?;
        let peer = PeerCredentials::of(link.as_fd()).ok()?;
        if !self.serves(peer) {
            self.answer(link.as_fd(), Answer::Forbidden { uid: peer.uid }, &[]);
            return Some(LinkEvent::RefusedUser(peer));
        }
        if let Some((_, holder)) = &self.attached {
            self.answer(link.as_fd(), Answer::Busy { pid: holder.pid }, &[]);
            return Some(LinkEvent::RefusedBusy(peer));
        }
        self.answer(link.as_fd(), Answer::Offer, &self.segment.offered_fds());
        self.attached = Some((link, peer));
        Some(LinkEvent::Attached(peer))
    }

    /// Readable when somebody connects.
    pub fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// Readable when the attached control plane is gone; `None` while there is none.
    pub fn peer(&self) -> Option<BorrowedFd<'_>> {
        self.attached.as_ref().map(|(link, _)| link.as_fd())
    }

    fn serves(&self, peer: PeerCredentials) -> bool {
        let ours = rustix::process::geteuid().as_raw();
        peer.uid == 0 || peer.uid == ours || Some(peer.uid) == self.options.control_uid
    }

    fn answer(&self, link: BorrowedFd<'_>, answer: Answer, fds: &[BorrowedFd<'_>]) {
        let hello = encode(answer, self.segment.identity());
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(OFFERED_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            control.push(SendAncillaryMessage::ScmRights(fds));
        }
        // A peer that is gone already is noticed by the next look at its connection.
        let _ = sendmsg(link, &[IoSlice::new(&hello)], &mut control, SendFlags::NOSIGNAL);
    }
}

impl Drop for Handover {
    fn drop(&mut self) {
        // A path that is gone already is what we want.
        let _ = fs::remove_file(&self.options.path);
    }
}

pub(crate) fn seqpacket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// Whether the other end of a handover connection is gone. Neither side says anything after the hello: one that does is
/// not our peer and treated as gone.
pub(crate) fn has_ended(link: BorrowedFd<'_>) -> bool {
    let answer = recv(link, &mut [0u8; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT);
    !matches!(answer, Err(Errno::AGAIN | Errno::INTR))
}

fn remove_stale_socket(path: &Path, address: &SocketAddrUnix) -> Result<(), HandoverError> {
    let failed =
        |doing| move |source: io::Error| HandoverError::System { doing, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(HandoverError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let probe = seqpacket().map_err(failed("create"))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed("remove the stale")),
        Ok(()) | Err(Errno::AGAIN) => Err(HandoverError::InUse { path: path.to_owned() }),
        Err(errno) => Err(failed("probe")(errno.into())),
    }
}
