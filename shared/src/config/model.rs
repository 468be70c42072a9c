//! The validated configuration: plain values with units, made only by the parser in this module's siblings.

mod access;
mod eap;
mod management;
mod radius;
mod revocation;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use zeroize::{Zeroize, ZeroizeOnDrop};

pub use access::*;
pub use eap::*;
pub use management::{Management, ManagementClient, ManagementTls};
pub use radius::*;
pub use revocation::*;

use crate::sa::{EspSuite, IpPrefix, Ipv4Prefix, Ipv6Prefix};

/// Everything both daemons need.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[gateway]`
    pub gateway: Gateway,
    /// `[dataplane]`
    pub dataplane: Dataplane,
    /// `[[port]]`, at least one of each role.
    pub ports: Vec<Port>,
    /// `[[route]]`
    pub routes: Vec<Route>,
    /// `[ike]`
    pub ike: Ike,
    /// `[esp]`
    pub esp: Esp,
    /// `[auth]`
    pub auth: Auth,
    /// `[eap]`
    pub eap: Eap,
    /// `[anyconnect]`
    pub anyconnect: Anyconnect,
    /// `[reconnect]`
    pub reconnect: Reconnect,
    /// `[cisco]`
    pub cisco: Cisco,
    /// `[[pool]]`
    pub pools: Vec<Pool>,
    /// `[[group]]`
    pub groups: Vec<Group>,
    /// `[[user]]`
    pub users: Vec<User>,
    /// `[aaa]`
    pub aaa: Aaa,
    /// `[aaa.lockout]`
    pub lockout: Lockout,
    /// `[aaa.radius]`
    pub radius: Radius,
    /// `[store]`
    pub store: Store,
    /// `[management]`
    pub management: Management,
    /// `[log]`
    pub log: Log,
}

/// Who the gateway is.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// IKE identity (IDr), normally the DNS name in the certificate.
    pub identity: String,
    /// Directory of run-time sockets.
    pub run_directory: PathBuf,
    /// Name of this set of rules in what operators are shown.
    pub profile: String,
}

/// How the data plane runs.
#[derive(Clone, Debug)]
pub struct Dataplane {
    /// Cores that poll, one worker each.
    pub cores: Vec<usize>,
    /// Whether to use hugepages.
    pub hugepages: Hugepages,
    /// Memory for packet buffers and DPDK, MiB.
    pub memory_mib: u32,
    /// Packet buffers.
    pub buffers: u32,
    /// Most Child SAs at once; a power of two, 256 to 1,048,576.
    pub sa_capacity: u32,
    /// Whether workers rest when nothing comes.
    pub poll: Poll,
    /// Which ESP crypto engine to use.
    pub crypto_engine: CryptoEngine,
    /// The lookaside crypto device, as an EAL device string.
    pub crypto_device: Option<String>,
    /// Keys that it has room for.
    pub crypto_sessions: u32,
    /// Further EAL arguments.
    pub eal_args: Vec<String>,
    /// User that may attach as the control plane, beside root and the data plane's own.
    pub control_uid: Option<u32>,
    /// The same by name.
    pub control_user: Option<String>,
}

/// Which ESP crypto engine the data plane uses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CryptoEngine {
    /// The best that the processor has and that passes its self-test.
    Auto,
    /// Causeway's own kernels (AVX-512, VAES, VPCLMULQDQ).
    Wide,
    /// aws-lc-rs.
    AwsLc,
    /// RustCrypto.
    Portable,
}

/// What a worker does when nothing comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Poll {
    /// Looks again at once, always.
    Full,
    /// Rests, longer the longer nothing comes; looks again at once with the first packet.
    Adaptive {
        /// The longest sleep, microseconds; 0 rests by pause instructions only.
        longest_sleep_usecs: u32,
    },
}

/// [`Poll`] as the configuration names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PollMode {
    /// [`Poll::Full`].
    Full,
    /// [`Poll::Adaptive`].
    Adaptive,
}

/// Whether the EAL uses hugepages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Hugepages {
    /// If the machine has free ones.
    Auto,
    /// Refuse to start without.
    Always,
    /// Never.
    Never,
}

/// One DPDK port.
#[derive(Clone, Debug)]
pub struct Port {
    /// Name that routes, counters and logs use.
    pub name: String,
    /// EAL device string: a PCI address (`0000:3b:00.0`) or a vdev (`net_af_packet0,iface=wan0`).
    pub device: String,
    /// Which side it faces.
    pub role: PortRole,
    /// Our address.
    pub address: Ipv4Addr,
    /// Prefix length of the subnet.
    pub prefix_len: u8,
    /// Our IPv6 address, if the port speaks IPv6.
    pub address6: Option<Interface6>,
    /// Largest IP packet.
    pub mtu: u16,
}

/// A port's IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Interface6 {
    /// Our address.
    pub address: Ipv6Addr,
    /// Prefix length of the link.
    pub prefix_len: u8,
}

/// Which side a port faces.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum PortRole {
    /// Clients come from here: IKE and ESP are accepted.
    Outside,
    /// The LAN: clear packets to clients are accepted.
    Inside,
}

/// A static route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Destination.
    pub destination: IpPrefix,
    /// Next hop, in a port's subnet; of the destination's family.
    pub via: IpAddr,
}

/// IKE_SA policy.
#[derive(Clone, Debug)]
pub struct Ike {
    /// Proposals in order of preference, strongSwan's spelling (`aes256gcm16-prfsha384-ecp384`), lower case.
    pub proposals: Vec<String>,
    /// Seconds until an IKE SA is rekeyed by us; 0 leaves it to the client.
    pub rekey_secs: u64,
    /// Seconds without a message after which we ask whether the peer lives.
    pub dpd_interval_secs: u64,
    /// First retransmission of our requests after this many milliseconds; doubled each time.
    pub retransmit_base_ms: u64,
    /// Retransmissions of a request before the peer is given up.
    pub retransmit_tries: u32,
    /// Seconds a half-open IKE SA may live.
    pub half_open_secs: u64,
    /// Half-open IKE SAs above which cookies are asked for.
    pub cookie_threshold: u32,
    /// Most half-open IKE SAs.
    pub half_open_max: u32,
    /// Octets of an IP packet that carries an IKE fragment (RFC 7383).
    pub fragment_size: u16,
    /// Whether clients may move with MOBIKE (RFC 4555).
    pub mobike: bool,
    /// Whether clients may log in without a Child SA (RFC 6023).
    pub childless: bool,
    /// Which tickets clients get (RFC 5723).
    pub tickets: TicketForm,
    /// Seconds for which a ticket may be used.
    pub ticket_secs: u64,
    /// Where clients are sent that follow a REDIRECT (RFC 5685): an IP address or a DNS name.
    pub redirect_to: Option<String>,
    /// Which.
    pub redirect: Redirect,
    /// Seconds that a client has to leave whose session is sent on.
    pub redirect_grace_secs: u64,
}

/// Which tickets clients get to resume their sessions with (RFC 5723).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TicketForm {
    /// None.
    Off,
    /// Tickets that hold the state of the session, sealed.
    Value,
    /// Tickets that name the state, which stays in the store.
    #[default]
    Reference,
}

/// Which new clients are sent to another gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Redirect {
    /// Those that there is no room for.
    #[default]
    Full,
    /// All, at once.
    All,
    /// All, once they are authenticated.
    Authenticated,
}

/// Child SA policy.
#[derive(Clone, Debug)]
pub struct Esp {
    /// Suites in order of preference.
    pub suites: Vec<EspSuite>,
    /// Whether ESN is chosen when the client offers both (clients that offer one get that one).
    pub prefer_esn: bool,
    /// Seconds until a Child SA is rekeyed by us; 0 leaves it to the client.
    pub rekey_secs: u64,
    /// Octets until rekey, 0 for none.
    pub rekey_bytes: u64,
    /// Packets until rekey, 0 for none.
    pub rekey_packets: u64,
    /// Replay window in packets.
    pub replay_window: u32,
}

/// How both sides prove who they are.
#[derive(Clone, Debug)]
pub struct Auth {
    /// PEM: our certificate, then intermediates. `None` only if PSK is the one method.
    pub certificate_file: Option<PathBuf>,
    /// PEM: its private key, PKCS#8, SEC1 or PKCS#1.
    pub private_key_file: Option<PathBuf>,
    /// Methods that clients may use.
    pub methods: Vec<AuthMethod>,
    /// PEM: authorities that sign client certificates.
    pub client_ca_file: Option<PathBuf>,
    /// Whether client certificates may have been revoked.
    pub revocation: Revocation,
    /// `[[auth.psk]]`: identity and key.
    pub psks: Vec<Psk>,
    /// Whether EAP alone may prove the gateway (RFC 5998).
    pub eap_only: bool,
    /// Whether every client must use a PPK (RFC 8784).
    pub ppk_required: bool,
    /// `[[auth.ppk]]`: post-quantum pre-shared keys.
    pub ppks: Vec<Ppk>,
}

/// A client authentication method.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AuthMethod {
    /// EAP-Identity and EAP-MSCHAPv2 against `[[user]]`.
    EapMschapv2,
    /// Certificate signed by `client_ca_file`.
    Certificate,
    /// Pre-shared key.
    Psk,
    /// EAP-TLS: a certificate signed by `client_ca_file`.
    EapTls,
    /// EAP-TTLS, against `[[user]]` as `[eap]` says.
    EapTtls,
    /// PEAP version 0, against `[[user]]` as `[eap]` says.
    EapPeap,
    /// EAP-GTC: the password in clear, against `[[user]]`.
    EapGtc,
    /// EAP-MD5, against the clear passwords of `[[user]]`.
    EapMd5,
    /// Cisco's aggregate authentication inside EAP, against `[[user]]` and as `[anyconnect]` says.
    AnyconnectEap,
    /// Whatever EAP method client and RADIUS server agree on.
    EapRadius,
}

impl AuthMethod {
    /// Whether it is a standard EAP method that is answered here.
    pub fn is_local_eap(self) -> bool {
        use AuthMethod::{EapGtc, EapMd5, EapMschapv2, EapPeap, EapTls, EapTtls};
        matches!(self, EapMschapv2 | EapTls | EapTtls | EapPeap | EapGtc | EapMd5)
    }
}

/// A pre-shared key for one identity.
#[derive(Clone, Debug)]
pub struct Psk {
    /// IDi as text: FQDN, mail address or IPv4 address; `*` for any.
    pub identity: String,
    /// The key.
    pub secret: Secret,
}

/// A post-quantum pre-shared key (RFC 8784).
#[derive(Clone, Debug)]
pub struct Ppk {
    /// PPK_ID.
    pub id: String,
    /// IDi as text that may use it; `*` for any.
    pub identity: String,
    /// The key.
    pub secret: Secret,
}

/// Addresses for clients.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Name.
    pub name: String,
    /// Prefix that holds every IPv4 address; its network and broadcast addresses are not given out unless `first` or `last` says so.
    pub range: Option<Ipv4Prefix>,
    /// First address that is given out, inside `range`.
    pub first: Option<Ipv4Addr>,
    /// Last address that is given out, inside `range`.
    pub last: Option<Ipv4Addr>,
    /// What clients get of IPv6.
    pub range6: Option<Range6>,
    /// INTERNAL_IP4_DNS and INTERNAL_IP6_DNS.
    pub dns: Vec<IpAddr>,
    /// INTERNAL_IP4_SUBNET and INTERNAL_IP6_SUBNET: what clients send into the tunnel. Empty: everything.
    pub subnets: Vec<IpPrefix>,
    /// What the Child SA's selectors of our side are narrowed to.
    pub traffic_selectors: TrafficSelectors,
}

/// The IPv6 side of a pool.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range6 {
    /// Prefix that holds every client's.
    pub prefix: Ipv6Prefix,
    /// Length of each client's prefix, at least that of `prefix`; 128 is one address.
    pub client_length: u8,
}

/// Logs.
#[derive(Clone, Debug)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a tracing filter.
    pub filter: String,
    /// JSON lines instead of text.
    pub json: bool,
}

/// NT hash of a password. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct NtHash(pub [u8; 16]);

impl fmt::Debug for NtHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NtHash(..)")
    }
}

/// A secret text. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret(pub Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
