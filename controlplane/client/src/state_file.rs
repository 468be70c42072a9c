//! What resumes a session after the process has ended: a file that only its owner can read.
//!
//! Enters: the session id and token as the gateway gave them. Leaves: the same, for the same gateway and user. A new file
//! replaces the old one in one step, and is on the disk before the token is used.

use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use causeway_ike::crypto::Secret;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::attributes::Reconnect;

/// Version of the file's form; others are not read.
const VERSION: u32 = 1;

/// Where a session is kept.
pub struct StateFile {
    path: PathBuf,
    gateway: String,
    user: String,
}

/// A session that can be resumed.
#[derive(Clone)]
pub struct Kept {
    /// Session id and token.
    pub reconnect: Reconnect,
    /// The inner addresses it had.
    pub address: Option<Ipv4Addr>,
    /// And of the other family.
    pub address6: Option<Ipv6Addr>,
    /// Seconds for which the gateway keeps it, if it said.
    pub cleanup_interval_secs: Option<u32>,
}

#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
struct Form {
    version: u32,
    gateway: String,
    user: String,
    session_id: String,
    #[serde(flatten)]
    token: Written,
    #[zeroize(skip)]
    address: Option<Ipv4Addr>,
    #[serde(default)]
    #[zeroize(skip)]
    address6: Option<Ipv6Addr>,
    cleanup_interval_secs: Option<u32>,
}

/// A token as the file has it: text where it is text, so that another client can be given it by hand.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
enum Written {
    #[serde(rename = "token")]
    Text(String),
    #[serde(rename = "token_hex")]
    Hex(String),
}

impl Written {
    fn write(token: &[u8]) -> Written {
        match std::str::from_utf8(token) {
            Ok(text) if text.chars().all(|c| c.is_ascii_graphic()) => Written::Text(text.to_owned()),
            _ => Written::Hex(token.iter().map(|octet| format!("{octet:02x}")).collect()),
        }
    }

    fn read(&self) -> Option<Secret> {
        match self {
            Written::Text(text) => Some(text.as_bytes().to_vec()),
            Written::Hex(text) => from_hex(text),
        }
        .map(Secret::new)
    }
}

impl StateFile {
    /// The file of this gateway and user.
    pub fn new(path: PathBuf, gateway: &str, user: &str) -> StateFile {
        StateFile { path, gateway: gateway.to_owned(), user: user.to_owned() }
    }

    /// The kept session; `None` when there is none of this gateway and user, or the file may be read by others.
    pub fn load(&self) -> Option<Kept> {
        let mode = std::fs::metadata(&self.path).ok()?.permissions().mode();
        if mode & 0o077 != 0 {
            return None;
        }
        let octets = zeroize::Zeroizing::new(crate::config::read(&self.path).ok()?);
        let form: Form = serde_json::from_slice(&octets).ok()?;
        let ours = form.version == VERSION && form.gateway == self.gateway && form.user == self.user;
        let token = form.token.read().filter(|_| ours)?;
        Some(Kept {
            reconnect: Reconnect { session_id: form.session_id.clone(), token },
            address: form.address,
            address6: form.address6,
            cleanup_interval_secs: form.cleanup_interval_secs,
        })
    }

    /// Keeps a session.
    ///
    /// # Errors
    /// When the file cannot be written; then the old one is as it was.
    pub fn save(&self, kept: &Kept) -> std::io::Result<()> {
        let form = Form {
            version: VERSION,
            gateway: self.gateway.clone(),
            user: self.user.clone(),
            session_id: kept.reconnect.session_id.clone(),
            token: Written::write(kept.reconnect.token.as_bytes()),
            address: kept.address,
            address6: kept.address6,
            cleanup_interval_secs: kept.cleanup_interval_secs,
        };
        let octets = zeroize::Zeroizing::new(serde_json::to_vec(&form)?);
        let fresh = self.path.with_extension("new");
        remove(&fresh)?;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&octets)?;
        file.sync_all()?;
        std::fs::rename(&fresh, &self.path)?;
        match self.path.parent() {
            Some(directory) => std::fs::File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    }

    /// Forgets the session.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn forget(&self) -> std::io::Result<()> {
        remove(&self.path)
    }
}

fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        kept_with(b"token\xff")
    }

    fn kept_with(token: &[u8]) -> Kept {
        let token = Secret::new(token.to_vec());
        Kept {
            reconnect: Reconnect { session_id: "rIUHKccDRiUtFTATwq".into(), token },
            address: Some(Ipv4Addr::new(10, 0, 0, 5)),
            address6: None,
            cleanup_interval_secs: Some(900),
        }
    }

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("causeway-client-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn a_session_comes_back_for_its_own_gateway_and_user_only() {
        let directory = directory("state");
        let path = directory.join("session.json");
        let file = StateFile::new(path.clone(), "gateway", "user1");
        assert!(file.load().is_none());
        file.save(&kept()).unwrap();
        file.save(&kept()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let again = file.load().unwrap();
        assert_eq!(again.reconnect.session_id, "rIUHKccDRiUtFTATwq");
        assert!(again.reconnect.token.matches(b"token\xff"));
        file.save(&kept_with(b"printable-token_1")).unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().contains("\"token\":\"printable-token_1\""));
        assert!(file.load().unwrap().reconnect.token.matches(b"printable-token_1"));
        assert_eq!(again.address, kept().address);
        assert!(StateFile::new(path.clone(), "gateway", "user2").load().is_none());
        assert!(StateFile::new(path.clone(), "other", "user1").load().is_none());
        file.forget().unwrap();
        file.forget().unwrap();
        assert!(file.load().is_none());
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_file_that_others_can_read_or_that_is_damaged_is_not_used() {
        let directory = directory("damaged");
        let path = directory.join("session.json");
        let file = StateFile::new(path.clone(), "gateway", "user1");
        file.save(&kept()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(file.load().is_none());
        file.save(&kept()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        for bad in [&text[..text.len() / 2], "", &text.replace("\"version\":1", "\"version\":2")] {
            std::fs::write(&path, bad).unwrap();
            assert!(file.load().is_none(), "{bad}");
        }
        std::fs::remove_dir_all(directory).unwrap();
    }
}
