//! `causeway show sessions --inactive`: one line for each session that waits for its client.

use std::io::Write;

use causeway_shared::api::{InactiveSession, InactiveSessionList};

use super::sessions::{MAX_PAGES, Query, TABLE_PAGE};
use super::units::{duration, grouped, printable};
use super::{parse, table};
use crate::client::Client;
use crate::exit::{Exit, Failure};

/// Prints all pages as one table.
pub(super) fn print(client: &Client, query: Query<'_>, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut rows = Vec::new();
    let mut token: Option<String> = None;
    for _ in 0..MAX_PAGES {
        let page = Query { page_token: token.as_deref(), limit: query.limit.or(Some(TABLE_PAGE)), ..query };
        let list: InactiveSessionList = parse(&client.get(&page.path())?)?;
        rows.extend(list.sessions.iter().map(row));
        token = list.next_page_token;
        if token.is_none() {
            break;
        }
    }
    let shown = rows.len() as u64;
    if rows.is_empty() {
        writeln!(out, "no inactive sessions")?;
        return Ok(Exit::Ok);
    }
    let header = ["ID", "USER", "ADDRESS", "LAST PEER", "RESUMES", "SILENT", "EXPIRES IN"];
    writeln!(out, "{}", table(&header, rows, &[4, 5, 6]))?;
    writeln!(out, "{} inactive session{}", grouped(shown), if shown == 1 { "" } else { "s" })?;
    Ok(Exit::Ok)
}

fn row(session: &InactiveSession) -> Vec<String> {
    vec![
        printable(&session.id),
        printable(&session.user),
        match (session.inner_address, session.inner_address6) {
            (Some(v4), Some(v6)) => format!("{v4}, {v6}"),
            (Some(v4), None) => v4.to_string(),
            (None, Some(v6)) => v6.to_string(),
            (None, None) => "-".to_owned(),
        },
        session.last_peer.as_deref().map_or("-".to_owned(), printable),
        session.resumes.to_string(),
        duration(session.inactive_secs),
        duration(session.expires_in_secs),
    ]
}
