//! The client's configuration file (TOML), read once.
//!
//! Enters: a file. Leaves: a [`Config`] whose proposals parse and whose files can be read, or the reason with line and key.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use causeway_ike::cert::{Credential, TrustStore};
use causeway_ike::ident::Identity;
use causeway_ike::suite::IkeProposal;
use serde::Deserialize;

use crate::attributes::AttributeNumbers;
use crate::initiator::InitiatorConfig;

/// IDi of AnyConnect-EAP: the user is named in the method.
const ANYCONNECT_IDENTITY: &[u8] = b"*$AnyConnectClient$*";
/// Largest file that is read, octets.
const MAX_FILE: u64 = 1 << 20;
/// Smallest IKE datagram that fragments are cut to: what every IPv4 host takes (RFC 7383 §2.5.1).
const MIN_FRAGMENT_OCTETS: usize = 508;

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the session's files are: control socket, state, event log. Made with mode 0700 if missing.
    pub directory: PathBuf,
    /// The gateway.
    pub gateway: Gateway,
    /// The user.
    pub login: Login,
    /// The IKE SA.
    #[serde(default)]
    pub ike: Ike,
    /// Auto Reconnect.
    #[serde(default)]
    pub reconnect: ReconnectPolicy,
    /// The device for packets.
    #[serde(default)]
    pub tunnel: Tunnel,
}

/// `[gateway]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gateway {
    /// Host name or address, IPv4 or IPv6, to dial.
    pub address: String,
    /// Name that its certificate must have; the dialled address by default.
    pub name: Option<String>,
    /// What users call it; the address by default.
    pub display_name: Option<String>,
    /// PEM file of the authorities that may sign its certificate.
    pub ca_file: PathBuf,
    /// First port.
    #[serde(default = "ike_port")]
    pub ike_port: u16,
    /// Port of UDP encapsulation.
    #[serde(default = "natt_port")]
    pub natt_port: u16,
}

/// `[login]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The method.
    #[serde(default)]
    pub method: Method,
    /// The user; asked for if missing.
    pub user: Option<String>,
    /// File whose first line is the password; asked for if missing.
    pub password_file: Option<PathBuf>,
    /// Group to choose.
    pub group: Option<String>,
    /// PEM chain of a certificate, for gateways that ask for one.
    pub certificate_file: Option<PathBuf>,
    /// PEM key of that certificate.
    pub private_key_file: Option<PathBuf>,
    /// ID type of IDi with AnyConnect-EAP: 201 as Cisco's clients send it, or 11.
    #[serde(default = "anyconnect_id_type")]
    pub id_type: u8,
}

/// Login methods.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// AnyConnect-EAP.
    #[default]
    AnyconnectEap,
    /// EAP-MSCHAPv2.
    EapMschapv2,
    /// EAP-GTC.
    EapGtc,
}

/// `[ike]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ike {
    /// IKE proposals.
    pub proposals: Vec<String>,
    /// ESP proposals.
    pub esp: Vec<String>,
    /// Seconds between liveness checks; 0 for none.
    pub dpd_interval_secs: u64,
    /// Seconds after which a Child SA is rekeyed; 0 for never.
    pub child_lifetime_secs: u64,
    /// Seconds after which the IKE SA is rekeyed; 0 for never.
    pub lifetime_secs: u64,
    /// Seconds without any datagram to the gateway after which a NAT is reminded of us (RFC 3948 §4); 0 for never.
    pub nat_keepalive_secs: u64,
    /// Whether long IKE messages may go in fragments (RFC 7383); without, they are left to IP.
    pub fragmentation: bool,
    /// Whether they may go in Cisco's fragments (payload 132), with AnyConnect-EAP and a gateway that knows only those.
    pub cisco_fragmentation: bool,
    /// Largest IKE datagram with fragmentation, octets.
    pub fragment_octets: usize,
    /// Address to send from; the system's choice by default.
    pub source: Option<IpAddr>,
}

/// `[reconnect]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReconnectPolicy {
    /// Whether a lost connection is resumed.
    pub enabled: bool,
    /// Seconds after which a lost session is given up, unless the gateway names its own interval.
    pub timeout_secs: u64,
    /// Seconds between attempts.
    pub retry_secs: u64,
    /// ID type of IDi in a resume.
    pub id_type: u8,
    /// Attribute numbers.
    pub attributes: AttributeNumbers,
}

/// `[tunnel]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tunnel {
    /// Whether there is a device; without one packets are neither sent nor delivered.
    pub enabled: bool,
    /// Its name.
    pub device: String,
    /// Its MTU: 1500 less outer headers and the longest ESP overhead.
    pub mtu: u16,
    /// Whether an inner IPv6 address is asked for beside the IPv4 one.
    pub ipv6: bool,
    /// Whether routes are set to what the gateway grants.
    pub routes: bool,
    /// File like `/etc/resolv.conf` that has the gateway's name servers while connected; none is touched by default.
    pub resolv_conf: Option<PathBuf>,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{}: {error}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// Line, key and what is wrong.
        error: Box<toml::de::Error>,
    },
    /// A value cannot be used.
    #[error("{key}: {reason}")]
    Value {
        /// Section and key.
        key: &'static str,
        /// What is wrong, and what would be right.
        reason: String,
    },
}

impl Config {
    /// Reads a file. Relative paths in it are relative to the file's directory.
    ///
    /// # Errors
    /// [`ConfigError`] names file, key and remedy.
    pub fn load(path: &Path) -> Result<Config, ConfigError> {
        let text = read(path)?;
        let text = String::from_utf8_lossy(&text);
        let mut config: Config = toml::from_str(&text)
            .map_err(|error| ConfigError::Syntax { path: path.to_owned(), error: Box::new(error) })?;
        let base = path.parent().unwrap_or(Path::new("."));
        let files = [&mut config.login.password_file, &mut config.login.certificate_file];
        for file in files.into_iter().chain([&mut config.login.private_key_file]).flatten() {
            *file = base.join(&*file);
        }
        config.gateway.ca_file = base.join(&config.gateway.ca_file);
        config.directory = base.join(&config.directory);
        config.tunnel.resolv_conf = config.tunnel.resolv_conf.map(|file| base.join(file));
        Ok(config)
    }

    /// What users call the gateway.
    pub fn display_name(&self) -> &str {
        self.gateway.display_name.as_deref().unwrap_or(&self.gateway.address)
    }

    /// Where the running client listens for commands.
    pub fn control_socket(&self) -> PathBuf {
        self.directory.join("control.sock")
    }

    /// What resumes the session after a restart.
    pub fn state_file(&self) -> PathBuf {
        self.directory.join("session.json")
    }

    /// The event log.
    pub fn event_log(&self) -> PathBuf {
        self.directory.join("events.log")
    }

    /// What every connection needs.
    ///
    /// # Errors
    /// [`ConfigError`] when a proposal or the authorities cannot be used.
    pub fn initiator(&self) -> Result<InitiatorConfig, ConfigError> {
        let trust = TrustStore::from_pem(&read(&self.gateway.ca_file)?)
            .map_err(|error| value("gateway.ca_file", &error))?;
        if self.ike.fragment_octets < MIN_FRAGMENT_OCTETS {
            let reason = format!("must be {MIN_FRAGMENT_OCTETS} or more");
            return Err(ConfigError::Value { key: "ike.fragment_octets", reason });
        }
        let cisco = self.login.method == Method::AnyconnectEap;
        let cisco_fragments = cisco && self.ike.cisco_fragmentation;
        let ike: Vec<IkeProposal> = parsed("ike.proposals", &self.ike.proposals)?;
        if ike.iter().any(|proposal| !proposal.kems.is_empty()) {
            let reason =
                "this client does no additional key exchanges yet: leave out the words that begin with `ke`";
            return Err(value("ike.proposals", &reason));
        }
        Ok(InitiatorConfig {
            gateway_name: Identity::from_text(self.gateway.name.as_ref().unwrap_or(&self.gateway.address)),
            trust,
            ike,
            esp: parsed("ike.esp", &self.ike.esp)?,
            fragment_octets: self.ike.fragmentation.then_some(self.ike.fragment_octets),
            cisco_fragment_octets: cisco_fragments.then_some(self.ike.fragment_octets),
            ipv6: self.tunnel.ipv6,
            attributes: self.reconnect.attributes,
            version: format!("Causeway {}", env!("CARGO_PKG_VERSION")),
            cisco_vendor_ids: cisco,
            dpd_interval_secs: self.ike.dpd_interval_secs,
            child_lifetime_secs: self.ike.child_lifetime_secs,
            ike_lifetime_secs: self.ike.lifetime_secs,
        })
    }

    /// The user's certificate, if one is named.
    ///
    /// # Errors
    /// [`ConfigError`] when its files cannot be used.
    pub fn credential(&self) -> Result<Option<Credential>, ConfigError> {
        match (&self.login.certificate_file, &self.login.private_key_file) {
            (None, None) => Ok(None),
            (Some(chain), Some(key)) => {
                let key = zeroize::Zeroizing::new(read(key)?);
                Credential::from_pem(&read(chain)?, &key)
                    .map(Some)
                    .map_err(|error| value("login.certificate_file", &error))
            }
            _ => {
                Err(value("login.certificate_file", &"needs login.private_key_file, and the other way round"))
            }
        }
    }

    /// IDi of a login.
    pub fn login_identity(&self, user: &str) -> Identity {
        match self.login.method {
            Method::EapMschapv2 | Method::EapGtc => Identity::from_text(user),
            Method::AnyconnectEap => identity(self.login.id_type, ANYCONNECT_IDENTITY),
        }
    }

    /// IDi of a resume.
    pub fn resume_identity(&self, session_id: &str) -> Identity {
        identity(self.reconnect.id_type, session_id.as_bytes())
    }
}

fn identity(id_type: u8, data: &[u8]) -> Identity {
    Identity::parse(id_type, data).unwrap_or_else(|_| Identity::KeyId(data.to_vec()))
}

fn parsed<T: std::str::FromStr>(key: &'static str, texts: &[String]) -> Result<Vec<T>, ConfigError>
where
    T::Err: std::fmt::Display,
{
    if texts.is_empty() {
        return Err(value(key, &"needs at least one proposal"));
    }
    texts.iter().map(|text| text.parse().map_err(|error| value(key, &error))).collect()
}

fn value(key: &'static str, reason: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::Value { key, reason: reason.to_string() }
}

/// Reads a file of bounded length.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, ConfigError> {
    use std::io::Read as _;
    let fail = |error| ConfigError::File { path: path.to_owned(), error };
    let mut octets = Vec::new();
    std::fs::File::open(path).map_err(fail)?.take(MAX_FILE).read_to_end(&mut octets).map_err(fail)?;
    Ok(octets)
}

impl Default for Ike {
    fn default() -> Ike {
        Ike {
            proposals: vec!["aes256-sha512-ecp256".into(), "aes256gcm16-prfsha384-ecp384".into()],
            esp: vec!["aes256gcm16-esn-noesn".into(), "aes256-sha384-esn-noesn".into()],
            dpd_interval_secs: 30,
            child_lifetime_secs: 3600,
            lifetime_secs: 14_400,
            nat_keepalive_secs: 20,
            fragmentation: true,
            cisco_fragmentation: true,
            fragment_octets: 1200,
            source: None,
        }
    }
}

impl Default for ReconnectPolicy {
    fn default() -> ReconnectPolicy {
        ReconnectPolicy {
            enabled: true,
            timeout_secs: 1800,
            retry_secs: 5,
            id_type: 11,
            attributes: AttributeNumbers::default(),
        }
    }
}

impl Default for Tunnel {
    fn default() -> Tunnel {
        let device = "causeway0".into();
        Tunnel { enabled: true, device, mtu: 1380, ipv6: true, routes: true, resolv_conf: None }
    }
}

fn ike_port() -> u16 {
    500
}

fn natt_port() -> u16 {
    4500
}

fn anyconnect_id_type() -> u8 {
    201
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        "directory = \"d\"\n[gateway]\naddress = \"vpn.example.test\"\nca_file = \"ca.pem\"\n[login]\n";

    #[test]
    fn the_smallest_file_means_what_cisco_s_client_does() {
        let config: Config = toml::from_str(MINIMAL).unwrap();
        assert_eq!(config.login.method, Method::AnyconnectEap);
        assert_eq!((config.gateway.ike_port, config.gateway.natt_port), (500, 4500));
        let identity = config.login_identity("user1");
        assert_eq!(identity.id_type(), 201);
        assert_eq!(config.resume_identity("abc"), Identity::KeyId(b"abc".to_vec()));
        assert_eq!(config.ike.dpd_interval_secs, 30);
        assert!(config.reconnect.enabled);
        parsed::<causeway_ike::suite::IkeProposal>("ike.proposals", &config.ike.proposals).unwrap();
        let esp = parsed::<causeway_ike::suite::EspProposal>("ike.esp", &config.ike.esp).unwrap();
        assert!(esp.iter().all(|proposal| proposal.esn == [true, false]));
        assert_eq!((config.ike.nat_keepalive_secs, config.tunnel.resolv_conf), (20, None));
    }

    #[test]
    fn unknown_keys_are_named() {
        for (text, wanted) in [
            (format!("{MINIMAL}passwrd_file = \"x\"\n"), "passwrd_file"),
            (format!("{MINIMAL}[reconnect]\ntoken = 1\n"), "token"),
            (format!("{MINIMAL}method = \"psk\"\n"), "psk"),
        ] {
            let error = toml::from_str::<Config>(&text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
