//! Algorithms and lifetimes. Enters: IKEv2 policies and proposals, transform sets and IPsec profiles. Leaves: `[ike]` and
//! `[esp]`, with IOS's defaults written out where they are not Causeway's.

use super::super::grammar::{Key, Mode};
use super::super::parse::{Block, Setting};
use super::Work;
use super::network::Chain;

/// IOS's life of an IKE SA, seconds.
const IKE_LIFETIME: u64 = 86_400;
/// IOS's life of a Child SA, seconds.
const CHILD_LIFETIME: u64 = 3600;
/// IOS's life of a Child SA, kilobytes.
const CHILD_KILOBYTES: u64 = 4_608_000;
/// Most proposals of a configuration.
const MAX_PROPOSALS: usize = 32;
/// The proposal that is in force without any of one's own.
const DEFAULT_PROPOSAL: &str = "default";

/// One proposal, in IOS's words.
struct Transforms {
    encryption: Vec<String>,
    integrity: Vec<String>,
    prf: Vec<String>,
    group: Vec<String>,
}

pub(super) fn ike(work: &mut Work<'_>) {
    let (ios, profile) = (work.ios, work.profile);
    let mut proposals: Vec<String> = Vec::new();
    for name in names(work) {
        for proposal in proposal(work, &name) {
            if !proposals.contains(&proposal) {
                proposals.push(proposal);
            }
        }
    }
    if proposals.is_empty() {
        work.notes.refuse(profile.line, "no IKEv2 proposal is left that can be offered; see the lines above");
    }
    if proposals.len() > MAX_PROPOSALS {
        let line = ios.blocks(Mode::Proposal).next().map_or(profile.line, |block| block.line);
        work.notes.refuse(
            line,
            format!(
                "{} combinations of algorithms, {MAX_PROPOSALS} are possible; leave out the weaker ones",
                proposals.len()
            ),
        );
    }
    work.draft.section("[ike]");
    work.draft.list("proposals", &proposals);
    let lifetime = profile.last(Key::IkeLifetime);
    let secs = lifetime.and_then(|setting| setting.argument(0).parse().ok()).unwrap_or(IKE_LIFETIME);
    work.draft.raw("rekey_secs", secs);
    if let Some(lifetime) = lifetime {
        work.notes.became(
            lifetime.line,
            &["ike.rekey_secs"],
            "the gateway gives the IKE SA new keys at this age",
        );
    }
    if let Some(dpd) = profile.last(Key::Dpd).or(ios.globals(Key::Dpd).last())
        && profile.last(Key::Reconnect).is_none()
        && let Ok(interval) = dpd.argument(0).parse::<u64>()
    {
        work.draft.raw("dpd_interval_secs", interval);
        work.notes.became(
            dpd.line,
            &["ike.dpd_interval_secs"],
            "asked whenever nothing comes from the client for that long",
        );
    }
    for (key, name) in [
        (Key::FragmentSize, "fragment_size"),
        (Key::CookieThreshold, "cookie_threshold"),
        (Key::HalfOpenMax, "half_open_max"),
    ] {
        let Some(setting) = ios.globals(key).last() else { continue };
        match setting.argument(0).parse::<u32>() {
            Ok(number) if key != Key::FragmentSize || (576..=1500).contains(&number) => {
                work.draft.raw(name, number);
                work.notes.became(setting.line, &[&format!("ike.{name}")], "the same");
            }
            _ => work.notes.lacks(setting.line, format!("ike.{name} cannot have this value")),
        }
    }
}

/// Proposals in the order of the policies; IOS's default policy names the default proposal.
fn names(work: &mut Work<'_>) -> Vec<String> {
    let ios = work.ios;
    let mut names: Vec<String> = Vec::new();
    for policy in ios.blocks(Mode::IkePolicy) {
        work.notes.became(policy.line, &["ike.proposals"], "it says which proposals count, in order");
        for setting in policy.all(Key::MatchFvrf) {
            work.fvrf(setting);
        }
        for setting in policy.all(Key::ProposalName) {
            work.notes.became(setting.line, &["ike.proposals"], "the proposal's combinations stand there");
            names.push(setting.argument(0).to_owned());
        }
    }
    if names.is_empty() {
        names.push(DEFAULT_PROPOSAL.to_owned());
    }
    names
}

/// Every combination of a proposal's algorithms, in the order of preference.
fn proposal(work: &mut Work<'_>, name: &str) -> Vec<String> {
    let transforms = match work.ios.find(Mode::Proposal, name) {
        Some(block) => {
            work.notes.became(
                block.line,
                &["ike.proposals"],
                "each combination became one proposal, first choices first",
            );
            Transforms {
                encryption: known(work, block, Key::Encryption, encryption),
                integrity: known(work, block, Key::Integrity, hash),
                prf: known(work, block, Key::Prf, hash),
                group: known(work, block, Key::Group, group),
            }
        }
        // IOS-XE's built-in proposal.
        None if name == DEFAULT_PROPOSAL => {
            let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
            Transforms {
                encryption: list(&["aes256"]),
                integrity: list(&["sha512", "sha384"]),
                prf: Vec::new(),
                group: list(&["ecp256", "modp2048", "ecp521"]),
            }
        }
        None => {
            for policy in work.ios.blocks(Mode::IkePolicy) {
                for setting in policy.all(Key::ProposalName).filter(|setting| setting.argument(0) == name) {
                    work.notes.refuse(setting.line, "there is no `crypto ikev2 proposal` of this name");
                }
            }
            return Vec::new();
        }
    };
    let mut proposals = Vec::new();
    for cipher in &transforms.encryption {
        let aead = cipher.contains("gcm");
        let integrity = if aead { vec![""] } else { words(&transforms.integrity) };
        for hash in integrity {
            let prfs: Vec<String> = match transforms.prf.as_slice() {
                [] if aead => transforms.integrity.iter().map(|hash| format!("-prf{hash}")).collect(),
                [] => vec![String::new()],
                prfs => prfs
                    .iter()
                    .map(|prf| if prf == hash { String::new() } else { format!("-prf{prf}") })
                    .collect(),
            };
            for prf in prfs {
                for group in &transforms.group {
                    let integrity = if hash.is_empty() { String::new() } else { format!("-{hash}") };
                    proposals.push(format!("{cipher}{integrity}{prf}-{group}"));
                }
            }
        }
    }
    proposals
}

fn words(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

/// The algorithms of one line that there are, in their order; the line says which ones there are not.
fn known(
    work: &mut Work<'_>,
    block: &Block,
    key: Key,
    name: fn(&str) -> Option<&'static str>,
) -> Vec<String> {
    let Some(setting) = block.last(key) else { return Vec::new() };
    let (mut taken, mut left): (Vec<String>, Vec<&str>) = (Vec::new(), Vec::new());
    for word in setting.arguments.iter() {
        match name(word) {
            Some(name) => taken.push(name.to_owned()),
            None => left.push(word),
        }
    }
    let lost = format!("left out, too weak or not there: {}", left.join(", "));
    match (taken.is_empty(), left.is_empty()) {
        (true, _) => work.notes.lacks(setting.line, lost),
        (false, true) => work.notes.became(setting.line, &["ike.proposals"], "the same algorithms"),
        (false, false) => work.notes.became(setting.line, &["ike.proposals"], lost),
    }
    taken
}

fn encryption(word: &str) -> Option<&'static str> {
    Some(match word {
        "aes-cbc-128" => "aes128",
        "aes-cbc-192" => "aes192",
        "aes-cbc-256" => "aes256",
        "aes-gcm-128" => "aes128gcm16",
        "aes-gcm-256" => "aes256gcm16",
        _ => return None,
    })
}

fn hash(word: &str) -> Option<&'static str> {
    ["sha256", "sha384", "sha512"].into_iter().find(|known| *known == word)
}

fn group(word: &str) -> Option<&'static str> {
    Some(match word {
        "14" => "modp2048",
        "19" => "ecp256",
        "20" => "ecp384",
        "21" => "ecp521",
        _ => return None,
    })
}

pub(super) fn esp(work: &mut Work<'_>, chain: &Chain<'_>) {
    let ios = work.ios;
    work.draft.section("[esp]");
    let Some(ipsec) = chain.ipsec else {
        work.notes.refuse(
            work.profile.line,
            "no `crypto ipsec profile` refers to this profile, so nothing says how packets are protected",
        );
        return;
    };
    work.notes.became(ipsec.line, &["esp.suites"], "the suites of its transform sets");
    let mut suites: Vec<String> = Vec::new();
    let mut esn = false;
    for setting in ipsec.all(Key::TransformSets) {
        for name in setting.arguments.iter() {
            let Some(set) = ios.find(Mode::TransformSet, name) else {
                work.notes.refuse(setting.line, format!("there is no transform set `{name}`"));
                continue;
            };
            work.notes.became(setting.line, &["esp.suites"], "in this order");
            for esn_setting in set.all(Key::Esn) {
                esn = true;
                work.notes.became(
                    esn_setting.line,
                    &["esp.prefer_esn"],
                    "extended sequence numbers are chosen",
                );
            }
            match suite(&set.arguments) {
                Some(suite) => {
                    work.notes.became(set.line, &["esp.suites"], format!("it is `{suite}`"));
                    if !suites.contains(&suite) {
                        suites.push(suite);
                    }
                }
                None => work.notes.lacks(
                    set.line,
                    "only AES-GCM (128, 256) and AES-CBC with SHA-2 (256, 384, 512) protect packets; others are too weak or not there",
                ),
            }
        }
    }
    if suites.is_empty() {
        work.notes.refuse(
            ipsec.line,
            "none of its transform sets can be used (IOS's default one has SHA-1); name one with esp-gcm or SHA-2",
        );
    }
    work.draft.list("suites", &suites);
    work.draft.raw("prefer_esn", esn);
    let number = |key| -> Option<(&Setting, u64)> {
        let setting = ipsec.last(key).or(ios.globals(key).last())?;
        let number = if setting.argument(0) == "disable" { 0 } else { setting.argument(0).parse().ok()? };
        Some((setting, number))
    };
    let secs = number(Key::SaSeconds);
    work.draft.raw("rekey_secs", secs.map_or(CHILD_LIFETIME, |(_, secs)| secs));
    if let Some((setting, _)) = secs {
        work.notes.became(
            setting.line,
            &["esp.rekey_secs"],
            "the gateway gives the Child SA new keys at this age",
        );
    }
    let kilobytes = number(Key::SaKilobytes);
    work.draft
        .raw("rekey_bytes", kilobytes.map_or(CHILD_KILOBYTES, |(_, number)| number).saturating_mul(1024));
    if let Some((setting, _)) = kilobytes {
        work.notes.became(setting.line, &["esp.rekey_bytes"], "in octets: times 1024");
    }
    if let Some((setting, window)) = number(Key::ReplayWindow) {
        work.draft.raw("replay_window", window);
        work.notes.became(setting.line, &["esp.replay_window"], "the same");
    }
}

/// The suite of a transform set's words, e.g. `esp-aes 256 esp-sha384-hmac`.
fn suite(words: &[String]) -> Option<String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (bits, rest) = match words.get(1).and_then(|bits| bits.parse::<u16>().ok()) {
        Some(bits) => (bits, words.get(2..)?),
        // IOS's key length where none is told.
        None => (128, words.get(1..)?),
    };
    match (*words.first()?, bits, rest) {
        ("esp-gcm", 128, []) => Some("aes128gcm16".into()),
        ("esp-gcm", 256, []) => Some("aes256gcm16".into()),
        ("esp-aes", 128 | 192 | 256, [hash]) => {
            let hash = hash.strip_prefix("esp-")?.strip_suffix("-hmac")?;
            Some(format!("aes{bits}-{}", self::hash(hash)?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use causeway_shared::sa::EspSuite;

    use super::*;

    #[test]
    fn transform_sets_become_suites_that_there_are() {
        for (set, expected) in [
            ("esp-aes 256 esp-sha384-hmac", Some("aes256-sha384")),
            ("esp-aes esp-sha256-hmac", Some("aes128-sha256")),
            ("esp-aes 192 esp-sha512-hmac", Some("aes192-sha512")),
            ("esp-gcm 256", Some("aes256gcm16")),
            ("esp-gcm", Some("aes128gcm16")),
            ("esp-gcm 192", None),
            ("esp-gcm 256 esp-sha256-hmac", None),
            ("esp-aes 256 esp-sha-hmac", None),
            ("esp-aes 256", None),
            ("esp-3des esp-sha256-hmac", None),
            ("esp-null esp-sha256-hmac", None),
            ("", None),
        ] {
            let words: Vec<String> = set.split_whitespace().map(str::to_owned).collect();
            let found = suite(&words);
            assert_eq!(found.as_deref(), expected, "{set}");
            assert!(found.is_none_or(|name| EspSuite::ALL.iter().any(|suite| suite.name() == name)), "{set}");
        }
    }
}
