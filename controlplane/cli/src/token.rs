//! `causeway token`: makes, lists and revokes tokens of the management API. Enters: the API. Leaves: a new token on standard
//! output, once; tables.

use std::io::Write;

use causeway_shared::api::{CreatedToken, NewToken, Role, TokenInfo, TokenList};
use hyper::Method;
use serde::de::DeserializeOwned;
use tabled::builder::Builder;
use tabled::settings::Style;

use crate::args::token::{Token, TokenCommand, TokenRole};
use crate::client::{Client, escape};
use crate::exit::{Exit, Failure};

const SECS_OF_A_DAY: u64 = 86_400;

/// Does what the arguments say.
pub(crate) fn token(arguments: &Token, out: &mut dyn Write) -> Result<Exit, Failure> {
    let client = Client::new(&arguments.api)?;
    match &arguments.command {
        TokenCommand::Create { name, role, days, json } => {
            let role = match role {
                TokenRole::Viewer => Role::Viewer,
                TokenRole::Operator => Role::Operator,
                TokenRole::Admin => Role::Admin,
            };
            let expires_in_secs = days.map(|days| u64::from(days).saturating_mul(SECS_OF_A_DAY));
            let new = NewToken { name: name.clone(), role, expires_in_secs };
            let body = serde_json::to_string(&new).map_err(|error| Failure::Input(error.to_string()))?;
            let answer = client.request(Method::POST, "/v1/tokens", Some(body))?;
            if *json {
                out.write_all(&answer)?;
                writeln!(out)?;
            } else {
                let created: CreatedToken = read(&answer)?;
                writeln!(out, "{}", created.token)?;
                eprintln!(
                    "token {} for `{}`, role {}: it is not shown again; send it as `Authorization: Bearer …`",
                    created.info.id,
                    created.info.name,
                    created.info.role.name()
                );
            }
        }
        TokenCommand::List { json } => {
            let answer = client.get("/v1/tokens")?;
            if *json {
                out.write_all(&answer)?;
                writeln!(out)?;
            } else {
                writeln!(out, "{}", table(&read::<TokenList>(&answer)?.tokens))?;
            }
        }
        TokenCommand::Revoke { id } => {
            client.request(Method::DELETE, &format!("/v1/tokens/{}", escape(id)), None)?;
            writeln!(out, "token {id} is void")?;
        }
    }
    Ok(Exit::Ok)
}

fn read<T: DeserializeOwned>(answer: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer).map_err(|error| Failure::Answer(error.to_string()))
}

fn table(tokens: &[TokenInfo]) -> String {
    if tokens.is_empty() {
        return "no tokens; `causeway token create` makes one".to_owned();
    }
    let mut rows = Builder::default();
    rows.push_record(["ID", "NAME", "ROLE", "EXPIRES (unix)", "CREATED BY"]);
    for token in tokens {
        let expires = token.expires_at.map_or("never".to_owned(), |at| at.to_string());
        let row = [&token.id, &token.name, token.role.name(), &expires, &token.created_by];
        rows.push_record(row.map(str::to_owned));
    }
    rows.build().with(Style::blank()).to_string()
}
