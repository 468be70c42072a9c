//! What a simulated world is made of before anything happens: the gateway's policy, users and keys, and its clients.
//!
//! Enters: the seed. Leaves: configurations. Most seeds are ordinary; some have a pool that is too small, a cookie
//! threshold of one, clients that begin with the wrong group, or users with the wrong password.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::sync::OnceLock;

use causeway_controlplane::aaa::Directory;
use causeway_controlplane::pool::AddressPools;
use causeway_eap::NtHash;
use causeway_ike::cert::{Credential, TrustStore};
use causeway_ike::ident::Identity;
use causeway_ike::job::Keyring;
use causeway_ike::policy::{
    CiscoPolicy, EndpointConfig, ExtensionPolicy, IdrMismatch, Lifetimes, Limits, Methods, Timing,
};
use causeway_ike::suite::{EspPolicy, EspProposal, Group, IkeProposal};
use causeway_shared::config;

use crate::client::{ClientConfig, Families, Login};
use crate::gateway::GatewayParts;
use crate::rng::Rng;

/// Most clients of a world.
pub const MAX_CLIENTS: u8 = 4;
/// The gateway's address.
pub const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// The same over IPv6.
pub const GATEWAY6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// Identity in the gateway's certificate.
const GATEWAY_NAME: &str = "gw.example";
const PSK: &[u8] = b"a pre-shared key of a simulated world";
/// Who has addresses of its own.
pub const OWNER: &str = "user0";
/// Its addresses: the first that the pool would give to anybody.
pub const OWN: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);
/// The same of IPv6.
pub const OWN6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x99, 0, 0, 0, 0, 0, 2);
const PASSWORD: &str = "correct horse";

const IKE_PROPOSALS: [&str; 4] = [
    "aes256gcm16-prfsha384-x25519",
    "aes128gcm16-prfsha256-x25519-ecp256",
    "aes256-sha256-x25519",
    "aes128-sha512-ecp256-x25519",
];
const ESP_PROPOSALS: [&str; 4] =
    ["aes256gcm16", "aes128gcm16-x25519", "aes256-sha256", "aes128-sha256-x25519"];

/// Certificates and keys, made once: their octets change nothing that happens.
struct Pki {
    gateway: Pair,
    gateway_public_key: Vec<u8>,
    client_authority_pem: String,
    clients: Vec<Pair>,
}

/// A certificate and its key, PEM.
struct Pair {
    certificate: String,
    key: String,
}

/// The gateway of this seed; in a `gentle` world everybody can log in.
pub fn gateway(rng: &mut Rng, gentle: bool) -> Result<GatewayParts, String> {
    let credential = credential(&pki()?.gateway)?;
    let authorities =
        TrustStore::from_pem(pki()?.client_authority_pem.as_bytes()).map_err(|error| error.to_string())?;
    let pool = config::Pool {
        name: "clients".into(),
        range: Some(
            if !gentle && rng.chance(100) { "10.99.0.0/30" } else { "10.99.0.0/24" }
                .parse()
                .map_err(|error| format!("{error}"))?,
        ),
        range6: Some(config::Range6 {
            prefix: if !gentle && rng.chance(100) { "fd00:99::/126" } else { "fd00:99::/64" }
                .parse()
                .map_err(|error| format!("{error}"))?,
            client_length: if rng.chance(300) { 127 } else { 128 },
        }),
        first: None,
        last: None,
        dns: vec![Ipv4Addr::new(10, 0, 0, 53).into()],
        subnets: vec![],
        traffic_selectors: config::TrafficSelectors::Subnets,
    };
    let auth = config::Auth {
        certificate_file: None,
        private_key_file: None,
        methods: vec![config::AuthMethod::EapMschapv2, config::AuthMethod::Psk],
        client_ca_file: None,
        eap_only: false,
        ppk_required: false,
        revocation: Default::default(),
        ppks: vec![],
        psks: vec![config::Psk { identity: "*".into(), secret: config::Secret(PSK.to_vec()) }],
    };
    let hash = config::NtHash(*NtHash::of_password(PASSWORD).as_bytes());
    let users: Vec<config::User> = (0..8)
        .map(|n| config::User {
            name: format!("user{n}"),
            nt_hash: Some(hash.clone()),
            // One has addresses of its own, which others must not have while it is away.
            address: (n == 0).then_some(OWN),
            address6: (n == 0).then_some(OWN6),
            ..config::User::default()
        })
        .collect();
    let endpoint = EndpointConfig {
        identity: Identity::from_text(GATEWAY_NAME),
        certificate_request: Some(authorities.cert_req()),
        methods: Methods { eap: true, anyconnect_eap: false, certificate: true, psk: true, resume: false },
        idr_mismatch: IdrMismatch::AnswerOwn,
        ike_proposals: parse(&IKE_PROPOSALS)?,
        esp: EspPolicy {
            suites: ["aes256gcm16", "aes128gcm16", "aes256-sha256", "aes128-sha256"]
                .iter()
                .map(|text| text.parse().map_err(|error| format!("{error}")))
                .collect::<Result<_, _>>()?,
            prefer_esn: rng.chance(500),
            groups: vec![Group::Curve25519, Group::Ecp256],
            require_pfs: false,
        },
        allow_without_address: false,
        lifetimes: lifetimes(rng),
        timing: Timing {
            dpd_interval_secs: 20,
            retransmit_base_ms: 1_000,
            retransmit_tries: 4,
            half_open_secs: 25,
            shutdown_ms: 5_000,
        },
        limits: Limits { cookie_threshold: if rng.chance(200) { 0 } else { 50 }, ..Limits::default() },
        fragment_size: if rng.chance(300) { 600 } else { 1280 },
        cisco: CiscoPolicy::default(),
        extensions: ExtensionPolicy::default(),
        ppk: causeway_ike::ppk::PpkPolicy::default(),
    };
    Ok(GatewayParts {
        endpoint,
        directory: Directory::new(&auth, &users, &[]).map_err(|error| error.to_string())?,
        pools: AddressPools::new(&[pool], &[]).map_err(|error| error.to_string())?.kept_for(&users),
        keyring: Keyring { credential: Some(credential), client_authorities: Some(authorities) },
    })
}

/// Short lifetimes in half of the worlds, so that the gateway rekeys by itself.
fn lifetimes(rng: &mut Rng) -> Lifetimes {
    if rng.chance(500) {
        return Lifetimes::default();
    }
    Lifetimes {
        ike_rekey_secs: rng.between(20, 90),
        child_rekey_secs: rng.between(10, 60),
        jitter_percent: 10,
        rekey_grace_secs: 60,
    }
}

/// One client of this seed; in a `gentle` world it can log in.
pub fn client(number: u8, rng: &mut Rng, gentle: bool) -> Result<ClientConfig, String> {
    let address: IpAddr = match rng.chance(300) {
        true => Ipv6Addr::new(0x2001, 0xdb8, 7, u16::from(number), 0, 0, 0, 1).into(),
        false => Ipv4Addr::new(10, 7, 0, number + 1).into(),
    };
    let user = format!("user{number}");
    let password = if !gentle && rng.chance(100) { "wrong" } else { PASSWORD };
    let user = if !gentle && rng.chance(50) { "nobody".to_owned() } else { user };
    let login = match rng.index(10) {
        0..5 => Login::Eap { user, hash: NtHash::of_password(password) },
        5..8 => Login::Psk(if !gentle && rng.chance(100) { b"another key".to_vec() } else { PSK.to_vec() }),
        _ => {
            // Sometimes the certificate of somebody else.
            let owner = if !gentle && rng.chance(100) { (number + 1) % MAX_CLIENTS } else { number };
            let pair = pki()?.clients.get(usize::from(owner)).ok_or("no such client")?;
            Login::Certificate(Rc::new(credential(pair)?))
        }
    };
    let ike: Vec<IkeProposal> = parse(&[IKE_PROPOSALS[rng.index(IKE_PROPOSALS.len())]])?;
    let esp: Vec<EspProposal> = parse(&[ESP_PROPOSALS[rng.index(ESP_PROPOSALS.len())]])?;
    let offered = ike.first().map(|ike| ike.groups.clone()).unwrap_or_default();
    let first_group = offered.get(rng.index(offered.len().max(1))).copied().unwrap_or(Group::Curve25519);
    Ok(ClientConfig {
        address,
        gateway: gateway_of(address),
        gateway_identity: Identity::from_text(GATEWAY_NAME),
        gateway_key: pki()?.gateway_public_key.clone(),
        identity: Identity::from_text(&client_name(number)),
        login,
        ike,
        first_group,
        esp,
        port_4500_at_once: rng.chance(200),
        initial_contact: rng.chance(500),
        families: [Families::V4, Families::V6, Families::Both][rng.index(3)],
        attributes: vec![],
    })
}

/// The gateway's address of the same family.
pub fn gateway_of(client: IpAddr) -> IpAddr {
    if client.is_ipv4() { GATEWAY } else { GATEWAY6 }
}

/// The gateway's key and certificate, its public key, and its identity.
pub fn gateway_identity() -> Result<(Credential, Vec<u8>, Identity), String> {
    let pki = pki()?;
    Ok((credential(&pki.gateway)?, pki.gateway_public_key.clone(), Identity::from_text(GATEWAY_NAME)))
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(texts: &[&str]) -> Result<Vec<T>, String> {
    texts.iter().map(|text| text.parse().map_err(|error: T::Err| error.to_string())).collect()
}

fn pki() -> Result<&'static Pki, String> {
    static PKI: OnceLock<Result<Pki, String>> = OnceLock::new();
    PKI.get_or_init(|| make_pki().map_err(|error| error.to_string())).as_ref().map_err(Clone::clone)
}

fn make_pki() -> Result<Pki, rcgen::Error> {
    let new_key = || rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256);
    let gateway_key = new_key()?;
    let gateway = rcgen::CertificateParams::new(vec![GATEWAY_NAME.to_owned()])?.self_signed(&gateway_key)?;
    let mut authority = rcgen::CertificateParams::new(vec![])?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = new_key()?;
    let client_authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let mut clients = vec![];
    for number in 0..MAX_CLIENTS {
        let key = new_key()?;
        let certificate =
            rcgen::CertificateParams::new(vec![client_name(number)])?.signed_by(&key, &issuer)?;
        clients.push(Pair { certificate: certificate.pem(), key: key.serialize_pem() });
    }
    Ok(Pki {
        gateway_public_key: rcgen::PublicKeyData::der_bytes(&gateway_key).to_vec(),
        gateway: Pair { certificate: gateway.pem(), key: gateway_key.serialize_pem() },
        client_authority_pem,
        clients,
    })
}

fn client_name(number: u8) -> String {
    format!("client{number}.example")
}

fn credential(pair: &Pair) -> Result<Credential, String> {
    Credential::from_pem(pair.certificate.as_bytes(), pair.key.as_bytes()).map_err(|error| error.to_string())
}
