//! Configuration attributes that only Cisco's clients ask for (RFC 7296 §3.15.1, private use).
//!
//! Enters: the attributes of a CFG_REQUEST, what the session was granted. Leaves: those of the CFG_REPLY. Nothing is
//! answered that was not asked for, so a client that knows none of them sees none.

use std::time::Duration;

use causeway_shared::config::ReconnectAttributes;

use crate::store::{DurableId, Token};

/// INTERNAL_DNS_DOMAIN (RFC 8598 §3.1).
pub const INTERNAL_DNS_DOMAIN: u16 = 25;
/// Unity: text for the connected client.
pub const BANNER: u16 = 28_672;
/// Unity: default domain.
pub const DEF_DOMAIN: u16 = 28_674;
/// Unity: domains that are looked up through the tunnel, separated by commas.
pub const SPLITDNS_NAME: u16 = 28_675;
/// First type of private use; from here on every attribute is logged, so that one capture settles what it is.
pub const FIRST_PRIVATE: u16 = 16_384;
/// Attributes of one request that are logged.
pub const MAX_PROBED: usize = 64;
/// Octets of each that are logged.
pub const MAX_PROBED_OCTETS: usize = 64;

/// An attribute: type and value.
pub type Attribute = (u16, Vec<u8>);

/// What a session is told to come back with.
pub struct ReconnectGrant<'a> {
    /// Its id.
    pub id: DurableId,
    /// Its token.
    pub token: &'a Token,
    /// How long it waits for its client.
    pub cleanup: Duration,
    /// After how much silence it begins to wait.
    pub dpd_interval: Duration,
}

/// Whether the client asks for what it needs to come back: an id and a token.
pub fn wants_reconnect(numbers: &ReconnectAttributes, requested: &[Attribute]) -> bool {
    is_requested(requested, numbers.session_id) && is_requested(requested, numbers.token)
}

/// Whether the client asks for this.
pub fn is_requested(requested: &[Attribute], number: u16) -> bool {
    requested.iter().any(|(kind, _)| *kind == number)
}

/// The reconnect attributes of the reply.
pub fn reconnect_reply(
    numbers: &ReconnectAttributes,
    requested: &[Attribute],
    grant: &ReconnectGrant<'_>,
) -> Vec<Attribute> {
    let secs =
        |interval: Duration| u32::try_from(interval.as_secs()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
    let all = [
        (numbers.session_id, grant.id.as_bytes().to_vec()),
        (numbers.token, grant.token.as_bytes().to_vec()),
        (numbers.cleanup_interval, secs(grant.cleanup)),
        (numbers.dpd_interval, secs(grant.dpd_interval)),
    ];
    all.into_iter().filter(|(kind, _)| is_requested(requested, *kind)).collect()
}

/// Domain, domains for split DNS and banner, for who asks. The default domain is looked up through the tunnel, too.
pub fn policy_reply(
    requested: &[Attribute],
    domain: Option<&str>,
    split_dns: &[String],
    banner: Option<&str>,
) -> Vec<Attribute> {
    let joined = (!split_dns.is_empty()).then(|| split_dns.join(","));
    let more = split_dns.iter().map(String::as_str).filter(|name| Some(*name) != domain);
    // RFC 8598 §3.1: one attribute for each domain.
    let internal = domain.into_iter().chain(more).map(|name| (INTERNAL_DNS_DOMAIN, Some(name)));
    let texts = [(DEF_DOMAIN, domain), (SPLITDNS_NAME, joined.as_deref()), (BANNER, banner)];
    internal
        .chain(texts)
        .filter(|(kind, _)| is_requested(requested, *kind))
        .filter_map(|(kind, text)| Some((kind, text?.as_bytes().to_vec())))
        .collect()
}

/// One line for the log for every private attribute of a request: type, length, the first octets in hex.
pub fn probe(requested: &[Attribute]) -> impl Iterator<Item = (u16, usize, String)> + '_ {
    let private = requested.iter().filter(|(kind, _)| *kind >= FIRST_PRIVATE).take(MAX_PROBED);
    private.map(|(kind, value)| {
        let hex = value.iter().take(MAX_PROBED_OCTETS).map(|octet| format!("{octet:02x}")).collect();
        (*kind, value.len(), hex)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAB: ReconnectAttributes = ReconnectAttributes::LAB;

    fn asked(numbers: &[u16]) -> Vec<Attribute> {
        numbers.iter().map(|number| (*number, vec![])).collect()
    }

    #[test]
    fn only_what_was_asked_for_is_answered() {
        let token = Token::new(b"T".repeat(64)).unwrap();
        let id = DurableId::parse(b"rIUHKccDRiUtFTATwq").unwrap();
        let (cleanup, dpd_interval) = (Duration::from_secs(900), Duration::from_secs(45));
        let grant = ReconnectGrant { id, token: &token, cleanup, dpd_interval };
        let id = (LAB.session_id, b"rIUHKccDRiUtFTATwq".to_vec());
        let token = (LAB.token, b"T".repeat(64));
        let cleanup = (LAB.cleanup_interval, vec![0, 0, 3, 132]);
        let interval = (LAB.dpd_interval, vec![0, 0, 0, 45]);
        for (request, expected) in [
            (vec![], vec![]),
            (vec![1, 2, 3, BANNER], vec![]),
            (vec![1, LAB.token, LAB.session_id], vec![id.clone(), token.clone()]),
            (vec![LAB.dpd_interval, LAB.cleanup_interval], vec![cleanup, interval]),
            (vec![LAB.session_data], vec![]),
        ] {
            assert_eq!(reconnect_reply(&LAB, &asked(&request), &grant), expected, "{request:?}");
        }
    }

    #[test]
    fn who_asks_for_one_half_only_cannot_come_back() {
        for (request, wants) in [
            (vec![LAB.session_id, LAB.token], true),
            (vec![LAB.session_id], false),
            (vec![LAB.token], false),
            (vec![1, 2, 28_672], false),
        ] {
            assert_eq!(wants_reconnect(&LAB, &asked(&request)), wants);
        }
    }

    #[test]
    fn domain_and_banner_go_to_who_asks_if_there_are_any() {
        let reply = |request: &[u16], domain, banner| policy_reply(&asked(request), domain, &[], banner);
        let all = [INTERNAL_DNS_DOMAIN, BANNER, DEF_DOMAIN];
        assert_eq!(reply(&all, None, None), []);
        assert_eq!(reply(&[], Some("x.test"), Some("hi")), []);
        assert_eq!(
            reply(&all, Some("x.test"), Some("hi")),
            [
                (INTERNAL_DNS_DOMAIN, b"x.test".to_vec()),
                (DEF_DOMAIN, b"x.test".to_vec()),
                (BANNER, b"hi".to_vec())
            ]
        );
    }

    #[test]
    fn each_domain_is_an_attribute_and_all_are_one_of_ciscos() {
        let split: Vec<_> = ["x.test", "y.test", "z.test"].map(str::to_owned).into();
        let reply = |domain, split: &[String]| {
            let asked = asked(&[INTERNAL_DNS_DOMAIN, DEF_DOMAIN, SPLITDNS_NAME]);
            let told = policy_reply(&asked, domain, split, None).into_iter();
            told.map(|(kind, text)| format!("{kind} {}", String::from_utf8(text).unwrap()))
                .collect::<Vec<_>>()
        };
        for (domain, split, expected) in [
            (
                Some("a.test"),
                &split[1..],
                &["25 a.test", "25 y.test", "25 z.test", "28674 a.test", "28675 y.test,z.test"][..],
            ),
            (Some("x.test"), &split[..2], &["25 x.test", "25 y.test", "28674 x.test", "28675 x.test,y.test"]),
            (None, &split[2..], &["25 z.test", "28675 z.test"]),
            (None, &[], &[]),
        ] {
            assert_eq!(reply(domain, split), expected);
        }
    }

    #[test]
    fn private_attributes_are_shown_within_bounds() {
        let request = [(1, vec![]), (28_711, vec![5, 0x7e]), (16_384, vec![0xaa; 1000])];
        let lines: Vec<_> = probe(&request).collect();
        assert_eq!(lines[0], (28_711, 2, "057e".to_owned()));
        assert_eq!((lines[1].0, lines[1].1, lines[1].2.len()), (16_384, 1000, 2 * MAX_PROBED_OCTETS));
        assert_eq!(probe(&asked(&[20_000; 1000])).count(), MAX_PROBED);
    }
}
