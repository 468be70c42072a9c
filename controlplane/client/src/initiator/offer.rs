//! SA payloads that we offer, and what we take from a gateway's offer (RFC 7296 §2.7, §3.3).

use causeway_ike::suite::{EspPolicy, EspProposal, EspSuite, Group, IkeProposal};
use causeway_ike::wire::{Sa, TrafficSelector, TsRange};

pub(super) fn ike(proposals: &[IkeProposal]) -> Sa {
    Sa { proposals: (1..=u8::MAX).zip(proposals).map(|(number, p)| p.to_wire(number, &[])).collect() }
}

pub(super) fn esp(proposals: &[EspProposal], spi: u32) -> Sa {
    Sa { proposals: (1..=u8::MAX).zip(proposals).map(|(number, p)| p.to_wire(number, spi)).collect() }
}

/// Every proposal with this group alone, or without one: as IKE_AUTH and a rekey without fresh key exchange need it.
pub(super) fn with_group(proposals: &[EspProposal], group: Option<Group>) -> Vec<EspProposal> {
    let groups: Vec<Group> = group.into_iter().collect();
    proposals.iter().map(|proposal| EspProposal { groups: groups.clone(), ..proposal.clone() }).collect()
}

/// The group of a fresh key exchange in a rekey of ours: the first that we propose.
pub(super) fn rekey_group(proposals: &[EspProposal]) -> Option<Group> {
    proposals.iter().find_map(|proposal| proposal.groups.first().copied())
}

/// Whether extended sequence numbers (or short ones) are among what we propose.
pub(super) fn may_be_esn(proposals: &[EspProposal], esn: bool) -> bool {
    proposals.iter().any(|proposal| proposal.esn.contains(&esn))
}

/// Selectors of a whole family, or of both: the gateway narrows them to what it grants.
pub(super) fn everything(ipv6: bool) -> Vec<TrafficSelector> {
    let v6 = ipv6.then(TsRange::any_ipv6);
    [Some(TsRange::any_ipv4()), v6].into_iter().flatten().map(TrafficSelector::Range).collect()
}

/// What a gateway that rekeys may choose.
pub(super) fn policy(proposals: &[EspProposal]) -> EspPolicy {
    let suites = proposals.iter().flat_map(|proposal| {
        proposal.ciphers.iter().flat_map(|cipher| {
            let integs: Vec<_> = match proposal.integs.is_empty() {
                true => vec![None],
                false => proposal.integs.iter().copied().map(Some).collect(),
            };
            integs.into_iter().map(|integ| EspSuite { cipher: *cipher, integ })
        })
    });
    EspPolicy {
        suites: suites.collect(),
        prefer_esn: may_be_esn(proposals, true),
        groups: proposals.iter().flat_map(|proposal| proposal.groups.clone()).collect(),
        require_pfs: !proposals.is_empty() && proposals.iter().all(|proposal| !proposal.groups.is_empty()),
    }
}
