//! IKE and ESP policy: proposals that can be negotiated, limits that make sense.

use super::super::Checks;
use super::super::keys::{RawEsp, RawIke};
use super::super::mistake::Notes;
use super::super::model::{Esp, Ike, Redirect};
use super::super::proposal;
use super::super::schema::At;
use super::no_duplicates;

/// Shortest lifetime of an SA in seconds; a shorter one would rekey faster than a slow peer answers.
const MIN_REKEY_SECS: u64 = 10;
/// Fewest octets of an SA.
const MIN_REKEY_BYTES: u64 = 65_536;
/// Fewest packets of an SA.
const MIN_REKEY_PACKETS: u64 = 1000;

pub(super) fn check_ike(ike: &RawIke, checks: &Checks<'_>, notes: &mut Notes<'_>) {
    if let Some(proposals) = &ike.proposals {
        if proposals.value.is_empty() {
            notes.mistake(
                &proposals.place,
                "is empty",
                "name at least one proposal, or remove the key for the default",
            );
        }
        no_duplicates(&proposals.value, &proposals.place, |p| format!("`{p}`"), notes);
        for text in &proposals.value {
            let checked = match checks.ike_proposal {
                Some(check) => {
                    check(text).map_err(|why| (why, "see `causeway config example` for the names".into()))
                }
                None => proposal::check(text),
            };
            if let Err((why, remedy)) = checked {
                notes.mistake(&proposals.place, format!("`{text}`: {why}"), remedy);
            }
        }
    }
    zero_or_at_least(&ike.rekey_secs, MIN_REKEY_SECS, notes);
    let to = ike.redirect_to.as_ref().and_then(|to| Some((&to.place, to.value.as_deref()?)));
    match (to, &ike.redirect) {
        (Some((place, to)), _) if !is_gateway_name(to) => notes.mistake(
            place,
            format!("`{to}` is neither an IP address nor a DNS name"),
            "write the other gateway's address or its DNS name, for example \"vpn2.example.com\"",
        ),
        (None, Some(redirect)) if redirect.value != Redirect::Full => notes.mistake(
            &redirect.place,
            "there is no gateway to send clients to",
            "name it in `redirect_to`, or remove this key",
        ),
        _ => {}
    }
    if let (Some(threshold), Some(max)) = (&ike.cookie_threshold, &ike.half_open_max)
        && threshold.value > max.value
    {
        notes.mistake(
            &threshold.place,
            format!(
                "{} is above half_open_max = {}, so no cookie is ever asked for",
                threshold.value, max.value
            ),
            format!("write {} or less, or raise half_open_max", max.value),
        );
    }
}

fn is_gateway_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.chars().all(legal);
    text.parse::<std::net::IpAddr>().is_ok() || (text.len() <= 255 && text.split('.').all(label))
}

pub(super) fn check_esp(esp: &RawEsp, notes: &mut Notes<'_>) {
    if let Some(suites) = &esp.suites {
        if suites.value.is_empty() {
            notes.mistake(
                &suites.place,
                "is empty",
                "name at least one suite, or remove the key for the default",
            );
        }
        no_duplicates(&suites.value, &suites.place, |suite| format!("`{suite}`"), notes);
    }
    zero_or_at_least(&esp.rekey_secs, MIN_REKEY_SECS, notes);
    zero_or_at_least(&esp.rekey_bytes, MIN_REKEY_BYTES, notes);
    zero_or_at_least(&esp.rekey_packets, MIN_REKEY_PACKETS, notes);
    if let Some(window) = &esp.replay_window
        && window.value == 0
    {
        notes.warning(&window.place, "replay protection is off", "write 64 or more outside of tests");
    }
}

pub(super) fn ike(raw: RawIke) -> Option<Ike> {
    Some(Ike {
        proposals: raw.proposals?.value,
        rekey_secs: raw.rekey_secs?.value,
        dpd_interval_secs: raw.dpd_interval_secs?.value,
        retransmit_base_ms: raw.retransmit_base_ms?.value,
        retransmit_tries: raw.retransmit_tries?.value,
        half_open_secs: raw.half_open_secs?.value,
        cookie_threshold: raw.cookie_threshold?.value,
        half_open_max: raw.half_open_max?.value,
        fragment_size: raw.fragment_size?.value,
        mobike: raw.mobike?.value,
        childless: raw.childless?.value,
        tickets: raw.tickets?.value,
        ticket_secs: raw.ticket_secs?.value,
        redirect_to: raw.redirect_to?.value,
        redirect: raw.redirect?.value,
        redirect_grace_secs: raw.redirect_grace_secs?.value,
    })
}

pub(super) fn esp(raw: RawEsp) -> Option<Esp> {
    Some(Esp {
        suites: raw.suites?.value,
        prefer_esn: raw.prefer_esn?.value,
        rekey_secs: raw.rekey_secs?.value,
        rekey_bytes: raw.rekey_bytes?.value,
        rekey_packets: raw.rekey_packets?.value,
        replay_window: raw.replay_window?.value,
    })
}

pub(super) fn zero_or_at_least(at: &Option<At<u64>>, least: u64, notes: &mut Notes<'_>) {
    if let Some(at) = at
        && at.value > 0
        && at.value < least
    {
        notes.mistake(
            &at.place,
            format!("{} is too small", at.value),
            format!("write {least} or more, or 0 for none"),
        );
    }
}
