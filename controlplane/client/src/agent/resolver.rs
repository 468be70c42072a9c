//! The machine's list of name servers: the tunnel's while it is connected, what stood there before afterwards.
//!
//! Enters: what the gateway granted, a file in the form of resolv.conf(5). Leaves: that file, written in place (it may be
//! a mount), and a copy of the old one beside the session's state, from which a killed client's successor restores it.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Most octets of the old file that are kept.
const MAX_FILE: u64 = 64 * 1024;
/// Longest domain that is written (RFC 1035 §2.3.4).
const MAX_DOMAIN: usize = 253;
/// What the resolver reads (resolv.conf(5), MAXNS).
const MAX_SERVERS: usize = 3;

pub(super) struct Resolver {
    file: PathBuf,
    before: PathBuf,
}

impl Resolver {
    /// For this file; `directory` is the client's own.
    pub(super) fn new(file: &Path, directory: &Path) -> Resolver {
        Resolver { file: file.to_owned(), before: directory.join("resolv.conf.before") }
    }

    /// Makes the tunnel's servers the machine's. Without any, nothing is changed.
    pub(super) fn apply(&self, servers: &[IpAddr], domain: Option<&str>) -> io::Result<()> {
        if servers.is_empty() {
            return self.restore();
        }
        if !self.before.exists() {
            write_private(&self.before, &read(&self.file)?)?;
        }
        std::fs::write(&self.file, self.text(servers, domain))
    }

    /// Puts back what stood there, if something of ours stands there now.
    pub(super) fn restore(&self) -> io::Result<()> {
        match read(&self.before) {
            Ok(before) => {
                std::fs::write(&self.file, before)?;
                std::fs::remove_file(&self.before)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn text(&self, servers: &[IpAddr], domain: Option<&str>) -> String {
        let mut text = format!("# causeway client; before: {}\n", self.before.display());
        if let Some(domain) = domain.filter(|domain| is_domain(domain)) {
            text.push_str(&format!("search {domain}\n"));
        }
        for server in servers.iter().take(MAX_SERVERS) {
            text.push_str(&format!("nameserver {server}\n"));
        }
        text
    }
}

/// A gateway must not write other lines into the file.
fn is_domain(text: &str) -> bool {
    let fine = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-' || c == '_';
    !text.is_empty() && text.len() <= MAX_DOMAIN && text.chars().all(fine)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;
    let mut octets = Vec::new();
    std::fs::File::open(path)?.take(MAX_FILE).read_to_end(&mut octets)?;
    Ok(octets)
}

fn write_private(path: &Path, octets: &[u8]) -> io::Result<()> {
    use io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    // Under another name first: a half-written copy must not be taken for the old file.
    let fresh = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(octets)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "nameserver 192.0.2.53\n";

    fn resolver(name: &str) -> (Resolver, PathBuf) {
        let directory = std::env::temp_dir().join(format!("causeway-resolver-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("resolv.conf");
        std::fs::write(&file, OLD).unwrap();
        (Resolver::new(&file, &directory), file)
    }

    fn text(file: &Path) -> String {
        std::fs::read_to_string(file).unwrap()
    }

    #[test]
    fn the_old_file_comes_back_however_often_the_new_one_was_written() {
        let (resolver, file) = resolver("twice");
        for last in [1, 2] {
            resolver.apply(&[IpAddr::from([10, 0, 0, last])], Some("staff.example.test")).unwrap();
            assert!(text(&file).ends_with(&format!("search staff.example.test\nnameserver 10.0.0.{last}\n")));
        }
        // As a successor of a client that was killed.
        Resolver::new(&file, file.parent().unwrap()).restore().unwrap();
        assert_eq!(text(&file), OLD);
        resolver.restore().unwrap();
        assert_eq!(text(&file), OLD);
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }

    #[test]
    fn a_gateway_writes_nothing_but_servers_and_a_domain() {
        let (resolver, file) = resolver("hostile");
        let servers: Vec<IpAddr> = (1..9).map(|last| IpAddr::from([10, 0, 0, last])).collect();
        resolver.apply(&servers, Some("a\nnameserver 203.0.113.1")).unwrap();
        assert!(!text(&file).contains("203.0.113.1") && !text(&file).contains("search"));
        assert_eq!(text(&file).matches("nameserver").count(), MAX_SERVERS);
        resolver.apply(&[], None).unwrap();
        assert_eq!(text(&file), OLD, "a gateway without servers leaves the machine's");
        std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
    }
}
