//! The audit log: who changed what, one line of JSON each, chained by hashes so that a line that was altered or removed shows.
//!
//! Enters: what callers did. Leaves: a file that is only ever appended to, and pages of it. The file is kept up to
//! [`MAX_FILE`] octets, then it becomes `audit.jsonl.1` and so on up to [`MAX_FILES`]; the chain goes on over files. The
//! chain proves that lines belong together, not that the last ones are all there: who needs that sends them elsewhere, too.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use causeway_shared::api::{AuditEntry, AuditList};

use super::sha256_hex;

/// Name of the file.
pub const FILE: &str = "audit.jsonl";
/// Octets of a file before the next one is begun.
pub const MAX_FILE: u64 = 16 << 20;
/// Files that are kept beside the newest.
pub const MAX_FILES: u32 = 8;
/// Entries that the API can show: the newest.
pub const MAX_SHOWN: usize = 10_000;
/// `prev` of the very first entry.
const BEGIN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What somebody did.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Deed {
    /// When, seconds since 1970.
    pub at: u64,
    /// Who.
    pub who: String,
    /// From where.
    pub from: String,
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// HTTP status.
    pub status: u16,
    /// Digests of what was changed.
    pub change: Option<super::tokens::Change>,
}

/// The log.
pub struct AuditLog {
    path: PathBuf,
    file: File,
    octets: u64,
    shown: VecDeque<AuditEntry>,
    next_seq: u64,
    last_hash: String,
    intact: bool,
}

impl AuditLog {
    /// Opens the log and checks the newest file's chain.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(path: &Path) -> io::Result<AuditLog> {
        let file = open(path)?;
        let octets = file.metadata()?.len();
        let mut log = AuditLog {
            path: path.to_owned(),
            file,
            octets,
            shown: VecDeque::new(),
            next_seq: 1,
            last_hash: BEGIN.to_owned(),
            intact: true,
        };
        let mut is_first = true;
        let mut ends_in_a_line = true;
        let mut lines = BufReader::new(File::open(path)?);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            ends_in_a_line = line.ends_with(b"\n");
            log.take(&line, std::mem::take(&mut is_first));
            line.clear();
        }
        if !ends_in_a_line {
            // A write was cut off with the power; what follows begins on a line of its own.
            log.file.write_all(b"\n")?;
        }
        if !log.intact {
            tracing::error!(path = %log.path.display(), "the audit log was altered: its entries do not follow from each other");
        }
        Ok(log)
    }

    fn take(&mut self, line: &[u8], is_first: bool) {
        let Ok(entry) = serde_json::from_slice::<AuditEntry>(line) else {
            self.intact = false;
            return;
        };
        // The newest file begins where the one before it ended, which is not read.
        let follows = is_first || (entry.prev == self.last_hash && entry.seq == self.next_seq);
        if !follows || digest(&entry) != entry.hash {
            self.intact = false;
        }
        self.advance(entry);
    }

    fn advance(&mut self, entry: AuditEntry) {
        (self.next_seq, self.last_hash) = (entry.seq.saturating_add(1), entry.hash.clone());
        if self.shown.len() >= MAX_SHOWN {
            self.shown.pop_front();
        }
        self.shown.push_back(entry);
    }

    /// Appends an entry; it is on the disk when this returns.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&mut self, deed: Deed) -> io::Result<()> {
        if self.octets >= MAX_FILE {
            self.turn()?;
        }
        let (before, after) = deed.change.map(|change| (change.before, change.after)).unzip();
        let mut entry = AuditEntry {
            seq: self.next_seq,
            at: deed.at,
            who: deed.who,
            from: deed.from,
            method: deed.method,
            target: deed.target,
            status: deed.status,
            before,
            after,
            prev: self.last_hash.clone(),
            hash: String::new(),
        };
        entry.hash = digest(&entry);
        let mut line = serde_json::to_vec(&entry)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.octets = self.octets.saturating_add(line.len() as u64);
        self.advance(entry);
        Ok(())
    }

    /// Entries after number `after`, at most `limit`.
    pub fn page(&self, after: u64, limit: usize) -> AuditList {
        let first = self.shown.partition_point(|entry| entry.seq <= after);
        let entries: Vec<_> = self.shown.range(first..).take(limit).cloned().collect();
        let more = first.saturating_add(entries.len()) < self.shown.len();
        let next_after = entries.last().filter(|_| more).map(|entry| entry.seq);
        AuditList { entries, intact: self.intact, next_after }
    }

    /// Begins the next file.
    fn turn(&mut self) -> io::Result<()> {
        let numbered = |number: u32| {
            let mut name = self.path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..MAX_FILES).rev() {
            match std::fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(1))?;
        (self.file, self.octets) = (open(&self.path)?, 0);
        Ok(())
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// Hash of an entry: of its JSON with an empty `hash`.
fn digest(entry: &AuditEntry) -> String {
    let bare = AuditEntry { hash: String::new(), ..entry.clone() };
    // An entry of strings and numbers always becomes text.
    sha256_hex(&serde_json::to_vec(&bare).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("causeway-audit-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        path
    }

    fn deed(target: &str) -> Deed {
        Deed { target: target.to_owned(), method: "POST".into(), status: 201, ..Deed::default() }
    }

    #[test]
    fn entries_follow_each_other_over_restarts_and_are_paged() {
        let directory = directory("chain");
        let path = directory.join(FILE);
        let mut log = AuditLog::open(&path).unwrap();
        log.append(deed("/a")).unwrap();
        log.append(deed("/b")).unwrap();
        let mut log = AuditLog::open(&path).unwrap();
        log.append(deed("/c")).unwrap();
        let all = log.page(0, 10);
        let targets: Vec<_> = all.entries.iter().map(|entry| entry.target.as_str()).collect();
        assert_eq!(
            (targets.as_slice(), all.intact, all.next_after),
            (["/a", "/b", "/c"].as_slice(), true, None)
        );
        assert_eq!(all.entries[0].prev, BEGIN);
        assert_eq!(all.entries[2].prev, all.entries[1].hash);
        let page = log.page(1, 1);
        assert_eq!((page.entries[0].seq, page.next_after), (2, Some(2)));
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn an_altered_or_removed_entry_shows() {
        let directory = directory("altered");
        let path = directory.join(FILE);
        let mut log = AuditLog::open(&path).unwrap();
        for target in ["/a", "/b", "/c"] {
            log.append(deed(target)).unwrap();
        }
        drop(log);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<_> = text.lines().collect();
        for altered in [text.replace("/b", "/x"), format!("{}\n{}\n", lines[0], lines[2])] {
            std::fs::write(&path, altered).unwrap();
            let mut log = AuditLog::open(&path).unwrap();
            assert!(!log.page(0, 10).intact);
            log.append(deed("/d")).unwrap();
        }
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_swallow_the_next() {
        let directory = directory("cut");
        let path = directory.join(FILE);
        AuditLog::open(&path).unwrap().append(deed("/a")).unwrap();
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"{\"seq\":2,").unwrap();
        AuditLog::open(&path).unwrap().append(deed("/b")).unwrap();
        let log = AuditLog::open(&path).unwrap().page(0, 10);
        assert_eq!(log.entries.len(), 2);
        assert!(!log.intact, "a line is not what it was");
        std::fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_next_file_goes_on_with_the_chain() {
        let directory = directory("turn");
        let path = directory.join(FILE);
        let mut log = AuditLog::open(&path).unwrap();
        log.append(deed("/a")).unwrap();
        log.octets = MAX_FILE;
        log.append(deed("/b")).unwrap();
        assert!(directory.join("audit.jsonl.1").exists());
        let again = AuditLog::open(&path).unwrap().page(0, 10);
        assert_eq!((again.entries.len(), again.entries[0].seq, again.intact), (1, 2, true));
        assert_eq!(again.entries[0].prev, log.page(0, 1).entries[0].hash);
        std::fs::remove_dir_all(directory).unwrap();
    }
}
