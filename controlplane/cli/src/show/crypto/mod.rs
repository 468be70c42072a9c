//! `causeway show crypto …`: sessions as operators of IOS know them, field by field, in its order and spelling.
//!
//! Enters: sessions and statistics of the API. Leaves: lines for people, or one JSON object with all pages. A field that
//! the control plane does not know is a dash; fields that IOS leaves out when they do not apply are left out.

mod flow;
mod ikev2;
mod session;
mod stats;

#[cfg(test)]
mod document;

use std::io::Write;

use causeway_shared::api::{Session, SessionList, SessionState};

use super::sessions::{MAX_PAGES, TABLE_PAGE};
use super::{parse, raw};
use crate::args::crypto::{ShowCrypto, ShowIkev2, ShowStats};
use crate::client::{Client, escape};
use crate::exit::{Exit, Failure};

/// Seconds of a day and of a week.
const DAY: u64 = 86_400;
const WEEK: u64 = 604_800;

/// Prints what was asked for.
pub(super) fn show(
    client: &Client,
    what: &ShowCrypto,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let (header, print): (String, fn(&Session) -> Vec<String>) = match what {
        ShowCrypto::Session { detail: None } => (session::header(false), session::brief),
        ShowCrypto::Session { detail: Some(_) } => (session::header(true), session::detail),
        ShowCrypto::Ikev2(ShowIkev2::Session { detail: None }) => (ikev2::SESSION.into(), ikev2::session),
        ShowCrypto::Ikev2(ShowIkev2::Session { detail: Some(_) }) => {
            (ikev2::SESSION.into(), ikev2::session_detailed)
        }
        ShowCrypto::Ikev2(ShowIkev2::Sa { detail: None }) => (ikev2::SA.into(), ikev2::sa),
        ShowCrypto::Ikev2(ShowIkev2::Sa { detail: Some(_) }) => (ikev2::SA.into(), ikev2::sa_detailed),
        ShowCrypto::Ikev2(ShowIkev2::Stats(ShowStats::Reconnect { detail })) => {
            let body = client.get("/v1/stats/reconnect")?;
            if json {
                return raw(&body, out);
            }
            for line in stats::reconnect(&parse(&body)?, detail.is_some()) {
                writeln!(out, "{line}")?;
            }
            return Ok(Exit::Ok);
        }
    };
    if json {
        return as_json(client, out);
    }
    writeln!(out, "{header}")?;
    let mut first = true;
    each_page(client, |page| {
        for session in &page.sessions {
            if !std::mem::take(&mut first) {
                writeln!(out)?;
            }
            for line in print(session) {
                writeln!(out, "{line}")?;
            }
        }
        Ok(())
    })?;
    Ok(Exit::Ok)
}

/// Calls `take` with every page of the sessions that are up.
fn each_page(
    client: &Client,
    mut take: impl FnMut(SessionList) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut token: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let after = token.map_or_else(String::new, |token| format!("&page_token={}", escape(&token)));
        let list: SessionList = parse(&client.get(&format!("/v1/sessions?limit={TABLE_PAGE}{after}"))?)?;
        token = list.next_page_token.clone();
        take(list)?;
        if token.is_none() {
            break;
        }
    }
    Ok(())
}

/// All pages as one.
fn as_json(client: &Client, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut all = SessionList { sessions: Vec::new(), total: 0, next_page_token: None };
    each_page(client, |mut page| {
        all.sessions.append(&mut page.sessions);
        all.total = page.total;
        Ok(())
    })?;
    serde_json::to_writer(&mut *out, &all).map_err(std::io::Error::from)?;
    writeln!(out)?;
    Ok(Exit::Ok)
}

/// IOS's word for a session's state.
fn status(session: &Session) -> &'static str {
    match session.state {
        SessionState::Connecting => "DOWN-NEGOTIATING",
        SessionState::Active if session.child_sas.is_empty() => "UP-IDLE",
        SessionState::Active => "UP-ACTIVE",
        SessionState::Closing => "DOWN",
    }
}

/// `hh:mm:ss` up to a day, then days and hours, then weeks and days.
fn clock(secs: u64) -> String {
    if secs <= DAY {
        format!("{:02}:{:02}:{:02}", secs / 3600, secs / 60 % 60, secs % 60)
    } else if secs < WEEK {
        format!("{}d{:02}h", secs / DAY, secs / 3600 % 24)
    } else {
        format!("{}w{}d", secs / WEEK, secs / DAY % 7)
    }
}

/// A field that may be unknown.
fn known<T: ToString>(field: Option<T>) -> String {
    field.map_or_else(|| "-".to_owned(), |field| super::units::printable(&field.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_ios_writes_them() {
        for (secs, text) in [
            (0, "00:00:00"),
            (15, "00:00:15"),
            (86_385, "23:59:45"),
            (86_400, "24:00:00"),
            (90_000, "1d01h"),
            (514_800, "5d23h"),
            (604_800, "1w0d"),
            (u64::MAX, "30500568904943w0d"),
        ] {
            assert_eq!(clock(secs), text);
        }
    }
}
