//! Negotiation (RFC 7296 §2.7, §3.3.6): policy and a peer's offer in, one suite and the answer out.
//!
//! Policy's order decides before the offer's; but a proposal with the group of the KE payload that came along wins over
//! one that would cost another round trip. Unknown transforms are passed over, unknown transform types and attributes
//! make what carries them unacceptable, as §3.3.6 asks.

use super::algorithm::{Cipher, Group, Integ, TRANSFORM_NONE};
use super::kem::{self, Kem, Kems};
use super::proposal::{EspProposal, EspSuite, IkeProposal, IkeSuite, esn_transform};
use crate::wire::{IkeSpi, Proposal, ProtocolId, Sa, Transform, TransformType};

/// A negotiated IKE SA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IkeChoice {
    /// The suite.
    pub suite: IkeSuite,
    /// The peer's new SPI; `None` in IKE_SA_INIT, where the header has it.
    pub peer_spi: Option<IkeSpi>,
    answer: Proposal,
}

/// What Child SAs may use.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EspPolicy {
    /// Suites in order of preference.
    pub suites: Vec<EspSuite>,
    /// Whether extended sequence numbers are chosen when the peer offers both.
    pub prefer_esn: bool,
    /// Groups accepted for perfect forward secrecy, in order of preference.
    pub groups: Vec<Group>,
    /// Whether a Child SA of CREATE_CHILD_SA must have a fresh key exchange.
    pub require_pfs: bool,
}

/// What came beside an ESP offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChildKe {
    /// IKE_AUTH: no key exchange is possible, groups in the offer are passed over (RFC 7296 §1.2).
    Impossible,
    /// CREATE_CHILD_SA without a KE payload.
    Absent,
    /// CREATE_CHILD_SA with a KE payload of this group.
    Present(u16),
}

/// A negotiated Child SA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EspChoice {
    /// The suite.
    pub suite: EspSuite,
    /// Whether sequence numbers are extended.
    pub esn: bool,
    /// The group of the fresh key exchange, if there is one.
    pub group: Option<Group>,
    /// The SPI that the peer chose for packets to it.
    pub peer_spi: u32,
    answer: Proposal,
}

/// Why there is no choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// NO_PROPOSAL_CHOSEN.
    #[error("no proposal is acceptable")]
    NoProposalChosen,
    /// INVALID_KE_PAYLOAD: an offer is acceptable, but with another group than the KE payload's.
    #[error("key exchange must use {}", .wanted.name())]
    InvalidKe {
        /// The group to use.
        wanted: Group,
    },
}

impl IkeChoice {
    /// The SA payload that answers the offer; `spi` is empty in IKE_SA_INIT, our new SPI in a rekey.
    pub fn answer(&self, spi: &[u8]) -> Sa {
        Sa { proposals: vec![Proposal { spi: spi.to_vec(), ..self.answer.clone() }] }
    }
}

impl EspChoice {
    /// The SA payload that answers the offer, with our inbound SPI.
    pub fn answer(&self, inbound_spi: u32) -> Sa {
        Sa { proposals: vec![Proposal { spi: inbound_spi.to_be_bytes().to_vec(), ..self.answer.clone() }] }
    }
}

/// What an IKE SA is chosen for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IkeStage {
    /// IKE_SA_INIT.
    Initial {
        /// Whether additional key exchanges can follow: the peer knows IKE_INTERMEDIATE (RFC 9242).
        additional_kes: bool,
    },
    /// CREATE_CHILD_SA; proposals carry SPIs, and IKE_FOLLOWUP_KE can follow (RFC 9370 §2.2.4).
    Rekey,
}

impl IkeStage {
    fn is_rekey(self) -> bool {
        self == IkeStage::Rekey
    }

    fn additional_kes(self) -> bool {
        self != IkeStage::Initial { additional_kes: false }
    }
}

/// Chooses for a new IKE SA. `ke_group` is that of the offer's KE payload.
///
/// # Errors
/// [`SelectError`], each with its notify.
pub fn select_ike(
    policy: &[IkeProposal],
    offer: &Sa,
    ke_group: u16,
    stage: IkeStage,
) -> Result<IkeChoice, SelectError> {
    let search = |only: Option<Group>| {
        let pairs = policy.iter().flat_map(|ours| offer.proposals.iter().map(move |theirs| (ours, theirs)));
        pairs
            .filter(|(_, theirs)| theirs.protocol == ProtocolId::Ike)
            .filter(|(_, theirs)| {
                if stage.is_rekey() {
                    theirs.ike_spi().is_some_and(|spi| !spi.is_zero())
                } else {
                    theirs.spi.is_empty()
                }
            })
            .find_map(|(ours, theirs)| match_ike(ours, theirs, only, stage.additional_kes()))
    };
    if let Some(choice) = Group::from_number(ke_group).and_then(|group| search(Some(group))) {
        return Ok(choice);
    }
    let other = search(None).ok_or(SelectError::NoProposalChosen)?;
    Err(SelectError::InvalidKe { wanted: other.suite.group })
}

/// Chooses for a new Child SA.
///
/// # Errors
/// [`SelectError`], each with its notify.
pub fn select_esp(policy: &EspPolicy, offer: &Sa, ke: ChildKe) -> Result<EspChoice, SelectError> {
    let search = |wanted: Wanted| {
        let pairs =
            policy.suites.iter().flat_map(|ours| offer.proposals.iter().map(move |theirs| (*ours, theirs)));
        pairs
            .filter(|(_, theirs)| theirs.protocol == ProtocolId::Esp)
            .find_map(|(ours, theirs)| match_esp(policy, ours, theirs, wanted))
    };
    let at_once = match ke {
        ChildKe::Impossible => search(Wanted::Ignored),
        ChildKe::Present(number) => Group::from_number(number)
            .and_then(|group| search(Wanted::Group(group)))
            .or_else(|| search(Wanted::NoGroup)),
        ChildKe::Absent => search(Wanted::NoGroup),
    };
    if let Some(choice) = at_once {
        return Ok(choice);
    }
    match search(Wanted::AnyGroup).and_then(|choice| choice.group) {
        Some(wanted) if ke != ChildKe::Impossible => Err(SelectError::InvalidKe { wanted }),
        _ => Err(SelectError::NoProposalChosen),
    }
}

/// As initiator: reads the responder's answer to `offer`. `None` when it is not a choice from the offer.
pub fn accept_ike_answer(offer: &[IkeProposal], answer: &Sa, rekey: bool) -> Option<IkeChoice> {
    let [theirs] = answer.proposals.as_slice() else { return None };
    let ours = usize::from(theirs.number).checked_sub(1).and_then(|index| offer.get(index))?;
    let spi_fits =
        if rekey { theirs.ike_spi().is_some_and(|spi| !spi.is_zero()) } else { theirs.spi.is_empty() };
    if theirs.protocol != ProtocolId::Ike || !spi_fits || !one_of_each(theirs) {
        return None;
    }
    match_ike(ours, theirs, None, true)
}

/// As initiator: reads the responder's answer to `offer`. `None` when it is not a choice from the offer.
pub fn accept_esp_answer(offer: &[EspProposal], answer: &Sa) -> Option<EspChoice> {
    let [theirs] = answer.proposals.as_slice() else { return None };
    let ours = usize::from(theirs.number).checked_sub(1).and_then(|index| offer.get(index))?;
    if theirs.protocol != ProtocolId::Esp || !one_of_each(theirs) {
        return None;
    }
    let (cipher, integ) = match_encryption(theirs, &ours.ciphers, &ours.integs)?;
    let esn = *ours.esn.iter().find(|esn| offers(theirs, &esn_transform(**esn)))?;
    let group = match ours.groups.iter().find(|group| offers(theirs, &group.transform())) {
        Some(group) => Some(*group),
        None if ours.groups.is_empty() && lacks_or_none(theirs, TransformType::Dh) => None,
        None => return None,
    };
    let peer_spi = theirs.esp_spi()?;
    Some(EspChoice { suite: EspSuite { cipher, integ }, esn, group, peer_spi, answer: theirs.clone() })
}

/// Which groups are acceptable in an ESP proposal.
#[derive(Clone, Copy)]
enum Wanted {
    /// Whatever the offer says, there will be none.
    Ignored,
    /// None.
    NoGroup,
    /// This one.
    Group(Group),
    /// Any of the policy.
    AnyGroup,
}

fn match_ike(
    ours: &IkeProposal,
    theirs: &Proposal,
    only: Option<Group>,
    additional_kes: bool,
) -> Option<IkeChoice> {
    let basic = [TransformType::Encr, TransformType::Prf, TransformType::Integ, TransformType::Dh];
    if !only_types(theirs, &[&basic[..], &kem::ADDITIONAL].concat()) {
        return None;
    }
    let (kems, kem_answer) = match_kems(ours, theirs, additional_kes)?;
    let (cipher, integ) = match_encryption(theirs, &ours.ciphers, &ours.integs)?;
    let prf = *ours.prfs.iter().find(|prf| offers(theirs, &prf.transform()))?;
    let group = *ours
        .groups
        .iter()
        .find(|group| only.is_none_or(|only| **group == only) && offers(theirs, &group.transform()))?;
    let transforms = encryption_answer(theirs, cipher, integ)
        .chain([prf.transform(), group.transform()])
        .chain(kem_answer)
        .collect();
    let answer = Proposal { number: theirs.number, protocol: ProtocolId::Ike, spi: Vec::new(), transforms };
    let suite = IkeSuite { cipher, integ, prf, group, kems };
    Some(IkeChoice { suite, peer_spi: theirs.ike_spi(), answer })
}

/// For each additional key exchange that either side names: the first choice of ours that they offer, each method once.
fn match_kems(ours: &IkeProposal, theirs: &Proposal, additional_kes: bool) -> Option<(Kems, Vec<Transform>)> {
    let mut kems = Kems::NONE;
    let mut answer = Vec::new();
    for (index, kind) in kem::ADDITIONAL.into_iter().enumerate() {
        let offered = theirs.transforms.iter().any(|t| t.kind == kind);
        // What a side does not name, it does without.
        let choices = ours.kems.get(index).map_or(&[None][..], Vec::as_slice);
        let fits = |choice: &&Option<Kem>| match choice {
            None => !offered || offers(theirs, &kem::transform(kind, None)),
            Some(kem) => {
                additional_kes
                    && kems.and(*kem).is_some()
                    && offers(theirs, &kem::transform(kind, Some(*kem)))
            }
        };
        let choice = *choices.iter().find(fits)?;
        if let Some(kem) = choice {
            kems = kems.and(kem)?;
        }
        answer.extend(offered.then(|| kem::transform(kind, choice)));
    }
    Some((kems, answer))
}

fn match_esp(policy: &EspPolicy, ours: EspSuite, theirs: &Proposal, wanted: Wanted) -> Option<EspChoice> {
    if !only_types(
        theirs,
        &[TransformType::Encr, TransformType::Integ, TransformType::Dh, TransformType::Esn],
    ) {
        return None;
    }
    let (cipher, integ) = match_encryption(theirs, &[ours.cipher], ours.integ.as_slice())?;
    let esn = [policy.prefer_esn, !policy.prefer_esn]
        .into_iter()
        .find(|esn| offers(theirs, &esn_transform(*esn)))?;
    let offered = |group: &&Group| offers(theirs, &group.transform());
    let group = match wanted {
        Wanted::Ignored => None,
        Wanted::NoGroup if policy.require_pfs || !lacks_or_none(theirs, TransformType::Dh) => return None,
        Wanted::NoGroup => None,
        Wanted::Group(group) if !policy.groups.contains(&group) => return None,
        Wanted::Group(group) => Some(*Some(&group).filter(offered)?),
        Wanted::AnyGroup => Some(*policy.groups.iter().find(offered)?),
    };
    // An offered NONE is echoed: the answer has one transform of each type offered (§2.7).
    let group_answer = match group {
        Some(group) => Some(group.transform()),
        None => none_of(theirs, TransformType::Dh).filter(|_| !matches!(wanted, Wanted::Ignored)),
    };
    let transforms =
        encryption_answer(theirs, cipher, integ).chain(group_answer).chain([esn_transform(esn)]).collect();
    let peer_spi = theirs.esp_spi()?;
    let answer = Proposal { number: theirs.number, protocol: ProtocolId::Esp, spi: Vec::new(), transforms };
    Some(EspChoice { suite: EspSuite { cipher, integ }, esn, group, peer_spi, answer })
}

/// The first cipher of ours that is offered, with the first integrity algorithm or, for an AEAD, none.
fn match_encryption(
    theirs: &Proposal,
    ciphers: &[Cipher],
    integs: &[Integ],
) -> Option<(Cipher, Option<Integ>)> {
    ciphers.iter().filter(|cipher| offers(theirs, &cipher.transform())).find_map(|cipher| {
        if cipher.is_aead() {
            return lacks_or_none(theirs, TransformType::Integ).then_some((*cipher, None));
        }
        let integ = integs.iter().find(|integ| offers(theirs, &integ.transform()))?;
        Some((*cipher, Some(*integ)))
    })
}

fn encryption_answer(
    theirs: &Proposal,
    cipher: Cipher,
    integ: Option<Integ>,
) -> impl Iterator<Item = Transform> + use<> {
    let integ = match integ {
        Some(integ) => Some(integ.transform()),
        None => none_of(theirs, TransformType::Integ),
    };
    [cipher.transform()].into_iter().chain(integ)
}

fn offers(theirs: &Proposal, transform: &Transform) -> bool {
    theirs.transforms.contains(transform)
}

fn lacks_or_none(theirs: &Proposal, kind: TransformType) -> bool {
    !theirs.transforms.iter().any(|t| t.kind == kind) || none_of(theirs, kind).is_some()
}

fn none_of(theirs: &Proposal, kind: TransformType) -> Option<Transform> {
    Some(Transform::new(kind, TRANSFORM_NONE)).filter(|none| offers(theirs, none))
}

fn one_of_each(theirs: &Proposal) -> bool {
    theirs
        .transforms
        .iter()
        .all(|t| theirs.transforms.iter().filter(|other| other.kind == t.kind).count() == 1)
}

fn only_types(theirs: &Proposal, known: &[TransformType]) -> bool {
    theirs.transforms.iter().all(|t| known.contains(&t.kind))
}
