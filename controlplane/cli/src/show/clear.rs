//! `causeway clear session ID`, `causeway clear crypto session …` and `causeway clear crypto ikev2 stats reconnect`.

use std::io::Write;
use std::net::Ipv4Addr;

use hyper::Method;
use serde_json::json;

use super::units::{grouped, printable};
use super::{parse, session_path};
use crate::args::crypto::{ClearCrypto, ClearIkev2, ClearSession, ClearStats};
use crate::args::{Clear, ClearWhat};
use crate::client::{Client, escape};
use crate::exit::{Exit, Failure};

/// What the words after `clear crypto session` mean.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Target {
    One(String),
    Remote(Ipv4Addr),
    All,
    OneInactive(String),
    AllInactive,
}

/// Ends what was named.
pub(crate) fn clear(clear: &Clear, out: &mut dyn Write) -> Result<Exit, Failure> {
    match &clear.what {
        ClearWhat::Session { id } => {
            Client::new(&clear.api)?.request(Method::DELETE, &session_path(id), None)?;
            writeln!(out, "session {} is being ended", printable(id))?;
            Ok(Exit::Ok)
        }
        ClearWhat::Crypto(ClearCrypto::Ikev2(ClearIkev2::Stats(ClearStats::Reconnect))) => {
            Client::new(&clear.api)?.request(Method::DELETE, "/v1/stats/reconnect", None)?;
            writeln!(out, "reconnect statistics begin at zero")?;
            Ok(Exit::Ok)
        }
        ClearWhat::Crypto(ClearCrypto::Session(which)) => {
            let target = target(which)?;
            let client = Client::new(&clear.api)?;
            let ended = end(&client, &target)?;
            if which.json {
                writeln!(out, "{}", json!({ "cleared": ended }))?;
            } else {
                let plural = if ended == 1 { " is" } else { "s are" };
                writeln!(out, "{} session{plural} being ended", grouped(ended))?;
            }
            Ok(Exit::Ok)
        }
    }
}

fn target(which: &ClearSession) -> Result<Target, Failure> {
    let words: Vec<&str> = which.target.iter().map(String::as_str).collect();
    match (words.as_slice(), which.inactive) {
        (["all"], false) => Ok(Target::All),
        (["remote", address], false) => match address.parse() {
            Ok(address) => Ok(Target::Remote(address)),
            Err(_) => Err(Failure::Input(format!("`{}` is no IPv4 address", printable(address)))),
        },
        ([] | ["all"], true) => Ok(Target::AllInactive),
        ([id], true) => Ok(Target::OneInactive((*id).to_owned())),
        ([id], false) if *id != "remote" => Ok(Target::One((*id).to_owned())),
        _ => Err(Failure::Input(
            "name an id, `remote` and an address, `all`, or --inactive with an id or alone".into(),
        )),
    }
}

/// How many are being ended.
fn end(client: &Client, target: &Target) -> Result<u64, Failure> {
    match target {
        Target::One(id) => {
            client.request(Method::DELETE, &session_path(id), None)?;
            Ok(1)
        }
        Target::OneInactive(id) => {
            let path = format!("{}?state=inactive", session_path(id));
            client.request(Method::DELETE, &path, None)?;
            Ok(1)
        }
        Target::AllInactive => bulk(client, "state=inactive"),
        Target::All => bulk(client, "state=active"),
        Target::Remote(address) => {
            bulk(client, &format!("state=active&peer={}", escape(&address.to_string())))
        }
    }
}

fn bulk(client: &Client, query: &str) -> Result<u64, Failure> {
    let body = client.request(Method::DELETE, &format!("/v1/sessions?{query}"), None)?;
    Ok(parse::<causeway_shared::api::Cleared>(&body)?.cleared)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_after_clear_crypto_session_are_understood() {
        let read = |words: &str, inactive| {
            let target_words = words.split_whitespace().map(str::to_owned).collect();
            target(&ClearSession { target: target_words, inactive, json: false }).ok()
        };
        for (words, inactive, meaning) in [
            ("17", false, Some(Target::One("17".into()))),
            ("17", true, Some(Target::OneInactive("17".into()))),
            ("", true, Some(Target::AllInactive)),
            ("all", true, Some(Target::AllInactive)),
            ("all", false, Some(Target::All)),
            ("remote 192.0.2.1", false, Some(Target::Remote([192, 0, 2, 1].into()))),
            ("remote", false, None),
            ("remote x", false, None),
            ("remote 192.0.2.1", true, None),
            ("17 18", false, None),
            ("", false, None),
        ] {
            assert_eq!(read(words, inactive), meaning, "{words} {inactive}");
        }
    }
}
