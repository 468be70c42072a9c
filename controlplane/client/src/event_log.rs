//! The event log, in the blocks that Cisco's diagnostic reports have: Date, Time, Type, Source, Description.
//!
//! Enters: what happened, the wall clock. Leaves: blocks in a file. Secrets never enter.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Largest log; a longer one is started anew, the old one kept beside it.
const MAX_OCTETS: u64 = 4 << 20;
const SECS_PER_DAY: u64 = 86_400;

/// How grave an event is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// As it should be.
    Information,
    /// Worth knowing.
    Warning,
    /// Something did not work.
    Error,
}

/// Which part of the client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// The part that holds the connection.
    Agent,
    /// The part that talks to the user.
    Ui,
}

/// An open log.
pub struct EventLog {
    file: File,
}

impl EventLog {
    /// Opens a log to append to.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> std::io::Result<EventLog> {
        if std::fs::metadata(path).is_ok_and(|facts| facts.len() > MAX_OCTETS) {
            std::fs::rename(path, path.with_extension("old.log"))?;
        }
        let file = std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(EventLog { file })
    }

    /// Appends a block.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&mut self, unix_secs: u64, kind: Kind, source: Source, text: &str) -> std::io::Result<()> {
        self.file.write_all(block(unix_secs, kind, source, text).as_bytes())
    }
}

fn block(unix_secs: u64, kind: Kind, source: Source, text: &str) -> String {
    let (year, month, day) = date(unix_secs / SECS_PER_DAY);
    let second = unix_secs % SECS_PER_DAY;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let source = match source {
        Source::Agent => "vpnagent",
        Source::Ui => "vpnui",
    };
    format!(
        "Date : {month:02}/{day:02}/{year:04}\nTime : {hour:02}:{minute:02}:{second:02}\nType : {kind:?}\n\
         Source : {source}\nDescription : {text}\n\n"
    )
}

/// Year, month and day (UTC) of a day since 1970-01-01, by the Gregorian calendar's 400-year cycle.
fn date(days: u64) -> (u64, u64, u64) {
    // Years begin in March, so that the leap day is the last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (unix_secs, wanted) in [
            (0, "Date : 01/01/1970\nTime : 00:00:00"),
            (951_782_399, "Date : 02/28/2000\nTime : 23:59:59"),
            (951_782_400, "Date : 02/29/2000\nTime : 00:00:00"),
            (1_741_829_255, "Date : 03/13/2025\nTime : 01:27:35"),
            (4_107_542_399, "Date : 02/28/2100\nTime : 23:59:59"),
            (4_107_542_400, "Date : 03/01/2100\nTime : 00:00:00"),
        ] {
            let block = block(unix_secs, Kind::Warning, Source::Ui, "x");
            assert!(block.starts_with(wanted), "{block}");
        }
    }

    #[test]
    fn a_block_has_the_shape_of_the_report() {
        let text = "Using IKE ID 'rIUHKccDRiUtFTATwq' for reconnect";
        assert_eq!(
            block(1_741_835_434, Kind::Information, Source::Agent, text),
            format!(
                "Date : 03/13/2025\nTime : 03:10:34\nType : Information\nSource : vpnagent\n\
                 Description : {text}\n\n"
            )
        );
    }
}
