//! An IOS configuration as a Causeway configuration. Enters: blocks of commands. Leaves: a draft in TOML, and an explanation of
//! every line that had a part in it. Cisco's command references are the source of ranges, defaults and forbidden combinations.

mod crypto;
mod network;
mod people;

use super::draft::Draft;
use super::explain::Notes;
use super::grammar::{Key, Mode};
use super::parse::{Block, Ios, Setting};

/// What AnyConnect clients present as identity.
const ANYCONNECT_IDENTITY: &str = "*$AnyConnectClient$*";
/// Why pre-shared keys and reconnect exclude each other (Cisco's restrictions for IKEv2 reconnect).
const NO_PSK: &str = "not possible with `reconnect` on the same profile: a client that comes back proves itself with its \
session token as pre-shared key, so IOS-XE forbids `authentication local|remote pre-share`, `keyring` and `aaa authorization \
group|user psk` there, and so does Causeway (auth.methods)";
/// `reconnect timeout`, seconds.
const RECONNECT_RANGE: std::ops::RangeInclusive<u64> = 600..=86_400;
/// Waiting time of `reconnect` alone, seconds.
const RECONNECT_DEFAULT: u64 = 1800;

/// What the parts of the conversion share.
struct Work<'a> {
    ios: &'a Ios,
    notes: &'a mut Notes,
    profile: &'a Block,
    draft: Draft,
}

/// Converts the profile that is named, else the first for AnyConnect, else the first. `None` if there is none.
pub(super) fn convert(ios: &Ios, wanted: Option<&str>, notes: &mut Notes) -> Result<Draft, String> {
    let profile = choose(ios, wanted)?;
    let mut work = Work { ios, notes, profile, draft: Draft::default() };
    work.explain_others();
    work.gateway();
    let chain = network::chain(&mut work);
    network::ports(&mut work, &chain);
    crypto::ike(&mut work);
    crypto::esp(&mut work, &chain);
    let methods = work.auth();
    work.reconnect();
    people::pools_and_groups(&mut work, &chain);
    people::users(&mut work, &methods);
    Ok(work.draft)
}

fn choose<'a>(ios: &'a Ios, wanted: Option<&str>) -> Result<&'a Block, String> {
    let profiles: Vec<&Block> = ios.blocks(Mode::Profile).collect();
    let chosen = match wanted {
        Some(name) => profiles.iter().find(|profile| profile.name == name),
        None => {
            profiles.iter().find(|profile| profile.last(Key::RemoteAnyconnect).is_some()).or(profiles.first())
        }
    };
    chosen.copied().ok_or_else(|| match wanted {
        Some(name) => format!("there is no `crypto ikev2 profile {name}`"),
        None => "there is no `crypto ikev2 profile`, which says how clients log in".to_owned(),
    })
}

impl<'a> Work<'a> {
    fn explain_others(&mut self) {
        let other =
            format!("only profile `{}` is imported; choose another with --profile", self.profile.name);
        for profile in self.ios.blocks(Mode::Profile).filter(|profile| profile.line != self.profile.line) {
            for line in profile.settings.iter().map(|setting| setting.line).chain([profile.line]) {
                self.notes.lacks(line, other.as_str());
            }
        }
    }

    fn gateway(&mut self) {
        self.draft.section("[gateway]");
        let profile = self.profile;
        let host = self.ios.globals(Key::Hostname).last();
        let domain = self.ios.globals(Key::DomainName).last();
        for setting in [host, domain].into_iter().flatten() {
            self.notes.lacks(setting.line, "the gateway's name to clients is gateway.identity");
        }
        match profile.last(Key::LocalIdentity) {
            Some(identity) if matches!(identity.argument(0), "fqdn" | "address" | "email") => {
                self.draft.text("identity", identity.argument(1));
                self.notes.became(identity.line, &["gateway.identity"], "sent to clients as IDr");
            }
            other => {
                if let Some(identity) = other {
                    self.notes
                        .lacks(identity.line, "gateway.identity is a DNS name, mail address or IPv4 address");
                }
                let name = match (host, domain) {
                    (Some(host), Some(domain)) => format!("{}.{}", host.argument(0), domain.argument(0)),
                    _ => "vpn.example.com".to_owned(),
                };
                let what = "the DNS name that clients connect to, as the certificate has it (IOS would send its address)";
                self.draft.blank("identity", &format!("\"{name}\""), what);
            }
        }
        self.draft.text("profile", &profile.name);
        self.notes.became(
            profile.line,
            &["gateway.profile"],
            "there is one set of rules, and this is its name",
        );
        for setting in profile.all(Key::MatchFvrf) {
            self.fvrf(setting);
        }
        for identity in profile.all(Key::MatchIdentity) {
            let why = match (identity.argument(0), identity.argument(1)) {
                ("key-id", ANYCONNECT_IDENTITY) => {
                    "AnyConnect clients are known by this identity, in the ID types of cisco.idi_types"
                }
                ("any", _) => "clients may present any identity",
                _ => {
                    self.notes.lacks(
                        identity.line,
                        "clients are not told apart by identity: every client that proves itself may come in",
                    );
                    continue;
                }
            };
            self.notes.holds(identity.line, why);
        }
        if profile.last(Key::MatchIdentity).is_none() {
            self.notes.refuse(
                profile.line,
                "the profile has no `match identity remote` and is not in use on the router; add one",
            );
        }
    }

    fn fvrf(&mut self, setting: &Setting) {
        if setting.argument(0) == "any" {
            self.notes.holds(setting.line, "there are no VRFs");
        } else {
            self.notes.lacks(setting.line, "there are no VRFs: outside and inside are the two sides");
        }
    }

    /// `[auth]` and `[anyconnect]`; gives the methods.
    fn auth(&mut self) -> Vec<String> {
        let profile = self.profile;
        let reconnect = profile.last(Key::Reconnect).is_some();
        let mut methods: Vec<String> = Vec::new();
        let mut certificates = false;
        let remote = [Key::RemoteAnyconnect, Key::RemoteEap, Key::RemoteSignature, Key::RemotePsk];
        for setting in profile.settings.iter().filter(|setting| remote.contains(&setting.key)) {
            let (method, why) = match setting.key {
                Key::RemoteAnyconnect => ("anyconnect-eap", "clients log in through AnyConnect's own forms"),
                Key::RemoteEap => (
                    "eap-mschapv2",
                    "the gateway speaks EAP itself; methods other than MSCHAPv2 need a RADIUS server",
                ),
                Key::RemoteSignature => ("certificate", "clients prove themselves by certificate"),
                _ => ("psk", "the key goes to [[auth.psk]]"),
            };
            if method == "psk" && reconnect {
                self.notes.refuse(setting.line, NO_PSK);
            } else {
                self.notes.became(setting.line, &["auth.methods"], why);
            }
            certificates |= method == "certificate" || setting.argument(0) == "cert-request";
            if !methods.iter().any(|known| known == method) {
                methods.push(method.to_owned());
            }
        }
        if methods.is_empty() {
            self.notes.refuse(
                profile.line,
                "the profile has no `authentication remote` and is not in use on the router; add one",
            );
        }
        self.draft.section("[auth]");
        self.draft.list("methods", &methods);
        self.local_authentication(reconnect);
        if certificates {
            self.draft.prefilled(
                "client_ca_file",
                "/etc/causeway/clients-ca.pem",
                "the authorities of client certificates, as PEM: those that the trustpoint authenticates",
            );
        }
        for setting in profile.all(Key::Keyring) {
            if reconnect {
                self.notes.refuse(setting.line, NO_PSK);
            } else {
                self.notes.lacks(setting.line, "write each key of the keyring as an [[auth.psk]]");
            }
        }
        if methods.iter().any(|method| method == "psk") {
            self.draft.section("[[auth.psk]]");
            self.draft.blank(
                "identity",
                "\"client.example.com\"",
                "each client's IKE identity, once for each key",
            );
            self.draft.blank("secret_file", "\"/etc/causeway/client.psk\"", "a file with its key");
        }
        if let Some(aggregate) = profile.last(Key::RemoteAnyconnect)
            && aggregate.argument(0) == "cert-request"
        {
            self.draft.section("[anyconnect]");
            self.draft.text("certificate", "required");
            self.notes.became(
                aggregate.line,
                &["anyconnect.certificate", "auth.client_ca_file"],
                "`cert-request` asks for a certificate beside the password",
            );
        }
        for setting in profile.all(Key::AnyconnectProfile) {
            let why =
                "the gateway does not hand out the client's profile; `causeway profile anyconnect` makes it";
            self.notes.lacks(setting.line, why);
        }
        for setting in self.ios.globals(Key::VpnProfile) {
            let why = "the gateway does not hand out the client's profile; `causeway profile anyconnect` makes it, and \
                       `causeway profile anyconnect --check` looks at this one";
            self.notes.lacks(setting.line, why);
        }
        methods
    }

    fn local_authentication(&mut self, reconnect: bool) {
        let profile = self.profile;
        let Some(local) = profile.last(Key::LocalAuthentication) else {
            self.notes.refuse(
                profile.line,
                "the profile has no `authentication local` and is not in use on the router; add one",
            );
            return;
        };
        match local.argument(0) {
            "rsa-sig" | "ecdsa-sig" => {
                let trustpoint = profile.last(Key::Trustpoint);
                let name = trustpoint.map_or("gateway", |setting| setting.argument(0));
                let what = "the trustpoint's certificate chain and key, as `crypto pki export NAME pem terminal` prints them \
                            (the key without a passphrase)";
                self.draft.prefilled("certificate_file", &format!("/etc/causeway/{name}.pem"), what);
                self.draft.prefilled("private_key_file", &format!("/etc/causeway/{name}.key"), what);
                let keys = ["auth.certificate_file", "auth.private_key_file"];
                self.notes.became(local.line, &keys, "the gateway proves itself by certificate");
                if let Some(trustpoint) = trustpoint {
                    self.notes.became(trustpoint.line, &keys, "export it to these PEM files");
                    if let Some(block) = self.ios.find(Mode::Trustpoint, name) {
                        self.notes.became(block.line, &keys, "export it to these PEM files");
                    }
                }
            }
            "pre-share" if reconnect => self.notes.refuse(local.line, NO_PSK),
            "pre-share" => self.notes.became(local.line, &["auth.psk"], "the key goes to [[auth.psk]]"),
            _ => self
                .notes
                .refuse(local.line, "the gateway proves itself by certificate or pre-shared key only"),
        }
    }

    fn reconnect(&mut self) {
        let profile = self.profile;
        let dpd = profile.last(Key::Dpd).or(self.ios.globals(Key::Dpd).last());
        let Some(reconnect) = profile.last(Key::Reconnect) else {
            // Without reconnect it has become ike.dpd_interval_secs.
            return;
        };
        let timeout = match reconnect.argument(0) {
            "" => Some(RECONNECT_DEFAULT),
            text => text.parse().ok().filter(|secs| RECONNECT_RANGE.contains(secs)),
        };
        let Some(timeout) = timeout else {
            self.notes.refuse(reconnect.line, "the timeout is 600 to 86400 seconds");
            return;
        };
        self.draft.section("[reconnect]");
        self.draft.raw("enabled", true);
        self.draft.raw("timeout_secs", timeout);
        self.notes.became(
            reconnect.line,
            &["reconnect.enabled", "reconnect.timeout_secs"],
            "clients come back with session id and token for that long; DPD is on demand, 45 seconds and 2 between retries, unless told otherwise",
        );
        if let Some(dpd) = dpd {
            for (key, value) in [("dpd_interval_secs", dpd.argument(0)), ("dpd_retry_secs", dpd.argument(1))]
            {
                if value.parse::<u64>().is_ok() {
                    self.draft.raw(key, value);
                }
            }
            let why = match dpd.argument(2) {
                "on-demand" => "the gateway asks only clients that ask themselves",
                _ => {
                    "with reconnect it is always on demand: the gateway asks only clients that ask themselves"
                }
            };
            self.notes.became(dpd.line, &["reconnect.dpd_interval_secs", "reconnect.dpd_retry_secs"], why);
        }
    }
}
