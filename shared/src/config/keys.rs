//! Every key of the configuration file, declared once. Parser, `causeway config example` and `docs/configuration.md` are made
//! from these declarations; see `schema.rs` for what a declaration says.

mod access;
mod eap;
mod management;
mod radius;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

pub(super) use access::{RawAaa, RawAnyconnect, RawCisco, RawGroup, RawReconnect, RawStore, RawUser};
pub(super) use eap::RawEap;
pub(super) use management::{RawManagement, RawManagementClient};
pub(super) use radius::{RawDynamic, RawLockout, RawRadius, RawRadiusServer};

use super::model::{
    AuthMethod, CryptoEngine, Hugepages, PollMode, PortRole, Redirect, RevocationCheck, Secret, TicketForm,
    TrafficSelectors,
};
use super::schema::{SEALED, Section, SectionDoc, section};
use super::value::{InterfaceAddress, InterfaceAddress6};
use crate::api::Effect;
use crate::sa::{EspSuite, IpPrefix, Ipv4Prefix, Ipv6Prefix, MAX_REPLAY_WINDOW, MAX_SELECTORS};

/// Where the sockets are, as TOML.
const DEFAULT_RUN_DIRECTORY: &str = r#""/run/causeway""#;
/// Most files of revocation lists.
const MAX_CRL_FILES: usize = 64;
/// Most ports.
pub const MAX_PORTS: usize = 16;
/// Most static routes.
pub const MAX_ROUTES: usize = 1024;
/// Most address pools.
pub const MAX_POOLS: usize = 16;
/// Most local users.
pub const MAX_USERS: usize = 100_000;
/// Most authentication methods.
pub const MAX_METHODS: usize = 16;
/// Most pre-shared keys.
pub const MAX_PSKS: usize = 10_000;
/// Most post-quantum pre-shared keys.
pub const MAX_PPKS: usize = 10_000;
/// Most workers.
pub const MAX_CORES: usize = 64;
/// Most DNS servers that a client is told.
pub const MAX_DNS: usize = 4;
/// Most IKE proposals.
pub const MAX_PROPOSALS: usize = 32;
/// The strongest first; the last ones are what Windows and old clients offer.
const DEFAULT_PROPOSALS: &str = r#"[
    "aes256gcm16-prfsha384-ecp384",
    "aes256gcm16-prfsha256-ecp256",
    "aes128gcm16-prfsha256-curve25519",
    "aes256-sha512-ecp521",
    "aes256-sha384-ecp384",
    "aes256-sha256-ecp256",
    "aes256-sha256-modp2048",
    "aes128-sha256-modp2048",
]"#;
/// GCM first: it is two to three times as fast as CBC with a hash.
const DEFAULT_SUITES: &str = r#"[
    "aes256gcm16",
    "aes128gcm16",
    "aes256-sha512",
    "aes256-sha384",
    "aes256-sha256",
    "aes128-sha256",
]"#;
/// Longest lifetime, seconds: a week.
const WEEK_SECS: i64 = 604_800;

/// Every section in the order of the manual.
pub fn sections() -> impl Iterator<Item = SectionDoc> {
    [
        RawGateway::DOC,
        RawDataplane::DOC,
        RawPort::DOC,
        RawRoute::DOC,
        RawIke::DOC,
        RawEsp::DOC,
        RawAuth::DOC,
        RawPsk::DOC,
        RawPpk::DOC,
        RawEap::DOC,
        RawAnyconnect::DOC,
        RawReconnect::DOC,
        RawCisco::DOC,
        RawPool::DOC,
        RawGroup::DOC,
        RawUser::DOC,
        RawAaa::DOC,
        RawLockout::DOC,
        RawRadius::DOC,
        RawRadiusServer::DOC,
        RawDynamic::DOC,
        RawStore::DOC,
        RawManagement::DOC,
        RawManagementClient::DOC,
        RawLog::DOC,
    ]
    .into_iter()
}

section! {
    /// Who the gateway is.
    RawGateway = "gateway".table().effect(Effect::NewSessions) {
        /// IKE identity of the gateway (IDr): the DNS name that clients connect to. The certificate must hold it.
        identity: String = required().examples(&[r#""vpn.example.com""#]);
        /// Directory of run-time sockets. Both daemons and the operator's command meet there.
        run_directory: PathBuf = default(DEFAULT_RUN_DIRECTORY).effect(Effect::DataPlaneRestart);
        /// Name of this set of rules in what operators are shown.
        profile: String = default(r#""default""#);
    }
}

section! {
    /// How the data plane runs.
    RawDataplane = "dataplane".table().effect(Effect::DataPlaneRestart) {
        /// Cores that poll for packets, one worker each. Keep core 0 for the rest of the machine where there are more.
        cores: Vec<usize> = default("[1]").range(0, 1023).most(MAX_CORES);
        /// Whether to use hugepages: if the machine has free ones, refuse to start without, or never.
        hugepages: Hugepages = default(r#""auto""#);
        /// Memory for packet buffers and DPDK.
        memory_mib: u32 = default("512").unit("MiB").range(64, 1_048_576);
        /// Packet buffers, shared by all ports and workers.
        buffers: u32 = default("32768").range(1024, 16_777_216);
        /// Most Child SAs at once, a power of two. A client takes one, and two for a moment while it rekeys.
        sa_capacity: u32 = default("16384").unit("Child SAs").range(256, 1_048_576);
        /// What a worker does when nothing comes: "full" looks again at once, right on cores that nothing else uses; "adaptive"
        /// rests, first by pause instructions, then by sleeps that become longer, and polls without rest again from the first
        /// packet on: less power, and right on cores that others use too.
        poll: Option<PollMode> = optional("\"adaptive\" where `idle_sleep_usecs` is above 0, else \"full\"").sketch(r#""adaptive""#);
        /// The longest sleep of an adaptive worker; 0 lets it rest by pause instructions only.
        idle_sleep_usecs: Option<u32> = optional("50 where `poll` is \"adaptive\"")
            .unit("microseconds").range(0, 10_000).sketch("50");
        /// What encrypts ESP: "wide" is our own code for AVX-512 with VAES, "aws-lc" and "portable" are libraries for any
        /// processor; "auto" takes the fastest that passes its self-test at start.
        crypto_engine: CryptoEngine = default(r#""auto""#);
        /// A device that encrypts ESP in place of the processor (DPDK cryptodev): a PCI address, or a virtual device such as
        /// "crypto_openssl0". It gets the suites that it has and that pass its self-test; `crypto_engine` does the rest.
        crypto_device: Option<String> = optional("no device").sketch(r#""0000:3d:01.0""#);
        /// Room for keys in that device. A Child SA takes two; one that finds none stays in software.
        crypto_sessions: u32 = default("8192").unit("keys").range(2, 4_194_304);
        /// Further arguments for DPDK's EAL. Cores, memory and device arguments are made from this file.
        eal_args: Vec<String> = default("[]").most(64);
        /// User id that the control plane runs as, when it is another one than the data plane's: beside that and root, nobody
        /// gets the keys that lie in their shared memory.
        control_uid: Option<u32> = optional("the data plane's own user").range(0, 4_294_967_294).sketch("990");
        /// The same by name: a user of this machine. One of the two keys is enough.
        control_user: Option<String> = optional("the data plane's own user").sketch("\"causeway-control\"");
    }
}

section! {
    /// A DPDK port. At least one must face outside and one inside.
    RawPort = "port".repeated(MAX_PORTS).effect(Effect::DataPlaneRestart).identity("name") {
        /// Name that routes, counters and logs use.
        name: String = required().examples(&[r#""wan""#, r#""lan""#]);
        /// DPDK device: a PCI address such as "0000:3b:00.0", or a virtual device such as "net_af_packet0,iface=eth0".
        device: String = required().examples(&[r#""0000:3b:00.0""#, r#""0000:3b:00.1""#]);
        /// Which side it faces: IKE and ESP from clients are taken outside, clear packets to clients inside.
        role: PortRole = required().examples(&[r#""outside""#, r#""inside""#]);
        /// Our address on this port, and the prefix length of the subnet.
        address: InterfaceAddress = required().examples(&[r#""192.0.2.1/24""#, r#""10.0.0.1/24""#]);
        /// Our IPv6 address on this port, and the prefix length of the link. ESP and IKE of clients
        /// come over IPv6, too, where an Outside port has it.
        address6: Option<InterfaceAddress6> = optional("the port speaks IPv4 only")
            .examples(&[r#""2001:db8::1/64""#, r#""2001:db8:1::1/64""#]);
        /// Largest IP packet.
        mtu: u16 = default("1500").unit("octets").range(576, 9216);
    }
}

section! {
    /// A static route.
    RawRoute = "route".repeated(MAX_ROUTES).effect(Effect::DataPlaneRestart).identity("destination") {
        /// Where it leads; "0.0.0.0/0" is the default route.
        destination: IpPrefix = required().examples(&[r#""0.0.0.0/0""#]);
        /// Next hop, in the subnet of a port.
        via: IpAddr = required().examples(&[r#""192.0.2.254""#]);
    }
}

section! {
    /// IKE SAs: what is offered and how long things last.
    RawIke = "ike".table().effect(Effect::NewSessions) {
        /// Proposals in order of preference: cipher, integrity (not with GCM or ChaCha20), PRF, key exchange group.
        /// Ciphers aes128, aes256, aes128gcm16, aes256gcm16, chacha20poly1305; integrity sha256, sha384, sha512; PRFs prfsha256,
        /// prfsha384, prfsha512; groups modp2048, ecp256, ecp384, ecp521, curve25519. Without a PRF the integrity's hash is used.
        /// `ke1_mlkem768` or `ke1_mlkem1024` adds a key exchange that quantum computers do not break (RFC 9370); `ke1_none` beside it
        /// also admits clients that know none.
        proposals: Vec<String> = default(DEFAULT_PROPOSALS).most(MAX_PROPOSALS);
        /// When the gateway rekeys an IKE SA. 0 leaves it to the client; otherwise at least 10.
        rekey_secs: u64 = default("14400").unit("seconds").range(0, WEEK_SECS);
        /// Silence after which the gateway asks whether the client lives (ESP packets count as life).
        dpd_interval_secs: u64 = default("30").unit("seconds").range(1, 86_400);
        /// Wait before a request is sent again; doubled each time.
        retransmit_base_ms: u64 = default("2000").unit("milliseconds").range(50, 60_000);
        /// How often a request is sent again before the client is given up.
        retransmit_tries: u32 = default("4").range(0, 10);
        /// How long a client may take to authenticate, the typing of passwords and codes included.
        half_open_secs: u64 = default("60").unit("seconds").range(1, 600).effect(Effect::Live);
        /// Half-open IKE SAs above which new clients must return a cookie (RFC 7296 section 2.6). 0 asks always.
        cookie_threshold: u32 = default("100").unit("half-open IKE SAs").range(0, 1_000_000).effect(Effect::Live);
        /// Half-open IKE SAs above which new clients are not answered.
        half_open_max: u32 = default("10000").unit("half-open IKE SAs").range(1, 1_000_000).effect(Effect::Live);
        /// Largest IP packet that carries an IKE fragment (RFC 7383).
        fragment_size: u16 = default("1280").unit("octets").range(576, 1500);
        /// Whether clients may move to other addresses with MOBIKE (RFC 4555). Traffic follows after they have shown that they
        /// receive packets there.
        mobike: bool = default("true");
        /// Whether clients may log in without a Child SA, and make one when they need it (RFC 6023).
        childless: bool = default("true");
        /// Whether clients that ask for it get a ticket to come back with, to the same session and without logging in anew (session
        /// resumption, RFC 5723): not at all, one that holds the keys of the session under seal, or one that names them in the
        /// store. How long the session waits is in [reconnect], whose `enabled` is for Cisco's Auto Reconnect alone.
        tickets: TicketForm = default(r#""reference""#);
        /// How long a ticket may be used. One that is not used by then is worth nothing, though the session may still wait.
        ticket_secs: u64 = default("14400").unit("seconds").range(60, 86_400);
        /// Another gateway for clients that follow a REDIRECT (RFC 5685): an IP address or a DNS name.
        redirect_to: Option<String> = optional("none").sketch(r#""vpn2.example.com""#).effect(Effect::Live);
        /// Whom `redirect_to` is for: clients that this gateway has no room for, all new ones at once, or all once they
        /// have proved who they are.
        redirect: Redirect = default(r#""full""#).effect(Effect::Live);
        /// How long a client whose session is sent on (`causeway redirect session`) may take to leave.
        redirect_grace_secs: u64 = default("60").unit("seconds").range(1, 3600).effect(Effect::Live);
    }
}

section! {
    /// Child SAs: what is offered and how long they last.
    RawEsp = "esp".table().effect(Effect::NewSessions) {
        /// Suites in order of preference.
        suites: Vec<EspSuite> = default(DEFAULT_SUITES).most(EspSuite::ALL.len());
        /// Whether extended sequence numbers are chosen when the client offers both.
        prefer_esn: bool = default("true");
        /// When the gateway rekeys a Child SA. 0 leaves it to the client; otherwise at least 10.
        rekey_secs: u64 = default("3600").unit("seconds").range(0, WEEK_SECS);
        /// Octets in one direction after which the gateway rekeys a Child SA. 0 for no limit; otherwise at least 65536.
        rekey_bytes: u64 = default("0").unit("octets").range(0, i64::MAX);
        /// Packets in one direction after which the gateway rekeys a Child SA. 0 for no limit; otherwise at least 1000.
        rekey_packets: u64 = default("0").unit("packets").range(0, i64::MAX);
        /// Replay window. 0 switches replay protection off, which only tests should want.
        replay_window: u32 = default("1024").unit("packets").range(0, MAX_REPLAY_WINDOW as i64);
    }
}

section! {
    /// How gateway and clients prove who they are. Relative paths start at this file's directory.
    RawAuth = "auth".table().effect(Effect::NewSessions) {
        /// Methods that clients may use. Those of EAP are offered in this order; a client that refuses one names others.
        /// `eap-radius` is whatever EAP method client and RADIUS server agree on; beside other EAP methods it is for users
        /// that are no [[user]] here.
        methods: Vec<AuthMethod> = default(r#"["eap-mschapv2"]"#).most(MAX_METHODS);
        /// PEM file: the gateway's certificate first, then the intermediates. When this file, the key or the authorities change, they
        /// are read again within seconds and no session ends; files that do not fit change nothing, and `causeway show health` says so.
        certificate_file: Option<PathBuf> = optional("needed unless `psk` is the only method")
            .examples(&[r#""/etc/causeway/gateway.pem""#]);
        /// PEM file: the certificate's private key, not encrypted (PKCS#8, SEC1 or PKCS#1).
        private_key_file: Option<PathBuf> = optional("needed unless `psk` is the only method")
            .examples(&[r#""/etc/causeway/gateway.key""#]);
        /// PEM file: authorities that sign client certificates.
        client_ca_file: Option<PathBuf> = optional("needed if `certificate` or `eap-tls` is a method, or `anyconnect.certificate` is not \"none\"")
            .sketch(r#""/etc/causeway/clients-ca.pem""#);
        /// Whether client certificates may have been revoked, for every method that has them. With `soft` a revoked one is refused and one
        /// whose status cannot be learnt is not; with `hard` it is refused, too. Lists of `crl_files` count, lists from the places that
        /// certificates name (distribution points), and OCSP (RFC 6960), fetched or sent along by the client (RFC 4806).
        revocation: RevocationCheck = default(r#""soft""#);
        /// PEM or DER files: revocation lists (CRLs) of the authorities. They are read again when they change.
        crl_files: Vec<PathBuf> = default("[]").most(MAX_CRL_FILES).examples(&[r#"["/etc/causeway/clients.crl"]"#]);
        /// Whether the gateway asks the `http` places that a certificate names, after it has verified everything else. It remembers what
        /// they say for as long as they say it counts, and silence for a minute.
        revocation_fetch: bool = default("true");
        /// How long a login waits for them. Other logins go on meanwhile.
        revocation_wait_ms: u32 = default("3000").unit("milliseconds").range(100, 10_000);
        /// Whether EAP alone proves the gateway, too, to a client that asks for it (EAP_ONLY_AUTHENTICATION, RFC 5998). Only methods that
        /// prove both sides and cannot be guessed count, as EAP-TLS, EAP-TTLS or PEAP; with others such a client is refused. strongSwan asks
        /// with every EAP method, so leave this off if its users log in by MSCHAPv2.
        eap_only: bool = default("false");
        /// Whether every client must use a post-quantum pre-shared key from an [[auth.ppk]]; else those that can, do.
        ppk_required: bool = default("false");
    }
}

section! {
    /// A pre-shared key for one client identity. Write the key here or name a file that holds it.
    RawPsk = "auth.psk".repeated(MAX_PSKS).commented().effect(Effect::NewSessions).identity("identity") {
        /// The client's IKE identity (IDi): DNS name, mail address or IPv4 address; "*" is any.
        identity: String = required().examples(&[r#""branch.example.com""#]);
        /// The key: a text, or octets in hexadecimal behind `0x`.
        secret: Option<Secret> = optional("`secret_file` is used").secret(SEALED);
        /// File that holds the key; a line end after it does not count. Relative paths start at this file's directory.
        secret_file: Option<PathBuf> = optional("`secret` is used").examples(&[r#""/etc/causeway/branch.psk""#]);
    }
}

section! {
    /// A post-quantum pre-shared key (PPK, RFC 8784). It goes into the keys of every Child SA beside the key exchange, so that traffic
    /// recorded today stays secret from a quantum computer of tomorrow. It comes on top of the client's method, whichever that is.
    RawPpk = "auth.ppk".repeated(MAX_PPKS).commented().effect(Effect::NewSessions).identity("id") {
        /// The name by which clients choose it (PPK_ID of type PPK_ID_FIXED).
        id: String = required().examples(&[r#""branch-2026""#]);
        /// The client's IKE identity (IDi) that may use it; "*" is any. One key for many clients lets each of them read the others'
        /// recorded traffic with a quantum computer.
        identity: String = default(r#""*""#).examples(&[r#""branch.example.com""#]);
        /// The key.
        secret: Option<Secret> = optional("`secret_file` is used").secret(SEALED);
        /// File that holds the key; a line end after it does not count. Relative paths start at this file's directory.
        secret_file: Option<PathBuf> = optional("`secret` is used").examples(&[r#""/etc/causeway/branch.ppk""#]);
    }
}

section! {
    /// Inner addresses for clients, and what they are told.
    RawPool = "pool".repeated(MAX_POOLS).effect(Effect::NewSessions).identity("name") {
        /// Name that sessions and logs use.
        name: String = required().examples(&[r#""clients""#]);
        /// The IPv4 addresses; the first and the last one of the prefix are not given out.
        range: Option<Ipv4Prefix> = optional("`range6` alone is used").examples(&[r#""10.99.0.0/16""#]);
        /// First address of `range` that is given out.
        first: Option<Ipv4Addr> = optional("the second of `range`").sketch(r#""10.99.0.16""#);
        /// Last address of `range` that is given out.
        last: Option<Ipv4Addr> = optional("the last but one of `range`").sketch(r#""10.99.255.239""#);
        /// The IPv6 addresses. A client that asks for both families has one of each, and one tunnel (Child SA) for both. LAN
        /// routers need a route for the range to the gateway's `address6`.
        range6: Option<Ipv6Prefix> = optional("clients get IPv4 addresses only").sketch(r#""2001:db8:99::/48""#);
        /// Prefix length of what a client gets of `range6`: 128 is one address, 64 a prefix of which the client has every address.
        client_prefix6: u8 = default("128").unit("bits").range(32, 128);
        /// DNS servers that clients are told.
        dns: Vec<IpAddr> = default("[]").most(MAX_DNS).examples(&[r#"["10.0.0.53"]"#]);
        /// Networks that clients reach through the tunnel (split tunnel). Empty: everything goes through the tunnel.
        subnets: Vec<IpPrefix> = default("[]").most(MAX_SELECTORS).examples(&[r#"["10.0.0.0/8"]"#]);
        /// What a client's tunnel (its IKE traffic selectors) is for: `subnets` only, or `any` network, as on IOS, where
        /// `subnets` are no more than the client's routes. With `any` the gateway forwards whatever a client sends: keep
        /// it from other networks elsewhere.
        traffic_selectors: TrafficSelectors = default(r#""subnets""#);
    }
}

section! {
    /// Logs, on standard error of each daemon.
    RawLog = "log".table().effect(Effect::Live) {
        /// `error`, `warn`, `info`, `debug`, `trace`, or a filter by module such as "info,causeway_ike=debug".
        /// Names and addresses of clients appear from `debug` on, and in the lines that tell of a session's begin and end.
        filter: String = default(r#""info""#);
        /// JSON lines instead of text.
        json: bool = default("false").effect(Effect::ControlPlaneRestart);
    }
}
