//! The API's Unix socket: made with mode 0660, and never taken from a control plane that still listens on it.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Owner and group may use the API.
pub const SOCKET_MODE: u32 = 0o660;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers on it.
    #[error("another control plane listens on {0}; stop it first")]
    InUse(PathBuf),
    /// Something else has this name.
    #[error("{0} exists and is no socket; remove it or change management.socket")]
    NotASocket(PathBuf),
    /// The system said no.
    #[error("cannot {doing} {path}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
}

/// Listens on `path`. A socket that nobody listens on (left by a control plane that was killed) is replaced in one step,
/// so that clients find either the old or the new one.
///
/// # Errors
/// When another process listens there, something else has the name, or the system refuses.
pub fn bind(path: &Path) -> Result<UnixListener, SocketError> {
    let system = |doing: &'static str| {
        let path = path.to_owned();
        move |source| SocketError::System { doing, path, source }
    };
    match fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(system("connect to")(error)),
            Ok(_) => return Err(SocketError::InUse(path.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(system("look at")(error)),
    }
    // Under another name until the mode is right; only this process uses a name with its number.
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(system("replace")(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&new).map_err(system("listen on"))?;
    let ready = fs::set_permissions(&new, fs::Permissions::from_mode(SOCKET_MODE))
        .and_then(|()| listener.set_nonblocking(true))
        .and_then(|()| fs::rename(&new, path));
    if let Err(error) = ready {
        // The error above is the one to report; a left-over name does no harm.
        let _ = fs::remove_file(&new);
        return Err(system("listen on")(error));
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("causeway-socket-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        path
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = directory("stale");
        let path = directory.join("api.sock");
        let first = bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SOCKET_MODE);
        assert!(matches!(bind(&path), Err(SocketError::InUse(_))));
        drop(first);
        assert!(path.exists(), "the killed one left it");
        let second = bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no other name is left");
        drop(second);
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn other_files_are_left_alone() {
        let directory = directory("file");
        let path = directory.join("api.sock");
        fs::write(&path, "precious").unwrap();
        assert!(matches!(bind(&path), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
        assert!(matches!(bind(&directory.join("no/api.sock")), Err(SocketError::System { .. })));
        fs::remove_dir_all(directory).unwrap();
    }
}
