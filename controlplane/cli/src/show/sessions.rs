//! `causeway show sessions`: one line for each session.

use std::io::Write;

use causeway_shared::api::{Session, SessionList, SessionState};

use super::units::{duration, octets, printable};
use super::{parse, table};
use crate::client::{Client, escape};
use crate::exit::{Exit, Failure};

/// Most pages of one listing; a server that never ends must not keep the command running.
pub(super) const MAX_PAGES: usize = 10_000;

/// Sessions asked for at once when a table is made: the API's largest page.
pub(super) const TABLE_PAGE: u32 = 1000;

/// Which sessions.
#[derive(Clone, Copy)]
pub(super) struct Query<'a> {
    pub user: Option<&'a str>,
    pub inactive: bool,
    pub limit: Option<u32>,
    pub page_token: Option<&'a str>,
}

impl Query<'_> {
    pub fn path(&self) -> String {
        let parameters: Vec<String> = [
            self.inactive.then(|| "state=inactive".to_owned()),
            self.user.map(|user| format!("user={}", escape(user))),
            self.limit.map(|limit| format!("limit={limit}")),
            self.page_token.map(|token| format!("page_token={}", escape(token))),
        ]
        .into_iter()
        .flatten()
        .collect();
        match parameters.is_empty() {
            true => "/v1/sessions".to_owned(),
            false => format!("/v1/sessions?{}", parameters.join("&")),
        }
    }
}

/// Prints all pages as one table.
pub(super) fn print(client: &Client, query: Query<'_>, out: &mut dyn Write) -> Result<Exit, Failure> {
    let mut rows = Vec::new();
    let mut token: Option<String> = None;
    let mut total = 0;
    for _ in 0..MAX_PAGES {
        let limit = query.limit.or(Some(TABLE_PAGE));
        let page = Query { page_token: token.as_deref(), limit, ..query };
        let list: SessionList = parse(&client.get(&page.path())?)?;
        rows.extend(list.sessions.iter().map(row));
        total = list.total;
        token = list.next_page_token;
        if token.is_none() {
            break;
        }
    }
    let shown = rows.len() as u64;
    if rows.is_empty() {
        writeln!(out, "no sessions")?;
        return Ok(Exit::Ok);
    }
    let header = ["ID", "USER", "STATE", "ADDRESS", "PEER", "NAT", "IKE", "ESP", "IN", "OUT", "UP", "IDLE"];
    writeln!(out, "{}", table(&header, rows, &[8, 9, 10, 11]))?;
    if query.user.is_some() && total > shown {
        writeln!(out, "{shown} of {total} sessions")?;
    } else {
        writeln!(out, "{shown} session{}", if shown == 1 { "" } else { "s" })?;
    }
    Ok(Exit::Ok)
}

fn row(session: &Session) -> Vec<String> {
    let suites: Vec<&str> = session.child_sas.iter().map(|c| c.esp_suite.as_str()).collect();
    let esp = suites.last().copied().unwrap_or("-").to_owned();
    vec![
        printable(&session.id),
        printable(&session.user),
        state(session.state).to_owned(),
        super::session::addresses(session).unwrap_or_else(|| "-".to_owned()),
        printable(&session.peer),
        if session.nat_detected { "yes" } else { "no" }.to_owned(),
        printable(&session.ike_suite),
        printable(&esp),
        octets(session.traffic.in_bytes),
        octets(session.traffic.out_bytes),
        duration(session.established_secs),
        duration(session.idle_secs),
    ]
}

pub(super) fn state(state: SessionState) -> &'static str {
    match state {
        SessionState::Connecting => "connecting",
        SessionState::Active => "active",
        SessionState::Closing => "closing",
    }
}
