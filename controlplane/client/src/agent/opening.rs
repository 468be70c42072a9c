//! The ways to a connection: resume by token, or log in.
//!
//! Enters: the kept session or the user's password. Leaves: a [`Phase::Opening`] with the first request on its way.

use std::time::Duration;

use causeway_ike::crypto::SystemRandom;
use causeway_ike::ident::Identity;
use zeroize::Zeroizing;

use super::answers::Answering;
use super::journal::{self, Kind, Source};
use super::link::{self, GatewayAddress, Link};
use super::{Agent, AgentError, How, Phase};
use crate::config::{ConfigError, Method};
use crate::initiator::{Connection, Fault, Initiator, Proof};
use crate::method::{AnyConnect, ByPassword, EapMethod, device};

/// How long names are looked up when there is an address to fall back to.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

impl Agent {
    /// Resumes the kept session over a new socket.
    pub(super) async fn resume(&mut self) {
        let Some(kept) = self.kept.clone() else {
            self.log_in().await;
            return;
        };
        let id = &kept.reconnect.session_id;
        let text = format!("Using IKE ID '{id}' for reconnect");
        self.journal.event(Kind::Information, Source::Agent, &text);
        let identity = self.config.resume_identity(id);
        let token = Proof::Token(kept.reconnect.token.clone());
        if let Err(error) = self.open(identity, token, How::Resume).await {
            self.try_later(&error.to_string());
        }
    }

    pub(super) async fn log_in(&mut self) {
        let outcome = match self.method() {
            Ok(method) => {
                let identity = self.config.login_identity(&self.user);
                self.open(identity, Proof::Eap(method), How::Login).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            self.finish(Err(error));
        }
    }

    fn method(&self) -> Result<Box<dyn EapMethod>, AgentError> {
        let password = self.configured_password()?;
        match self.config.login.method {
            Method::AnyconnectEap => {
                let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
                let client = device(&self.protocol.version, &host, &unique_id());
                let answers = Answering::new(&self.user, password, self.ask.clone());
                Ok(Box::new(AnyConnect::new(
                    client,
                    &self.config.gateway.address,
                    self.config.login.group.clone(),
                    Box::new(answers),
                    self.config.credential()?,
                )))
            }
            Method::EapMschapv2 => {
                let method =
                    ByPassword::mschapv2(&self.user, &self.password_or_ask(password)?, &mut SystemRandom)
                        .ok_or(AgentError::Login(Fault::Crypto))?;
                Ok(Box::new(method))
            }
            Method::EapGtc => Ok(Box::new(ByPassword::gtc(&self.user, &self.password_or_ask(password)?))),
        }
    }

    /// The password of the configuration, or else what the user types.
    fn password_or_ask(
        &self,
        configured: Option<Zeroizing<String>>,
    ) -> Result<Zeroizing<String>, AgentError> {
        let refused = || AgentError::Login(Fault::Login("there is no password".into()));
        configured.or_else(|| self.ask.ask("Password:", true)).ok_or_else(refused)
    }

    /// The first line of the password file.
    fn configured_password(&self) -> Result<Option<Zeroizing<String>>, AgentError> {
        let Some(path) = &self.config.login.password_file else { return Ok(None) };
        let octets = Zeroizing::new(crate::config::read(path)?);
        let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        match std::str::from_utf8(line) {
            Ok(text) => Ok(Some(Zeroizing::new(text.to_owned()))),
            Err(_) => Err(AgentError::Config(ConfigError::Value {
                key: "login.password_file",
                reason: "is not UTF-8".into(),
            })),
        }
    }

    async fn open(&mut self, identity: Identity, proof: Proof, how: How) -> Result<(), AgentError> {
        let gateway = self.find_gateway(how).await?;
        if let Some(device) = &mut self.device {
            device.refresh_way_around(gateway.address).await.map_err(AgentError::Device)?;
        }
        let (socket, local) = link::open_socket(self.config.ike.source, gateway)
            .await
            .map_err(|error| AgentError::System { what: "a UDP socket", error })?;
        let connection = Connection {
            identity,
            proof,
            gateway: (gateway.address, gateway.ike_port),
            unix_secs: journal::unix_secs(),
        };
        let initiator =
            Initiator::start(self.protocol.clone(), connection, Box::new(SystemRandom), self.now())
                .map_err(AgentError::Login)?;
        let last_sent = tokio::time::Instant::now();
        let tunnels = crate::esp::Tunnels::default();
        let link = Link { initiator, tunnels, socket, gateway, local, last_sent };
        let before = std::mem::replace(&mut self.phase, Phase::Opening { link: Box::new(link), how });
        if let Phase::Up { link } = before {
            self.tally.esp_before(link.tunnels.counters);
        }
        Ok(())
    }

    /// A session is resumed where it was; name servers may lie behind the very tunnel that is down.
    async fn find_gateway(&self, how: How) -> Result<GatewayAddress, AgentError> {
        match (how, self.last_gateway) {
            (How::Resume, Some(last)) => Ok(last),
            (_, None) => self.resolve().await,
            (How::Login, Some(last)) => match tokio::time::timeout(RESOLVE_TIMEOUT, self.resolve()).await {
                Ok(Ok(found)) => Ok(found),
                _ => Ok(last),
            },
        }
    }

    async fn resolve(&self) -> Result<GatewayAddress, AgentError> {
        let name = &self.config.gateway.address;
        let unresolved = || AgentError::Unresolved(name.clone());
        let (ike_port, natt_port) = (self.config.gateway.ike_port, self.config.gateway.natt_port);
        let found = tokio::net::lookup_host((name.as_str(), ike_port)).await.map_err(|_| unresolved())?;
        let source = self.config.ike.source;
        let found: Vec<_> = found
            .map(|found| GatewayAddress { address: found.ip(), ike_port, natt_port })
            .filter(|gateway| source.is_none_or(|source| source.is_ipv4() == gateway.address.is_ipv4()))
            .collect();
        for gateway in &found {
            // The system's order, but not a family that leads nowhere from here.
            if link::open_socket(source, *gateway).await.is_ok() {
                return Ok(*gateway);
            }
        }
        found.first().copied().ok_or_else(unresolved)
    }
}

/// Names this machine without naming its owner: a hash of systemd's machine id, as its manual asks for.
fn unique_id() -> String {
    let id = crate::config::read(std::path::Path::new("/etc/machine-id")).unwrap_or_default();
    let seed = [b"causeway client\0", id.trim_ascii()].concat();
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &seed);
    hash.as_ref().iter().map(|octet| format!("{octet:02x}")).collect()
}
