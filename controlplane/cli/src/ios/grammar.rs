//! What each IOS-XE command means to a VPN gateway: one row for each form of a command, by the mode it stands in. Enters:
//! nothing. Leaves: the table that `parse.rs` looks lines up in. A command without a row is told as not understood.

use Effect::{Holds, Lacks, Opens, Sets};

/// Blocks of commands; `Global` is outside of any.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Mode {
    Global,
    AccessList,
    AuthorizationPolicy,
    Proposal,
    IkePolicy,
    Profile,
    Keyring,
    TransformSet,
    IpsecProfile,
    Interface,
    Trustpoint,
    /// Certificates in hexadecimal, up to `quit`.
    Certificates,
}

/// What a command does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    /// It opens a block; its first argument is the block's name.
    Opens(Mode),
    /// It says something that the conversion looks for.
    Sets(Key),
    /// What it asks for is so anyway, for this reason.
    Holds(&'static str),
    /// There is nothing like it, for this reason.
    Lacks(&'static str),
}

/// Commands that the conversion looks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    AnyconnectProfile,
    AuthenticationList,
    Banner,
    CookieThreshold,
    Deny,
    Dns,
    Domain,
    DomainName,
    Dpd,
    Encryption,
    Esn,
    FragmentSize,
    Group,
    GroupAuthorization,
    HalfOpenMax,
    Hostname,
    IkeLifetime,
    IdleTime,
    IkeProfile,
    Integrity,
    IpAddress,
    Keyring,
    LocalAuthentication,
    LocalIdentity,
    LocalPool,
    LoginList,
    MatchFvrf,
    MatchIdentity,
    Mtu,
    NetworkList,
    NumberedEntry,
    Permit,
    Pool,
    Prf,
    ProposalName,
    Protection,
    Reconnect,
    RemoteAnyconnect,
    RemoteEap,
    RemotePsk,
    RemoteSignature,
    ReplayWindow,
    Route,
    RouteSet,
    RouteSetAcl,
    SaKilobytes,
    SaSeconds,
    SessionLifetime,
    TransformSets,
    Trustpoint,
    Unnumbered,
    User,
    UserAuthorization,
    VirtualTemplate,
    VpnProfile,
}

const IPV6: &str = "only IPv4 is given to clients";
const MACHINE: &str = "it is about the router as a machine, not about its clients";
const VRF: &str = "there are no VRFs: outside and inside are the two sides";
const CLIENT_SETTING: &str = "there is no key for this setting of the client yet";
const DISTRIBUTION: &str =
    "client software and profiles are not distributed by the gateway; install them by other means";
const CLUSTER: &str = "a gateway stands alone: sessions are stored by it and known to no other";

/// Every command that is understood.
pub(super) const COMMANDS: &[(Mode, &str, Effect)] = &[
    (Mode::Global, "aaa new-model", Holds("users are always authenticated and authorized")),
    (Mode::Global, "aaa session-id common", Holds("a session has one id for all of its life")),
    (Mode::Global, "aaa authentication login <list> <...>", Sets(Key::LoginList)),
    (Mode::Global, "aaa authorization network <list> <...>", Sets(Key::NetworkList)),
    (Mode::Global, "aaa authorization exec|commands|console|config-commands <...>", Lacks(MACHINE)),
    (Mode::Global, "aaa accounting <...>", Lacks("sessions are not accounted to a server")),
    (Mode::Global, "aaa group server <...>", Lacks("users are local; no RADIUS or TACACS+ server is asked")),
    (Mode::Global, "radius server <...>", Lacks("users are local; no RADIUS server is asked")),
    (Mode::Global, "username <name> <...>", Sets(Key::User)),
    (Mode::Global, "ip local pool <name> <low> [<high>]", Sets(Key::LocalPool)),
    (Mode::Global, "ip access-list standard <name>", Opens(Mode::AccessList)),
    (Mode::Global, "access-list <number> permit|deny <...>", Sets(Key::NumberedEntry)),
    (Mode::Global, "access-list <number> remark <...>", Holds("it is a comment")),
    (Mode::Global, "ip route <network> <mask> <via> <...>", Sets(Key::Route)),
    (Mode::Global, "hostname <name>", Sets(Key::Hostname)),
    (Mode::Global, "ip domain name <domain>", Sets(Key::DomainName)),
    (Mode::Global, "ip domain-name <domain>", Sets(Key::DomainName)),
    (Mode::Global, "interface <...>", Opens(Mode::Interface)),
    (Mode::Global, "crypto pki trustpoint <name>", Opens(Mode::Trustpoint)),
    (Mode::Global, "crypto pki certificate chain <name>", Opens(Mode::Certificates)),
    (Mode::Global, "crypto ikev2 authorization policy <name>", Opens(Mode::AuthorizationPolicy)),
    (Mode::Global, "crypto ikev2 proposal <name>", Opens(Mode::Proposal)),
    (Mode::Global, "crypto ikev2 policy <name>", Opens(Mode::IkePolicy)),
    (Mode::Global, "crypto ikev2 profile <name>", Opens(Mode::Profile)),
    (Mode::Global, "crypto ikev2 keyring <name>", Opens(Mode::Keyring)),
    (Mode::Global, "crypto ikev2 dpd <interval> <retry> on-demand|periodic", Sets(Key::Dpd)),
    (Mode::Global, "crypto ikev2 fragmentation", Holds("IKE fragments (RFC 7383) are always taken")),
    (Mode::Global, "crypto ikev2 fragmentation mtu <octets>", Sets(Key::FragmentSize)),
    (Mode::Global, "crypto ikev2 cookie-challenge <number>", Sets(Key::CookieThreshold)),
    (Mode::Global, "crypto ikev2 limit max-in-negotation-sa <number> <...>", Sets(Key::HalfOpenMax)),
    (
        Mode::Global,
        "no crypto ikev2 http-url cert",
        Holds("certificates are never fetched from URLs, and HTTP_CERT_LOOKUP_SUPPORTED is never sent"),
    ),
    (Mode::Global, "crypto ikev2 http-url cert", Lacks("certificates are not fetched from URLs")),
    (
        Mode::Global,
        "crypto ikev2 window <number>",
        Lacks("requests go out one at a time, which every client takes"),
    ),
    (
        Mode::Global,
        "crypto ikev2 nat keepalive <seconds>",
        Lacks("clients behind NAT keep the mapping open themselves"),
    ),
    (Mode::Global, "crypto ikev2 reconnect key <...>", Lacks(CLUSTER)),
    (Mode::Global, "crypto ikev2 redirect|cluster <...>", Lacks(CLUSTER)),
    (Mode::Global, "no ip http server|secure-server", Holds("there is no web server")),
    (
        Mode::Global,
        "ip http server|secure-server",
        Lacks("there is no web server, so clients need BypassDownloader in AnyConnectLocalPolicy.xml"),
    ),
    (Mode::Global, "crypto vpn anyconnect profile <name> <path>", Sets(Key::VpnProfile)),
    (Mode::Global, "crypto vpn anyconnect <path> sequence [<number>]", Lacks(DISTRIBUTION)),
    (Mode::Global, "crypto vpn anyconnect <path>", Lacks(DISTRIBUTION)),
    (Mode::Global, "crypto ipsec transform-set <name> <...>", Opens(Mode::TransformSet)),
    (Mode::Global, "crypto ipsec profile <name>", Opens(Mode::IpsecProfile)),
    (Mode::Global, "crypto ipsec security-association lifetime seconds <number>", Sets(Key::SaSeconds)),
    (Mode::Global, "crypto ipsec security-association idle-time <seconds>", Sets(Key::IdleTime)),
    (Mode::Global, "crypto ipsec security-association lifetime kilobytes <number>", Sets(Key::SaKilobytes)),
    (Mode::Global, "crypto ipsec security-association replay window-size <number>", Sets(Key::ReplayWindow)),
    (Mode::Global, "version <number>", Lacks(MACHINE)),
    (Mode::Global, "service <...>", Lacks(MACHINE)),
    (Mode::Global, "no service <...>", Lacks(MACHINE)),
    (Mode::Global, "end", Holds("the file ends where it ends")),
    (Mode::AccessList, "permit <...>", Sets(Key::Permit)),
    (Mode::AccessList, "deny <...>", Sets(Key::Deny)),
    (Mode::AccessList, "remark <...>", Holds("it is a comment")),
    (Mode::AuthorizationPolicy, "pool <name>", Sets(Key::Pool)),
    (Mode::AuthorizationPolicy, "dns <server> [<server>]", Sets(Key::Dns)),
    (Mode::AuthorizationPolicy, "def-domain <domain>", Sets(Key::Domain)),
    (Mode::AuthorizationPolicy, "banner <...>", Sets(Key::Banner)),
    (Mode::AuthorizationPolicy, "session-lifetime <seconds>", Sets(Key::SessionLifetime)),
    (Mode::AuthorizationPolicy, "route set access-list <name>", Sets(Key::RouteSetAcl)),
    (Mode::AuthorizationPolicy, "route set remote ipv4 <network> <mask>", Sets(Key::RouteSet)),
    (
        Mode::AuthorizationPolicy,
        "route set interface [<name>]",
        Holds(
            "clients reach the gateway's side by their default or split routes; there is no tunnel interface to announce",
        ),
    ),
    (Mode::AuthorizationPolicy, "route accept <...>", Lacks("remote access clients announce no routes")),
    (Mode::AuthorizationPolicy, "route set access-list ipv6 <name>", Lacks(IPV6)),
    (Mode::AuthorizationPolicy, "ipv6 <...>", Lacks(IPV6)),
    (Mode::AuthorizationPolicy, "netmask <mask>", Holds("a client is always told a netmask of one address")),
    (
        Mode::AuthorizationPolicy,
        "wins|split-dns|backup-gateway|configuration|dhcp <...>",
        Lacks(CLIENT_SETTING),
    ),
    (Mode::AuthorizationPolicy, "include-local-lan|smartcard-removal-disconnect|pfs", Lacks(CLIENT_SETTING)),
    (
        Mode::AuthorizationPolicy,
        "aaa attribute list <name>",
        Lacks("attributes are written in [[group]] and [[user]]"),
    ),
    (Mode::Proposal, "encryption <...>", Sets(Key::Encryption)),
    (Mode::Proposal, "integrity <...>", Sets(Key::Integrity)),
    (Mode::Proposal, "prf <...>", Sets(Key::Prf)),
    (Mode::Proposal, "group <...>", Sets(Key::Group)),
    (Mode::IkePolicy, "match fvrf <name>", Sets(Key::MatchFvrf)),
    (
        Mode::IkePolicy,
        "match address local <...>",
        Lacks("one set of proposals serves every outside address"),
    ),
    (Mode::IkePolicy, "proposal <name>", Sets(Key::ProposalName)),
    (Mode::Profile, "description <...>", Holds("it is a comment")),
    (Mode::Profile, "match identity remote key-id|address|fqdn|email|any <...>", Sets(Key::MatchIdentity)),
    (Mode::Profile, "match fvrf <name>", Sets(Key::MatchFvrf)),
    (
        Mode::Profile,
        "match certificate <map>",
        Lacks("a client certificate counts if its authority is trusted"),
    ),
    (Mode::Profile, "match address local <...>", Lacks("one set of rules serves every outside address")),
    (Mode::Profile, "identity local address|fqdn|email|key-id|dn <...>", Sets(Key::LocalIdentity)),
    (
        Mode::Profile,
        "authentication local rsa-sig|ecdsa-sig|pre-share|eap <...>",
        Sets(Key::LocalAuthentication),
    ),
    (
        Mode::Profile,
        "authentication remote anyconnect-eap aggregate [cert-request]",
        Sets(Key::RemoteAnyconnect),
    ),
    (Mode::Profile, "authentication remote rsa-sig|ecdsa-sig", Sets(Key::RemoteSignature)),
    (Mode::Profile, "authentication remote pre-share <...>", Sets(Key::RemotePsk)),
    (Mode::Profile, "authentication remote eap <...>", Sets(Key::RemoteEap)),
    (Mode::Profile, "keyring local|aaa <...>", Sets(Key::Keyring)),
    (Mode::Profile, "pki trustpoint <name> <...>", Sets(Key::Trustpoint)),
    (Mode::Profile, "lifetime <seconds>", Sets(Key::IkeLifetime)),
    (Mode::Profile, "lifetime certificate", Lacks("an IKE SA lives as ike.rekey_secs says")),
    (Mode::Profile, "dpd <interval> <retry> on-demand|periodic", Sets(Key::Dpd)),
    (Mode::Profile, "nat keepalive <seconds>", Lacks("clients behind NAT keep the mapping open themselves")),
    (
        Mode::Profile,
        "nat force-encap",
        Lacks("encapsulation in UDP is used when there is a NAT, or the client asks"),
    ),
    (Mode::Profile, "ivrf <name>", Lacks(VRF)),
    (Mode::Profile, "virtual-template <number> [mode] [auto]", Sets(Key::VirtualTemplate)),
    (Mode::Profile, "aaa accounting <...>", Lacks("sessions are not accounted to a server")),
    (Mode::Profile, "aaa authentication anyconnect-eap|eap <list>", Sets(Key::AuthenticationList)),
    (Mode::Profile, "aaa authorization group <...>", Sets(Key::GroupAuthorization)),
    (Mode::Profile, "aaa authorization user <...>", Sets(Key::UserAuthorization)),
    (Mode::Profile, "anyconnect profile <name>", Sets(Key::AnyconnectProfile)),
    (Mode::Profile, "reconnect", Sets(Key::Reconnect)),
    (Mode::Profile, "reconnect timeout <seconds>", Sets(Key::Reconnect)),
    (Mode::Profile, "redirect gateway <...>", Lacks(CLUSTER)),
    (Mode::TransformSet, "mode tunnel", Holds("tunnel mode is the only one")),
    (Mode::TransformSet, "mode transport <...>", Lacks("remote access uses tunnel mode")),
    (Mode::TransformSet, "esn", Sets(Key::Esn)),
    (Mode::IpsecProfile, "set transform-set <...>", Sets(Key::TransformSets)),
    (Mode::IpsecProfile, "set ikev2-profile <name>", Sets(Key::IkeProfile)),
    (Mode::IpsecProfile, "set security-association lifetime seconds <number>", Sets(Key::SaSeconds)),
    (Mode::IpsecProfile, "set security-association idle-time <seconds> [default]", Sets(Key::IdleTime)),
    (Mode::IpsecProfile, "set security-association lifetime kilobytes <number>", Sets(Key::SaKilobytes)),
    (Mode::IpsecProfile, "set security-association replay window-size <number>", Sets(Key::ReplayWindow)),
    (
        Mode::IpsecProfile,
        "set pfs [<group>]",
        Lacks("whether a rekey has a key exchange of its own is the client's choice"),
    ),
    (
        Mode::IpsecProfile,
        "set reverse-route <...>",
        Holds("packets for a client's address always go to its session"),
    ),
    (Mode::IpsecProfile, "responder-only", Holds("the gateway never opens a session")),
    (Mode::Interface, "description <...>", Holds("it is a comment")),
    (Mode::Interface, "ip unnumbered <...>", Sets(Key::Unnumbered)),
    (Mode::Interface, "ip address <address> <mask>", Sets(Key::IpAddress)),
    (Mode::Interface, "no ip address", Holds("a port without a [[port]] is not used")),
    (Mode::Interface, "ip mtu <octets>", Sets(Key::Mtu)),
    (Mode::Interface, "mtu <octets>", Sets(Key::Mtu)),
    (Mode::Interface, "tunnel mode ipsec ipv4", Holds("tunnels carry IPv4")),
    (Mode::Interface, "tunnel mode ipsec ipv6|dual-overlay", Lacks(IPV6)),
    (Mode::Interface, "tunnel source <...>", Holds("every outside port takes clients")),
    (Mode::Interface, "tunnel protection ipsec profile <name>", Sets(Key::Protection)),
    (Mode::Interface, "vrf forwarding <name>", Lacks(VRF)),
    (Mode::Interface, "no shutdown", Holds("each [[port]] is in use")),
    (Mode::Interface, "negotiation auto", Holds("the device's driver does it")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_row_stands_twice() {
        for (i, (mode, pattern, _)) in COMMANDS.iter().enumerate() {
            assert!(!COMMANDS[..i].iter().any(|(m, p, _)| m == mode && p == pattern), "{mode:?} {pattern}");
        }
    }
}
