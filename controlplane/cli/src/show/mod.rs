//! `causeway show`, `clear` and `rekey`: answers of the management API as tables for people, or as they are for programs.

mod clear;
mod counters;
mod crypto;
mod health;
mod inactive;
mod ports;
mod session;
mod sessions;
pub(crate) mod units;

use std::io::Write;

use hyper::Method;
use serde::de::DeserializeOwned;
use tabled::builder::Builder;
use tabled::settings::object::Columns;
use tabled::settings::{Alignment, Padding, Style};

pub(crate) use clear::clear;

use crate::args::{Redirect, RedirectWhom, Rekey, RekeyWhat, Sa, Show, What};
use crate::client::{Client, escape};
use crate::exit::{Exit, Failure};

/// Prints what was asked for.
pub(crate) fn show(show: &Show, out: &mut dyn Write) -> Result<Exit, Failure> {
    let client = Client::new(&show.api)?;
    match &show.what {
        What::Sessions { user, inactive, limit, page_token } => {
            let query = sessions::Query {
                user: user.as_deref(),
                inactive: *inactive,
                limit: *limit,
                page_token: page_token.as_deref(),
            };
            match (show.json, inactive) {
                (true, _) => raw(&client.get(&query.path())?, out),
                (false, false) => sessions::print(&client, query, out),
                (false, true) => inactive::print(&client, query, out),
            }
        }
        What::Session { id } => {
            let body = client.get(&session_path(id))?;
            if show.json { raw(&body, out) } else { session::print(&parse(&body)?, out) }
        }
        What::Counters { all } => {
            let body = client.get("/v1/counters")?;
            if show.json { raw(&body, out) } else { counters::print(&parse(&body)?, *all, out) }
        }
        What::Ports => {
            let body = client.get("/v1/ports")?;
            if show.json { raw(&body, out) } else { ports::print(&parse(&body)?, out) }
        }
        What::Health => {
            let body = client.get("/v1/health")?;
            let health = parse(&body)?;
            if show.json {
                raw(&body, out)?
            } else {
                health::print(&health, out)?
            };
            Ok(if health.status == "ok" { Exit::Ok } else { Exit::No })
        }
        What::Crypto(what) => crypto::show(&client, what, show.json, out),
    }
}

/// Gives what was named new keys.
pub(crate) fn rekey(rekey: &Rekey, out: &mut dyn Write) -> Result<Exit, Failure> {
    let RekeyWhat::Session { id, sa } = &rekey.what;
    let (what, text) = match sa {
        Sa::Ike => ("ike", "the IKE SA"),
        Sa::Child => ("child", "the Child SAs"),
    };
    let body = serde_json::json!({ "what": what }).to_string();
    let path = format!("{}/rekey", session_path(id));
    Client::new(&rekey.api)?.request(Method::POST, &path, Some(body))?;
    writeln!(out, "{text} of session {} get new keys", units::printable(id))?;
    Ok(Exit::Ok)
}

/// `causeway redirect`.
pub(crate) fn redirect(redirect: &Redirect, out: &mut dyn Write) -> Result<Exit, Failure> {
    let client = Client::new(&redirect.api)?;
    let body = |to: &str| Some(serde_json::json!({ "to": to }).to_string());
    match &redirect.whom {
        RedirectWhom::Session { id, to } => {
            client.request(Method::POST, &format!("{}/redirect", session_path(id)), body(to))?;
            writeln!(out, "the client of session {} is told to go to {to}", units::printable(id))?;
        }
        RedirectWhom::New { to } => {
            client.request(Method::POST, "/v1/redirect", body(to))?;
            writeln!(out, "new clients that can follow are sent to {to}")?;
        }
        RedirectWhom::Stop => {
            client.request(Method::DELETE, "/v1/redirect", None)?;
            writeln!(out, "new clients are served")?;
        }
    }
    Ok(Exit::Ok)
}

pub(crate) fn session_path(id: &str) -> String {
    format!("/v1/sessions/{}", escape(id))
}

/// Prints a body exactly as it came; a line end is added so that it does not run into the prompt.
pub(crate) fn raw(body: &[u8], out: &mut dyn Write) -> Result<Exit, Failure> {
    out.write_all(body)?;
    if body.last() != Some(&b'\n') {
        writeln!(out)?;
    }
    Ok(Exit::Ok)
}

pub(crate) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body)
        .map_err(|e| Failure::Answer(format!("the API's answer is not understood: {e}")))
}

/// A table without lines; the columns in `right` are numbers.
fn table(header: &[&str], rows: Vec<Vec<String>>, right: &[usize]) -> String {
    let mut builder = Builder::default();
    builder.push_record(header.iter().copied());
    for row in rows {
        builder.push_record(row);
    }
    let mut table = builder.build();
    table.with(Style::empty()).with(Padding::new(0, 2, 0, 0));
    for column in right {
        table.modify(Columns::one(*column), Alignment::right());
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
