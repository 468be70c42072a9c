//! The keys of remote access: how AnyConnect clients log in and come back, what Cisco's protocol extensions look like, groups
//! and users and what they may do, and where sessions are stored. Part of the declarations in `keys.rs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use super::{MAX_DNS, MAX_USERS};
use crate::api::Effect;
use crate::config::model::{
    AttributeProfile, CertificateLogin, NtHash, OnClientDelete, OnSessionLimit, OnTokenReplay, PasswordHash,
    Secret, ServerCertHash, StoreBackend, TokenPolicy, TrafficSelectors,
};
use crate::config::schema::{SEALED, SEALED_NT_HASH, SEALED_PASSWORD_HASH, section};
use crate::config::value::Paragraph;
use crate::sa::{IpPrefix, MAX_SELECTORS};

/// Most groups.
pub const MAX_GROUPS: usize = 1024;
/// Most domains of split DNS.
pub const MAX_SPLIT_DNS: usize = 32;
/// Most groups that a client may choose from.
pub const MAX_LISTED_GROUPS: usize = 32;
/// Longest life of a session, seconds: 300 days.
const MAX_SESSION_SECS: i64 = 25_920_000;
/// Numbers of configuration attributes that RFC 7296 section 3.15.1 leaves to private use.
const PRIVATE_ATTRIBUTES: (i64, i64) = (16_384, 32_767);

section! {
    /// How AnyConnect clients log in (method `anyconnect-eap`).
    RawAnyconnect = "anyconnect".table().effect(Effect::NewSessions) {
        /// Client certificates: not asked for, required beside the password, or enough instead of it.
        certificate: CertificateLogin = default(r#""none""#);
        /// Text that the client shows once it is connected.
        banner: Option<Paragraph> = optional("no banner").sketch(r#""Authorised use only.""#);
        /// Title of the login form.
        title: String = default(r#""Login""#);
        /// Text above the fields of the login form.
        message: String = default(r#""Please enter your username and password.""#);
        /// Groups that the login form offers, by name of a [[group]]. Empty: it offers no choice.
        groups: Vec<String> = default("[]").most(MAX_LISTED_GROUPS);
        /// Passwords that may be tried before the login has failed.
        attempts: u32 = default("3").range(1, 10);
    }
}

section! {
    /// Auto Reconnect: a client that slept or changed networks is back in its session without a password.
    RawReconnect = "reconnect".table().effect(Effect::Live) {
        /// Whether clients may come back. Not together with method `psk`.
        enabled: bool = default("false").effect(Effect::NewSessions);
        /// How long a session waits for its client.
        timeout_secs: u64 = default("1800").unit("seconds").range(600, 86_400);
        /// Whether a client gets a new token each time it comes back, or keeps the first.
        token_policy: Option<TokenPolicy> = optional("`rotate`, or `stable` if `cisco.attributes` is \"capture\"");
        /// How long the old token still counts after a new one was sent that may not have arrived.
        rotate_grace_secs: u64 = default("120").unit("seconds").range(0, 3600);
        /// Most sessions that wait for their clients; the one that waits longest makes room.
        max_inactive: Option<u32> = optional("four times `dataplane.sa_capacity`").unit("sessions").range(1, 16_777_216);
        /// Most sessions of one user that wait.
        per_user_max: u32 = default("5").unit("sessions").range(1, 1000);
        /// Whether a session is removed or kept when its client ends it by an IKE delete.
        on_client_delete: OnClientDelete = default(r#""remove""#);
        /// What happens when a token is used that a newer one has replaced: the session ends, or only this attempt.
        on_token_replay: OnTokenReplay = default(r#""kill""#);
        /// Whether a new client takes the address of the session that waits longest when its pool is full.
        reclaim: bool = default("false");
        /// Whether a client may come back before the gateway has noticed that it was gone.
        allow_active_takeover: bool = default("true");
        /// Silence after which the gateway asks whether a client lives, once that client has itself asked.
        dpd_interval_secs: u64 = default("45").unit("seconds").range(10, 3600).effect(Effect::NewSessions);
        /// Wait before it asks again.
        dpd_retry_secs: u64 = default("2").unit("seconds").range(1, 60).effect(Effect::NewSessions);
        /// How often it asks before the session waits for its client.
        dpd_tries: u32 = default("5").range(1, 20).effect(Effect::NewSessions);
    }
}

section! {
    /// Cisco's extensions of IKEv2. The numbers of the reconnect attributes are not public: `lab` suits our own client;
    /// for Cisco's, write down what one capture shows (the control plane logs unknown attributes at `debug`).
    RawCisco = "cisco".table().effect(Effect::NewSessions) {
        /// Where the attribute numbers come from.
        attributes: AttributeProfile = default(r#""lab""#);
        /// Attribute of the session id.
        session_id: Option<u16> = optional("needed if `attributes` is \"capture\"")
            .range(PRIVATE_ATTRIBUTES.0, PRIVATE_ATTRIBUTES.1);
        /// Attribute of the session token.
        token: Option<u16> = optional("needed if `attributes` is \"capture\"")
            .range(PRIVATE_ATTRIBUTES.0, PRIVATE_ATTRIBUTES.1);
        /// Attribute of the sealed session data.
        session_data: Option<u16> = optional("needed if `attributes` is \"capture\"")
            .range(PRIVATE_ATTRIBUTES.0, PRIVATE_ATTRIBUTES.1);
        /// Attribute of the time that a session waits.
        cleanup_interval: Option<u16> = optional("needed if `attributes` is \"capture\"")
            .range(PRIVATE_ATTRIBUTES.0, PRIVATE_ATTRIBUTES.1);
        /// Attribute of the time between the client's probes.
        dpd_interval: Option<u16> = optional("needed if `attributes` is \"capture\"")
            .range(PRIVATE_ATTRIBUTES.0, PRIVATE_ATTRIBUTES.1);
        /// Whether AnyConnect clients are answered with Cisco's vendor IDs.
        vendor_ids: bool = default("true");
        /// ID types of IDi that may carry `*$AnyConnectClient$*`: 201 is what clients send, 11 is KEY_ID.
        idi_types: Vec<u8> = default("[201, 11]").range(1, 255).most(8);
        /// Whether Cisco's own fragments (payload 132) are taken.
        fragmentation: bool = default("true");
        /// What the client is told about our certificate at the end of a login: SHA-1 of the whole, or of its public key.
        server_cert_hash: ServerCertHash = default(r#""cert-sha1""#);
    }
}

section! {
    /// What the users of a group get. A user's own keys count before the group's, the group's before the pool's.
    RawGroup = "group".repeated(MAX_GROUPS).commented().effect(Effect::NewSessions).identity("name") {
        /// Name that users, `aaa.authorize_group` and `anyconnect.groups` use.
        name: String = required().examples(&[r#""staff""#]);
        /// Pool of their addresses, by name.
        pool: Option<String> = optional("any pool").sketch(r#""clients""#);
        /// DNS servers that they are told.
        dns: Option<Vec<IpAddr>> = optional("those of the pool").most(MAX_DNS).sketch(r#"["10.0.0.53"]"#);
        /// Domain for names without one.
        domain: Option<String> = optional("none").sketch(r#""example.com""#);
        /// More domains whose names they look up with these DNS servers (split DNS: INTERNAL_DNS_DOMAIN of RFC 8598, and what Cisco's
        /// clients ask for); `domain` is one of them anyway.
        split_dns: Option<Vec<String>> = optional("none").most(MAX_SPLIT_DNS).sketch(r#"["corp.example.com", "lab.example.com"]"#);
        /// Networks that they reach through the tunnel (split tunnel). Empty: everything.
        subnets: Option<Vec<IpPrefix>> = optional("those of the pool")
            .most(MAX_SELECTORS)
            .sketch(r#"["10.0.0.0/8"]"#);
        /// Whether their tunnels are for these `subnets` only or for `any` network; see [[pool]].
        traffic_selectors: Option<TrafficSelectors> = optional("that of the pool").sketch(r#""subnets""#);
        /// Text that the client shows once it is connected.
        banner: Option<Paragraph> = optional("`anyconnect.banner`").sketch(r#""Welcome.""#);
        /// Age at which a session ends for good, active or waiting. 0 for none; otherwise at least 120.
        session_lifetime_secs: u64 = default("0").unit("seconds").range(0, MAX_SESSION_SECS);
        /// Time without a packet in either direction after which a session ends for good, or up to an eighth later. 0 for
        /// none; otherwise at least 60.
        idle_secs: u64 = default("0").unit("seconds").range(0, MAX_SESSION_SECS);
    }
}

section! {
    /// A local user for EAP methods with a password and for `anyconnect-eap`, with one password hash or both.
    RawUser = "user".repeated(MAX_USERS).commented().effect(Effect::NewSessions).identity("name") {
        /// Name, as the client sends it in EAP.
        name: String = required().examples(&[r#""alice""#]);
        /// NT hash of the password: `causeway user hash` asks for the password and prints this line. MSCHAPv2 needs it.
        password_nt_hash: Option<NtHash> = optional("`password_hash` is used")
            .examples(&[r#""00112233445566778899aabbccddeeff""#]).secret(SEALED_NT_HASH);
        /// Argon2 hash of the password (PHC string): safer at rest, for methods that see the password (`anyconnect-eap`, `eap-gtc`,
        /// `eap-ttls` with `pap`).
        /// `causeway user hash --argon2` prints this line.
        password_hash: Option<PasswordHash> = optional("`password_nt_hash` is used")
            .sketch(r#""$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$BQyIJVwEqKO9KuJbUEIAl8bDpM1OaOyLfZdTFNBcRI8""#).secret(SEALED_PASSWORD_HASH);
        /// The password itself, which serves every method. Only `eap-md5` needs it: whoever reads this file can log in.
        password_clear: Option<Secret> = optional("a hash is used").secret(SEALED);
        /// Group, by name of a [[group]].
        group: Option<String> = optional("`aaa.authorize_group`").sketch(r#""staff""#);
        /// This user's inner address, of a pool; nobody else gets it.
        address: Option<Ipv4Addr> = optional("one of the pool").sketch(r#""10.99.1.1""#);
        /// This user's inner IPv6 address, the first of its `client_prefix6` of a pool; nobody else gets it.
        address6: Option<Ipv6Addr> = optional("one of the pool").sketch(r#""2001:db8:99::1:1""#);
        /// Pool, by name.
        pool: Option<String> = optional("that of the group");
        /// DNS servers.
        dns: Option<Vec<IpAddr>> = optional("those of the group").most(MAX_DNS);
        /// Domain for names without one.
        domain: Option<String> = optional("that of the group");
        /// More domains whose names the user looks up with these DNS servers.
        split_dns: Option<Vec<String>> = optional("those of the group").most(MAX_SPLIT_DNS);
        /// Networks that the user reaches through the tunnel. Empty: everything.
        subnets: Option<Vec<IpPrefix>> = optional("those of the group").most(MAX_SELECTORS);
        /// Whether the tunnel is for these `subnets` only or for `any` network; see [[pool]].
        traffic_selectors: Option<TrafficSelectors> = optional("that of the group");
        /// Text that the client shows once it is connected.
        banner: Option<Paragraph> = optional("that of the group");
    }
}

section! {
    /// What users may do, once it is known who they are.
    RawAaa = "aaa".table().effect(Effect::NewSessions) {
        /// Group of users that have none of their own, by name of a [[group]].
        authorize_group: Option<String> = optional("they get what the pool says");
        /// Whether a user's own keys count.
        user_attributes_cached: bool = default("true");
        /// Whether a group's keys count before the user's.
        group_overrides: bool = default("false");
        /// Most sessions of one user that are up at once. 0 for no limit.
        max_sessions_per_user: u32 = default("0").unit("sessions").range(0, 1_000_000);
        /// Whether a user's next session is refused, or takes the place of the oldest one.
        on_session_limit: OnSessionLimit = default(r#""refuse""#);
    }
}

section! {
    /// Where sessions are stored, so that they outlive the daemons.
    RawStore = "store".table().effect(Effect::ControlPlaneRestart) {
        /// A file that survives power loss, or memory that a restart forgets.
        backend: StoreBackend = default(r#""sqlite""#);
        /// The file.
        path: Option<PathBuf> = optional(
            "`/var/lib/causeway/sessions.db`; `sessions.db` in `gateway.run_directory` if that is not `/run/causeway`",
        )
        .sketch(r#""/var/lib/causeway/sessions.db""#);
    }
}
