//! `causeway debug …`: conditions and topics of detailed logging, and keys for Wireshark.
//!
//! Enters: conditions and topics from the operator. Leaves: what is set, as text or JSON; key files that only their owner
//! can read. The log lines themselves are the control plane's.

use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use causeway_shared::api::{
    Condition, DebugMatch, DebugState, DebugTopic, ExportedKeys, NewCondition, SetTopics,
};
use hyper::Method;

use crate::args::crypto::{Debug, DebugCondition, DebugCrypto, DebugWhat, Topic, Whose, WhosePeer};
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::show::units::{duration, grouped, printable};
use crate::show::{parse, raw, session_path};

/// Names of Wireshark's own files in its configuration directory.
const IKEV2_TABLE: &str = "ikev2_decryption_table";
const ESP_TABLE: &str = "esp_sa";

/// Does what was asked for.
pub(crate) fn debug(debug: &Debug, out: &mut dyn Write) -> Result<Exit, Failure> {
    let client = Client::new(&debug.api)?;
    match &debug.what {
        DebugWhat::Crypto(DebugCrypto::Condition(condition)) => {
            set_condition(&client, condition, debug.json, out)
        }
        DebugWhat::Crypto(DebugCrypto::Ikev2 { topics, off }) => {
            set_topics(&client, topics, *off, debug.json, out)
        }
        DebugWhat::Crypto(DebugCrypto::Show) => show(&client, debug.json, out),
        DebugWhat::ExportKeys { session, out: directory } => export(&client, session, directory, out),
    }
}

fn set_condition(
    client: &Client,
    condition: &DebugCondition,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let whose = match &condition.whose {
        Whose::Peer(WhosePeer::Ipv4 { address }) => DebugMatch::PeerIpv4(*address),
        Whose::Peer(WhosePeer::Username { user }) | Whose::Username { user } => {
            DebugMatch::Username(user.clone())
        }
        Whose::Session { id } => DebugMatch::Session(id.clone()),
        Whose::Reset => {
            client.request(Method::DELETE, "/v1/debug/conditions", None)?;
            if !json {
                writeln!(out, "no conditions: nothing is logged in detail")?;
            }
            return Ok(Exit::Ok);
        }
    };
    let new = NewCondition { whose, secs: condition.secs, until_reset: condition.until_reset };
    let body = client.request(Method::POST, "/v1/debug/conditions", Some(to_json(&new)?))?;
    if json {
        return raw(&body, out);
    }
    writeln!(out, "{}", line(&parse::<Condition>(&body)?))?;
    Ok(Exit::Ok)
}

fn set_topics(
    client: &Client,
    topics: &[Topic],
    off: bool,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let state: DebugState = parse(&client.get("/v1/debug/conditions")?)?;
    let named: Vec<DebugTopic> = match topics {
        [] => DebugTopic::ALL.to_vec(),
        some => some.iter().map(|topic| api_topic(*topic)).collect(),
    };
    let is_on = |topic: &DebugTopic| match named.contains(topic) {
        true => !off,
        false => state.topics.contains(topic),
    };
    let topics = DebugTopic::ALL.into_iter().filter(is_on).collect();
    let body = client.request(Method::POST, "/v1/debug/topics", Some(to_json(&SetTopics { topics })?))?;
    if json { raw(&body, out) } else { print(&parse(&body)?, out) }
}

fn show(client: &Client, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let body = client.get("/v1/debug/conditions")?;
    if json { raw(&body, out) } else { print(&parse(&body)?, out) }
}

fn print(state: &DebugState, out: &mut dyn Write) -> Result<Exit, Failure> {
    let topics: Vec<&str> = state.topics.iter().map(|topic| topic_name(*topic)).collect();
    writeln!(out, "crypto ikev2: {}", if topics.is_empty() { "off".into() } else { topics.join(", ") })?;
    for condition in &state.conditions {
        writeln!(out, "{}", line(condition))?;
    }
    if state.conditions.is_empty() {
        writeln!(out, "no conditions: nothing is logged in detail")?;
    }
    let (lines, suppressed) = (grouped(state.lines), grouped(state.suppressed));
    writeln!(out, "{lines} lines logged, {suppressed} left out because there were too many at once")?;
    Ok(Exit::Ok)
}

fn line(condition: &Condition) -> String {
    let whose = match &condition.whose {
        DebugMatch::PeerIpv4(address) => format!("peer ipv4 {address}"),
        DebugMatch::Username(user) => format!("username {}", printable(user)),
        DebugMatch::Session(id) => format!("session {}", printable(id)),
    };
    let until = match condition.expires_in_secs {
        Some(secs) => format!("for {}", duration(secs)),
        None => "until reset".to_owned(),
    };
    format!("condition {}: {whose}, {until}", condition.id)
}

fn api_topic(topic: Topic) -> DebugTopic {
    match topic {
        Topic::Packet => DebugTopic::Packet,
        Topic::Internal => DebugTopic::Internal,
        Topic::Error => DebugTopic::Error,
    }
}

fn topic_name(topic: DebugTopic) -> &'static str {
    match topic {
        DebugTopic::Packet => "packet",
        DebugTopic::Internal => "internal",
        DebugTopic::Error => "error",
    }
}

fn to_json(value: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::Output(error.into()))
}

fn export(client: &Client, session: &str, directory: &Path, out: &mut dyn Write) -> Result<Exit, Failure> {
    let path = format!("{}/keys", session_path(session));
    let keys: ExportedKeys = parse(&client.request(Method::POST, &path, None)?)?;
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    for (name, rows) in [(IKEV2_TABLE, &keys.ikev2_decryption_table), (ESP_TABLE, &keys.esp_sa)] {
        let file = directory.join(name);
        let rows: String = rows.iter().map(|row| format!("{row}\n")).collect();
        write_private(&file, rows.as_bytes()).map_err(|error| {
            std::io::Error::new(error.kind(), format!("cannot write {}: {error}", file.display()))
        })?;
        writeln!(out, "wrote {}", file.display())?;
    }
    writeln!(
        out,
        "Put both into Wireshark's configuration directory; remove them when they are not needed."
    )?;
    Ok(Exit::Ok)
}

/// Replaces `file` by one that was never readable by others.
fn write_private(file: &Path, content: &[u8]) -> std::io::Result<()> {
    let mut name = file.as_os_str().to_owned();
    name.push(format!(".{}", std::process::id()));
    let new = Path::new(&name);
    let mut handle = OpenOptions::new().write(true).create_new(true).mode(0o600).open(new)?;
    let written = handle.write_all(content).and_then(|()| std::fs::rename(new, file));
    if written.is_err() {
        // The first error is the one to report.
        let _ = std::fs::remove_file(new);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn key_files_are_private_even_where_a_public_one_was() {
        let directory = std::env::temp_dir().join(format!("causeway-keys-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("table");
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&file, b"new").unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 1, "no other name is left");
        std::fs::remove_dir_all(directory).unwrap();
    }
}
