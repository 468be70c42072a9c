//! What the operator allows: the endpoint's configuration as plain, validated values.
//!
//! Enters: values made by the driver from its configuration file. Leaves: the one read-only input of every exchange.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::ident::Identity;
use crate::ppk::PpkPolicy;
use crate::suite::{EspPolicy, IkeProposal};
use crate::wire::{AddressRange, CertReq};

/// A prefix of either family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Subnet {
    /// An address of it; bits below the length do not count.
    pub address: IpAddr,
    /// Prefix length, 0 to 32 or 128.
    pub prefix_len: u8,
}

impl Subnet {
    /// Everything of IPv4: `0.0.0.0/0`.
    pub const ANY: Subnet = Subnet { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix_len: 0 };
    /// Everything of IPv6: `::/0`.
    pub const ANY6: Subnet = Subnet { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix_len: 0 };

    /// First and last address.
    pub(crate) fn range(self) -> AddressRange {
        match self.address {
            IpAddr::V4(address) => {
                let (bits, mask) = (address.to_bits(), mask4(self.prefix_len));
                AddressRange::Ipv4(Ipv4Addr::from_bits(bits & mask), Ipv4Addr::from_bits(bits | !mask))
            }
            IpAddr::V6(address) => {
                let (bits, mask) = (address.to_bits(), mask6(self.prefix_len));
                AddressRange::Ipv6(Ipv6Addr::from_bits(bits & mask), Ipv6Addr::from_bits(bits | !mask))
            }
        }
    }
}

/// The netmask of so many bits.
pub(crate) fn mask4(prefix_len: u8) -> u32 {
    u32::MAX.checked_shl(32u32.saturating_sub(u32::from(prefix_len))).unwrap_or(0)
}

fn mask6(prefix_len: u8) -> u128 {
    u128::MAX.checked_shl(128u32.saturating_sub(u32::from(prefix_len))).unwrap_or(0)
}

/// Everything an [`crate::Endpoint`] needs to know; fixed for its life.
#[derive(Clone, Debug)]
pub struct EndpointConfig {
    /// Who we are: IDr.
    pub identity: Identity,
    /// The CERTREQ that names who signs client certificates ([`crate::cert::TrustStore::cert_req`]).
    pub certificate_request: Option<CertReq>,
    /// Methods that clients may use.
    pub methods: Methods,
    /// What to do when the client asks for another IDr than ours (RFC 7296 §2.15 lets us choose).
    pub idr_mismatch: IdrMismatch,
    /// IKE proposals in order of preference.
    pub ike_proposals: Vec<IkeProposal>,
    /// What Child SAs may use. `groups` are those accepted when a client asks for PFS; put all there are.
    pub esp: EspPolicy,
    /// Whether a client that asks for no inner address (no CP payload) may have a Child SA for its own outer address.
    pub allow_without_address: bool,
    /// Lifetimes.
    pub lifetimes: Lifetimes,
    /// Retransmission and liveness.
    pub timing: Timing,
    /// Bounds.
    pub limits: Limits,
    /// Octets of an IP packet that carries an IKE fragment (RFC 7383 §2.5.1).
    pub fragment_size: u16,
    /// What Cisco's clients are offered beyond the standard.
    pub cisco: CiscoPolicy,
    /// Which extensions of IKEv2 clients may use.
    pub extensions: ExtensionPolicy,
    /// Post-quantum pre-shared keys (RFC 8784).
    pub ppk: PpkPolicy,
}

/// Most addresses of ours that a client is told beside the one that it uses.
pub const MAX_OWN_ADDRESSES: usize = 8;

/// Which extensions of IKEv2 clients may use. A client that announces none sees none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExtensionPolicy {
    /// Clients may move to other addresses (MOBIKE, RFC 4555).
    pub mobike: bool,
    /// Our addresses: a client that moves may take any of them in place of the one that it logged in at, such as one of the family
    /// that its new network has. At most [`MAX_OWN_ADDRESSES`] are told (RFC 4555 §3.4).
    pub addresses: Vec<IpAddr>,
    /// Clients may log in without a Child SA (RFC 6023).
    pub childless: bool,
    /// Which clients are sent to another gateway.
    pub redirect: RedirectPolicy,
    /// EAP alone may prove both sides to a client that asks for it (RFC 5998).
    pub eap_only: bool,
    /// Clients may resume a session by a ticket (RFC 5723).
    pub tickets: bool,
}

impl Default for ExtensionPolicy {
    fn default() -> ExtensionPolicy {
        ExtensionPolicy {
            mobike: true,
            addresses: Vec::new(),
            childless: true,
            redirect: RedirectPolicy::default(),
            eap_only: false,
            tickets: false,
        }
    }
}

/// Which clients are sent to another gateway (RFC 5685), if they know how to follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedirectPolicy {
    /// Where to; `None` sends nobody.
    pub to: Option<GatewayName>,
    /// Whom.
    pub whom: Redirected,
    /// Seconds that a client has to leave after it was told to, before we delete its session.
    pub grace_secs: u64,
}

impl Default for RedirectPolicy {
    fn default() -> RedirectPolicy {
        RedirectPolicy { to: None, whom: Redirected::WhenFull, grace_secs: 60 }
    }
}

/// Which new clients are sent on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Redirected {
    /// Those that we have no room for.
    WhenFull,
    /// All, at once.
    All,
    /// All, once they have proved who they are.
    Authenticated,
}

/// How a client is told of another gateway (RFC 5685 §9.1).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum GatewayName {
    /// By its address.
    Address(IpAddr),
    /// By its DNS name.
    Fqdn(String),
}

/// Why a text names no gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("neither an IP address nor a DNS name of at most 255 letters, digits, hyphens and dots")]
pub struct NoGatewayName;

impl FromStr for GatewayName {
    type Err = NoGatewayName;

    fn from_str(text: &str) -> Result<GatewayName, NoGatewayName> {
        if let Ok(address) = text.parse() {
            return Ok(GatewayName::Address(address));
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        let label = |label: &str| !label.is_empty() && label.len() <= 63;
        let fits =
            text.len() <= usize::from(u8::MAX) && text.chars().all(legal) && text.split('.').all(label);
        fits.then(|| GatewayName::Fqdn(text.to_owned())).ok_or(NoGatewayName)
    }
}

impl fmt::Display for GatewayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GatewayName::Address(address) => address.fmt(f),
            GatewayName::Fqdn(name) => f.write_str(name),
        }
    }
}

/// What Cisco's clients are offered beyond the standard. A client that does not call itself one sees none of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CiscoPolicy {
    /// Answer a client that announces AnyConnect-EAP with vendor ids of ours.
    pub vendor_ids: bool,
    /// Cut long messages in Cisco's way for a client that knows only that.
    pub fragmentation: bool,
    /// ID types under which the AnyConnect identity is taken.
    pub id_types: Vec<u8>,
}

impl Default for CiscoPolicy {
    fn default() -> CiscoPolicy {
        CiscoPolicy { vendor_ids: true, fragmentation: true, id_types: vec![201, 11] }
    }
}

/// Client authentication methods that are switched on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Methods {
    /// EAP for standard clients, whatever method the driver's AAA speaks.
    pub eap: bool,
    /// AnyConnect-EAP, for clients with the AnyConnect identity.
    pub anyconnect_eap: bool,
    /// Certificate and signature.
    pub certificate: bool,
    /// Pre-shared key.
    pub psk: bool,
    /// The token of a session to be resumed, used as a shared key.
    pub resume: bool,
}

/// What to do when the client asks for another IDr than ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IdrMismatch {
    /// Answer with our own identity; the client decides.
    AnswerOwn,
    /// Refuse with AUTHENTICATION_FAILED.
    Refuse,
}

/// Lifetimes in seconds; 0 leaves the matter to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lifetimes {
    /// Until we rekey the IKE SA.
    pub ike_rekey_secs: u64,
    /// Until we rekey a Child SA.
    pub child_rekey_secs: u64,
    /// Random part of a soft lifetime, in percent of it, taken off so that sessions do not rekey together.
    pub jitter_percent: u8,
    /// A rekey that has not succeeded this many seconds after it fell due ends the SA.
    pub rekey_grace_secs: u64,
}

/// Retransmission and liveness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// Seconds without proof of life after which the peer is asked; 0 never asks.
    pub dpd_interval_secs: u64,
    /// First retransmission after this many milliseconds; doubled each time.
    pub retransmit_base_ms: u64,
    /// Retransmissions before the peer is given up.
    pub retransmit_tries: u32,
    /// Seconds a half-open IKE SA may live.
    pub half_open_secs: u64,
    /// Milliseconds that [`crate::api::Input::Shutdown`] waits for answers to its deletes.
    pub shutdown_ms: u64,
}

/// Bounds on what peers can make us hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Sessions, half-open ones included.
    pub sessions: usize,
    /// Half-open IKE SAs.
    pub half_open: usize,
    /// Half-open IKE SAs of one source address.
    pub half_open_per_source: usize,
    /// Half-open IKE SAs above which cookies are asked for.
    pub cookie_threshold: usize,
    /// Child SAs of one session, rekeying ones not counted.
    pub children_per_session: usize,
}

impl Default for Lifetimes {
    fn default() -> Lifetimes {
        Lifetimes {
            ike_rekey_secs: 14_400,
            child_rekey_secs: 3_600,
            jitter_percent: 10,
            rekey_grace_secs: 300,
        }
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            dpd_interval_secs: 30,
            retransmit_base_ms: 2_000,
            retransmit_tries: 5,
            half_open_secs: 30,
            shutdown_ms: 3_000,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            sessions: 100_000,
            half_open: 10_000,
            half_open_per_source: 200,
            cookie_threshold: 50,
            children_per_session: 8,
        }
    }
}
