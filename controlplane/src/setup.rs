//! From the configuration to what the driver is made of.
//!
//! Enters: the validated configuration and the keys it names. Leaves: the endpoint's policy, pools, directory.
//! What is wrong names the key of the configuration and the remedy.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use causeway_eap::anyconnect::{self, CertificateUse};
use causeway_eap::{Binding, EapType, TlsSettings, TtlsInner};
use causeway_ike::api::{Liveness, Secret};
use causeway_ike::cert::{CredentialError, ListError, TrustStore};
use causeway_ike::ident::Identity;
use causeway_ike::job::Keyring;
use causeway_ike::policy::{
    CiscoPolicy, EndpointConfig, ExtensionPolicy, GatewayName, IdrMismatch, Lifetimes, Limits, Methods,
    NoGatewayName, RedirectPolicy, Redirected, Timing,
};
use causeway_ike::ppk::{Ppk, PpkPolicy};
use causeway_ike::suite::{EspPolicy, Group};
use causeway_shared::config::{
    self, AuthMethod, CertificateLogin, Config, Ike, InnerMethod, PeapBinding, PortRole, Redirect, TicketForm,
};

use crate::aaa::radius::{self, Accountant, Asker, Bookkeeper, RadiusEap, RadiusError};
use crate::aaa::{
    ANY_IDENTITY, AnyConnectConversations, CertificateNames, Conversations, Directory, DirectoryError,
    LocalEap, TlsSetupError, tls_configs,
};
use crate::driver::{Accounts, Services};
use crate::keys::{Keys, read};
use crate::pool::{AddressPools, PoolError};
use crate::store::handle::StoreHandle;
use crate::tickets::{Form, Tickets};

/// Why the configuration cannot be put to work.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file.
    #[error("{key}: cannot read {path}: {source}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Certificate or private key.
    #[error("auth.certificate_file {chain}, auth.private_key_file {key}: {reason}")]
    Credential {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        reason: CredentialError,
    },
    /// Authorities.
    #[error("auth.client_ca_file {path}: {reason}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: CredentialError,
    },
    /// A file of revocation lists.
    #[error("auth.crl_files {path}: {reason}")]
    RevocationList {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: ListError,
    },
    /// The thread that fetches revocation lists.
    #[error("no thread for auth.revocation: {0}")]
    Revocation(io::Error),
    /// A proposal, a suite, or the name of a gateway.
    #[error("{key}: `{text}` is not understood: {reason}")]
    Proposal {
        /// The key.
        key: &'static str,
        /// The text.
        text: String,
        /// What is wrong.
        reason: String,
    },
    /// TLS of EAP methods.
    #[error("{0}")]
    Tls(#[from] TlsSetupError),
    /// Users or keys.
    #[error("{0}")]
    Directory(#[from] DirectoryError),
    /// Pools.
    #[error("{0}")]
    Pool(#[from] PoolError),
    /// RADIUS.
    #[error("{0}")]
    Radius(#[from] RadiusError),
}

/// The endpoint's policy.
///
/// # Errors
/// When a proposal is not understood.
pub fn endpoint_config(config: &Config, keyring: &Keyring) -> Result<EndpointConfig, SetupError> {
    let allows = |method| config.auth.methods.contains(&method);
    Ok(EndpointConfig {
        identity: Identity::from_text(&config.gateway.identity),
        certificate_request: keyring.client_authorities.as_ref().map(TrustStore::cert_req),
        methods: Methods {
            eap: local_eap_allowed(config) || allows(AuthMethod::EapRadius),
            certificate: allows(AuthMethod::Certificate),
            psk: allows(AuthMethod::Psk),
            anyconnect_eap: allows(AuthMethod::AnyconnectEap),
            resume: config.reconnect.enabled,
        },
        // Clients behind names that we do not know decide by our certificate, as the RFC lets them.
        idr_mismatch: IdrMismatch::AnswerOwn,
        ike_proposals: parse_all("ike.proposals", &config.ike.proposals)?,
        esp: EspPolicy {
            suites: parse_all("esp.suites", config.esp.suites.iter().map(|suite| suite.name()))?,
            prefer_esn: config.esp.prefer_esn,
            groups: Group::ALL.to_vec(),
            require_pfs: false,
        },
        allow_without_address: false,
        lifetimes: Lifetimes {
            ike_rekey_secs: config.ike.rekey_secs,
            child_rekey_secs: config.esp.rekey_secs,
            ..Lifetimes::default()
        },
        timing: Timing {
            dpd_interval_secs: config.ike.dpd_interval_secs,
            retransmit_base_ms: config.ike.retransmit_base_ms,
            retransmit_tries: config.ike.retransmit_tries,
            half_open_secs: config.ike.half_open_secs,
            ..Timing::default()
        },
        limits: Limits {
            // Each session holds one slot at least.
            sessions: config.dataplane.sa_capacity as usize,
            half_open: config.ike.half_open_max as usize,
            cookie_threshold: config.ike.cookie_threshold as usize,
            ..Limits::default()
        },
        fragment_size: config.ike.fragment_size,
        cisco: CiscoPolicy {
            vendor_ids: config.cisco.vendor_ids,
            fragmentation: config.cisco.fragmentation,
            id_types: config.cisco.idi_types.clone(),
        },
        extensions: ExtensionPolicy {
            mobike: config.ike.mobike,
            addresses: outside_addresses(&config.ports),
            childless: config.ike.childless,
            redirect: redirect_policy(&config.ike)?,
            eap_only: config.auth.eap_only,
            tickets: config.ike.tickets != TicketForm::Off,
        },
        ppk: PpkPolicy {
            required: config.auth.ppk_required,
            keys: config.auth.ppks.iter().map(ppk).collect(),
        },
    })
}

/// Our addresses towards clients, of both families.
fn outside_addresses(ports: &[config::Port]) -> Vec<IpAddr> {
    let outside = ports.iter().filter(|port| port.role == PortRole::Outside);
    outside
        .flat_map(|port| {
            let v6 = port.address6.map(|v6| IpAddr::V6(v6.address));
            [Some(IpAddr::V4(port.address)), v6].into_iter().flatten()
        })
        .collect()
}

/// What makes and reads tickets, if clients get any.
pub fn tickets(ike: &Ike, store: &StoreHandle) -> Option<Tickets> {
    let form = match ike.tickets {
        TicketForm::Off => return None,
        TicketForm::Value => Form::Value,
        TicketForm::Reference => Form::Reference,
    };
    Some(Tickets::new(store.ticket_secret(), form, ike.ticket_secs))
}

fn redirect_policy(ike: &Ike) -> Result<RedirectPolicy, SetupError> {
    let to = ike.redirect_to.as_deref().map(|text| {
        let wrong = |why: NoGatewayName| SetupError::Proposal {
            key: "ike.redirect_to",
            text: text.to_owned(),
            reason: why.to_string(),
        };
        text.parse::<GatewayName>().map_err(wrong)
    });
    Ok(RedirectPolicy {
        to: to.transpose()?,
        whom: match ike.redirect {
            Redirect::Full => Redirected::WhenFull,
            Redirect::All => Redirected::All,
            Redirect::Authenticated => Redirected::Authenticated,
        },
        grace_secs: ike.redirect_grace_secs,
    })
}

fn ppk(ppk: &config::Ppk) -> (Vec<u8>, Ppk) {
    let identity = (ppk.identity != ANY_IDENTITY).then(|| ppk.identity.clone());
    (ppk.id.clone().into_bytes(), Ppk { identity, key: Secret::new(ppk.secret.0.clone()) })
}

/// Users, pools and conversations.
///
/// # Errors
/// When users or pools contradict each other.
pub fn services(config: &Config, keys: &Keys) -> Result<Services, SetupError> {
    let own: Vec<_> = config.ports.iter().map(|port| port.address).collect();
    let certificates =
        CertificateNames { which: config.eap.certificate_user, listed: config.eap.certificate_user_listed };
    let directory = Directory::new(&config.auth, &config.users, &config.groups)?;
    let directory = Arc::new(directory.with_certificates(certificates));
    let allows = |method| config.auth.methods.contains(&method);
    let users = if config.aaa.user_attributes_cached { &config.users[..] } else { &[] };
    let radius = &config.radius;
    let radius_eap = match allows(AuthMethod::EapRadius) {
        true => {
            // Whoever waits longer is no half-open IKE SA any more.
            let asker = Asker::start(radius, Duration::from_secs(config.ike.half_open_secs))?;
            Some(RadiusEap::new(asker, radius::nas(radius), Arc::clone(&directory)))
        }
        false => None,
    };
    Ok(Services {
        local_eap: LocalEap::new(keys.eap.clone(), Arc::clone(&directory)),
        local_eap_allowed: local_eap_allowed(config),
        radius_eap,
        radius_listener: None,
        group_attribute: radius.group_attribute,
        directory,
        revocation: Arc::clone(&keys.registrar),
        conversations: Conversations::default(),
        anyconnect: AnyConnectConversations::new(anyconnect(config, keys)),
        aaa: config.aaa.clone(),
        lockout: config.lockout,
        // Without their own attributes users have no addresses of their own.
        pools: AddressPools::new(&config.pools, &own)?.kept_for(users),
        esp: config.esp.clone(),
        profile: config.gateway.profile.clone(),
        liveness: Liveness::OnDemand {
            interval_secs: config.reconnect.dpd_interval_secs,
            retry_secs: config.reconnect.dpd_retry_secs,
            tries: config.reconnect.dpd_tries,
        },
    })
}

/// What RADIUS servers are told of sessions; `None` without a server.
///
/// # Errors
/// When the file of accounting records cannot be used, or there is no thread.
pub fn accounts(config: &Config) -> Result<Option<Accounts>, SetupError> {
    let radius = &config.radius;
    if radius.servers.is_empty() {
        return Ok(None);
    }
    let bookkeeper = radius.accounting.as_ref().map(|accounting| Bookkeeper::start(radius, accounting));
    let accountant = Accountant::new(radius.accounting.clone()).with_pools(&config.pools);
    Ok(Some(Accounts::new(accountant, bookkeeper.transpose()?)))
}

/// Whether there is an EAP method that is answered here.
fn local_eap_allowed(config: &Config) -> bool {
    config.auth.methods.iter().any(|method| method.is_local_eap())
}

/// EAP methods in the operator's order; the TLS of those that need it.
///
/// # Errors
/// When certificate or key cannot be used for TLS.
pub fn eap(config: &Config, keyring: &Arc<Keyring>) -> Result<causeway_eap::ServerConfig, SetupError> {
    let methods: Vec<EapType> = config.auth.methods.iter().filter_map(|method| eap_type(*method)).collect();
    let wants_tls = methods.iter().any(|kind| [EapType::TLS, EapType::TTLS, EapType::PEAP].contains(kind));
    let tls = if wants_tls { tls(config, keyring)? } else { None };
    Ok(causeway_eap::ServerConfig { name: config.gateway.identity.clone(), methods, tls })
}

fn eap_type(method: AuthMethod) -> Option<EapType> {
    match method {
        AuthMethod::EapMschapv2 => Some(EapType::MSCHAPV2),
        AuthMethod::EapTls => Some(EapType::TLS),
        AuthMethod::EapTtls => Some(EapType::TTLS),
        AuthMethod::EapPeap => Some(EapType::PEAP),
        AuthMethod::EapGtc => Some(EapType::GTC),
        AuthMethod::EapMd5 => Some(EapType::MD5),
        AuthMethod::Certificate | AuthMethod::Psk | AuthMethod::AnyconnectEap | AuthMethod::EapRadius => None,
    }
}

fn tls(config: &Config, keyring: &Arc<Keyring>) -> Result<Option<TlsSettings>, SetupError> {
    let (auth, eap) = (&config.auth, &config.eap);
    // The configuration has both where a method needs them.
    let (Some(certificate), Some(key)) = (&auth.certificate_file, &auth.private_key_file) else {
        return Ok(None);
    };
    let certificate = read("auth.certificate_file", certificate)?;
    let key = read("auth.private_key_file", key)?;
    let configs = tls_configs(&certificate, &key, &eap.tls_versions, keyring)?;
    let inner = |inner: &config::TtlsInner| match inner {
        config::TtlsInner::Pap => TtlsInner::Pap,
        config::TtlsInner::Mschapv2 => TtlsInner::Mschapv2,
        config::TtlsInner::Eap => TtlsInner::Eap,
    };
    let method = |method: &InnerMethod| match method {
        InnerMethod::Mschapv2 => EapType::MSCHAPV2,
        InnerMethod::Gtc => EapType::GTC,
        InnerMethod::Md5 => EapType::MD5,
    };
    Ok(Some(TlsSettings {
        with_certificate: configs.with_certificate,
        without_certificate: configs.without_certificate,
        ttls_inner: eap.ttls_inner.iter().map(inner).collect(),
        inner_methods: eap.inner_methods.iter().map(method).collect(),
        peap_binding: match eap.peap_crypto_binding {
            PeapBinding::Off => Binding::Off,
            PeapBinding::Optional => Binding::Optional,
            PeapBinding::Required => Binding::Required,
        },
    }))
}

fn anyconnect(config: &Config, keys: &Keys) -> anyconnect::ServerConfig {
    let anyconnect = &config.anyconnect;
    anyconnect::ServerConfig {
        certificate: match anyconnect.certificate {
            CertificateLogin::None => CertificateUse::None,
            CertificateLogin::Required => CertificateUse::Required,
            CertificateLogin::Instead => CertificateUse::Instead,
        },
        title: anyconnect.title.clone(),
        message: anyconnect.message.clone(),
        banner: anyconnect.banner.clone().unwrap_or_default(),
        groups: anyconnect.groups.clone(),
        attempts: anyconnect.attempts,
        client_services_port: None,
        server_cert_hash: keys.server_cert_hash,
        profile: None,
    }
}

fn parse_all<T>(
    key: &'static str,
    texts: impl IntoIterator<Item = impl AsRef<str>>,
) -> Result<Vec<T>, SetupError>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let parse = |text: &str| {
        text.parse().map_err(|error: T::Err| SetupError::Proposal {
            key,
            text: text.to_owned(),
            reason: error.to_string(),
        })
    };
    texts.into_iter().map(|text| parse(text.as_ref())).collect()
}
