//! Negotiation: tables of what real clients offer, and properties of every choice.

use proptest::prelude::*;

use super::*;
use crate::wire::{
    Attribute, AttributeValue, Proposal, ProtocolId, Sa, Transform, TransformType, emit_payloads,
    parse_payloads,
};

/// The gateway's policy in most tests.
const POLICY: [&str; 5] = [
    "aes256gcm16-prfsha384-ecp384",
    "aes128gcm16-prfsha256-ecp256-curve25519",
    "aes256-sha512-ecp521-ecp384-ecp256",
    "aes256-sha256-ecp256-modp2048",
    "aes128-sha256-modp2048",
];

fn policy() -> Vec<IkeProposal> {
    POLICY.iter().map(|text| text.parse().unwrap()).collect()
}

fn esp_policy() -> EspPolicy {
    let suites =
        ["aes256gcm16", "aes128gcm16", "aes256-sha512", "aes256-sha384", "aes256-sha256", "aes128-sha256"];
    EspPolicy {
        suites: suites.iter().map(|name| name.parse().unwrap()).collect(),
        prefer_esn: true,
        groups: vec![Group::Ecp384, Group::Ecp256, Group::Curve25519, Group::Modp2048],
        require_pfs: false,
    }
}

/// Writes an offer: proposals separated by blanks, transforms by commas: `e12/256` (type letter, number, key length).
/// `e` ENCR, `p` PRF, `i` INTEG, `d` KE, `s` ESN; a number in front of a colon is the transform type.
fn offer(protocol: ProtocolId, spi: &[u8], text: &str) -> Sa {
    let transform = |text: &str| {
        let (kind, rest) = match text.split_once(':') {
            Some((kind, rest)) => (TransformType::from_number(kind.parse().unwrap()), rest),
            None => {
                let kind = match &text[..1] {
                    "e" => TransformType::Encr,
                    "p" => TransformType::Prf,
                    "i" => TransformType::Integ,
                    "d" => TransformType::Dh,
                    _ => TransformType::Esn,
                };
                (kind, &text[1..])
            }
        };
        let (id, bits) = rest.split_once('/').map_or((rest, None), |(id, bits)| (id, Some(bits)));
        Transform {
            key_length_bits: bits.map(|b| b.parse().unwrap()),
            ..Transform::new(kind, id.parse().unwrap())
        }
    };
    let proposals = text.split(' ').zip(1..).map(|(text, number)| Proposal {
        number,
        protocol,
        spi: spi.to_vec(),
        transforms: text.split(',').map(transform).collect(),
    });
    Sa { proposals: proposals.collect() }
}

fn ike_offer(text: &str) -> Sa {
    offer(ProtocolId::Ike, &[], text)
}

fn esp_offer(text: &str) -> Sa {
    offer(ProtocolId::Esp, &[0xc0, 0, 0, 1], text)
}

#[test]
fn what_real_clients_offer() {
    let invalid_ke = |wanted| Err(SelectError::InvalidKe { wanted });
    // Client, offer, group of its KE payload, outcome.
    let table: [(&str, &str, u16, Result<&str, SelectError>); 12] = [
        (
            "Windows 10 as installed: AES and 3DES, at most SHA2-384, group 2",
            "e12/256,i14,p7,d2 e12/256,i13,p6,d2 e12/256,i12,p5,d2 e12/256,i2,p2,d2 e3,i2,p2,d2",
            2,
            Err(SelectError::NoProposalChosen),
        ),
        (
            "Windows 10 with NegotiateDH2048_AES256",
            "e12/256,i12,p5,d14 e12/256,i13,p6,d14 e12/256,i2,p2,d14",
            14,
            Ok("aes256-sha256-modp2048"),
        ),
        (
            "Windows with Set-VpnConnectionIPsecConfiguration, GCM and ECP384; INTEG NONE is written out",
            "e20/256,i0,p6,d20",
            20,
            Ok("aes256gcm16-prfsha384-ecp384"),
        ),
        ("iOS default", "e12/256,i12,p5,d14", 14, Ok("aes256-sha256-modp2048")),
        (
            "iOS, several, group 14 first",
            "e12/256,i12,p5,d14 e12/256,i12,p5,d19 e12/256,i12,p5,d5 e12/128,i2,p2,d2",
            14,
            Ok("aes256-sha256-modp2048"),
        ),
        ("macOS with GCM", "e20/256,p6,d20", 20, Ok("aes256gcm16-prfsha384-ecp384")),
        (
            "Android 11: counter mode and MACs that we lack, groups 16, 31, 15, 14; KE 16",
            "e13/256,e12/256,e13/192,e12/192,e13/128,e12/128,i14,i13,i12,i5,i8,d16,d31,d15,d14,p7,p6,p5,p4,p8,p2 \
             e28,e20/256,e19/256,e18/256,e20/192,e20/128,d16,d31,d15,d14,p7,p6,p5,p4,p8,p2",
            16,
            invalid_ke(Group::Curve25519),
        ),
        (
            "Android 11, second try",
            "e13/256,e12/256,e13/192,e12/192,e13/128,e12/128,i14,i13,i12,i5,i8,d16,d31,d15,d14,p7,p6,p5,p4,p8,p2 \
             e28,e20/256,e19/256,e18/256,e20/192,e20/128,d16,d31,d15,d14,p7,p6,p5,p4,p8,p2",
            31,
            Ok("aes128gcm16-prfsha256-curve25519"),
        ),
        (
            "strongSwan default: CBC with much, then AEADs; KE 19",
            "e12/128,e12/192,e12/256,i12,i13,i14,i5,i2,p5,p6,p7,p4,p2,d19,d20,d21,d28,d29,d30,d31,d15,d16,d17,d18,d14 \
             e20/128,e20/192,e20/256,e28,p5,p6,p7,p4,p2,d19,d20,d21,d28,d29,d30,d31,d15,d16,d17,d18,d14",
            19,
            Ok("aes128gcm16-prfsha256-ecp256"),
        ),
        ("Cisco Secure Client", "e12/256,i14,p7,d19", 19, Ok("aes256-sha512-ecp256")),
        (
            "a quantum-safe proposal (ADDKE1) with a classic one behind it",
            "e20/256,p6,d20,6:36 e20/256,p6,d20",
            20,
            Ok("aes256gcm16-prfsha384-ecp384"),
        ),
        ("an unknown KE group beside one of ours", "e20/256,p6,d31,d20", 31, invalid_ke(Group::Ecp384)),
    ];
    for (client, offer, ke_group, expected) in table {
        let outcome =
            select_ike(&policy(), &ike_offer(offer), ke_group, IkeStage::Initial { additional_kes: true });
        assert_eq!(outcome.map(|choice| choice.suite.to_string()), expected.map(str::to_owned), "{client}");
    }
}

#[test]
fn an_answer_has_the_number_and_one_transform_of_each_type_offered() {
    let table = [
        ("e3,i2,p2,d2 e12/256,e12/128,i12,i14,p5,p7,d14,d19", 14, "e12/256,i12,p5,d14", 2),
        ("e20/256,i0,p6,d20", 20, "e20/256,i0,p6,d20", 1),
        ("e20/256,p6,d20", 20, "e20/256,p6,d20", 1),
    ];
    for (offer, ke_group, answer, number) in table {
        let choice =
            select_ike(&policy(), &ike_offer(offer), ke_group, IkeStage::Initial { additional_kes: true })
                .unwrap();
        let mut expected = ike_offer(answer);
        expected.proposals[0].number = number;
        assert_eq!(choice.answer(&[]), expected, "{offer}");
        assert_eq!(choice.peer_spi, None);
    }
}

#[test]
fn rekeys_carry_spis_and_first_exchanges_do_not() {
    let text = "e20/256,p6,d20";
    let with_spi = offer(ProtocolId::Ike, &[1, 2, 3, 4, 5, 6, 7, 8], text);
    let choice = select_ike(&policy(), &with_spi, 20, IkeStage::Rekey).unwrap();
    assert_eq!(choice.peer_spi.map(|spi| spi.0), Some(0x0102_0304_0506_0708));
    assert_eq!(choice.answer(&[9; 8]).proposals[0].spi, [9; 8]);
    let none = Err(SelectError::NoProposalChosen);
    assert_eq!(select_ike(&policy(), &with_spi, 20, IkeStage::Initial { additional_kes: true }), none);
    assert_eq!(select_ike(&policy(), &ike_offer(text), 20, IkeStage::Rekey), none);
    assert_eq!(select_ike(&policy(), &offer(ProtocolId::Ike, &[0; 8], text), 20, IkeStage::Rekey), none);
    assert_eq!(select_ike(&policy(), &esp_offer(text), 20, IkeStage::Initial { additional_kes: true }), none);
}

#[test]
fn what_is_not_understood_is_not_acceptable() {
    let refused = [
        // No key length, a wrong one, one where none belongs.
        "e20,p6,d20",
        "e20/512,p6,d20",
        "e20/256,p6/256,d20",
        // An AEAD with an integrity algorithm; another cipher without.
        "e20/256,i12,p6,d20",
        "e12/256,p5,d14",
        // A transform type that we do not know, ESN in an IKE proposal, no PRF, no group.
        "e20/256,p6,d20,99:1",
        "e20/256,p6,d20,s0",
        "e20/256,d20",
        "e20/256,p6",
    ];
    for text in refused {
        let outcome = select_ike(&policy(), &ike_offer(text), 20, IkeStage::Initial { additional_kes: true });
        assert_eq!(outcome.err(), Some(SelectError::NoProposalChosen), "{text}");
    }
    let mut attribute = ike_offer("e20/256,p6,d20");
    attribute.proposals[0].transforms[0].other_attributes =
        vec![Attribute { kind: 77, value: AttributeValue::Short(1) }];
    assert_eq!(
        select_ike(&policy(), &attribute, 20, IkeStage::Initial { additional_kes: true }).err(),
        Some(SelectError::NoProposalChosen)
    );
}

#[test]
fn child_sas() {
    let invalid_ke = |wanted| Err(SelectError::InvalidKe { wanted });
    let none = Err(SelectError::NoProposalChosen);
    let group = |text, esn, group| Ok((text, esn, Some(group)));
    let plain = |text, esn| Ok((text, esn, None));
    type Outcome<'a> = Result<(&'a str, bool, Option<Group>), SelectError>;
    let table: [(&str, &str, ChildKe, Outcome<'_>); 19] = [
        (
            "Windows",
            "e12/256,i12,s0 e12/256,i2,s0 e3,i2,s0",
            ChildKe::Impossible,
            plain("aes256-sha256", false),
        ),
        ("iOS", "e12/256,i12,s0", ChildKe::Impossible, plain("aes256-sha256", false)),
        (
            "Android",
            "e13/256,e12/256,e13/192,e12/192,e12/128,i14,i13,i12,i5,i8,s0 e28,e20/256,e19/256,e20/192,e20/128,s0",
            ChildKe::Impossible,
            plain("aes256gcm16", false),
        ),
        ("Secure Client", "e12/256,i13,s0", ChildKe::Impossible, plain("aes256-sha384", false)),
        ("ESN preferred of both", "e20/256,s0,s1", ChildKe::Impossible, plain("aes256gcm16", true)),
        ("only ESN", "e20/256,s1", ChildKe::Impossible, plain("aes256gcm16", true)),
        ("no ESN transform", "e20/256", ChildKe::Impossible, none),
        (
            "groups in IKE_AUTH are passed over",
            "e20/256,d20,s0",
            ChildKe::Impossible,
            plain("aes256gcm16", false),
        ),
        ("so is NONE", "e20/256,d0,s0", ChildKe::Impossible, plain("aes256gcm16", false)),
        ("no common suite", "e3,i2,s0", ChildKe::Impossible, none),
        ("unknown type", "e20/256,s0,6:36", ChildKe::Impossible, none),
        ("PFS", "e20/256,d19,d20,s0", ChildKe::Present(19), group("aes256gcm16", false, Group::Ecp256)),
        ("PFS, our group not in KE", "e20/256,d16,d20,s0", ChildKe::Present(16), invalid_ke(Group::Ecp384)),
        ("PFS without KE", "e20/256,d20,s0", ChildKe::Absent, invalid_ke(Group::Ecp384)),
        ("PFS or not, without KE", "e20/256,d20,d0,s0", ChildKe::Absent, plain("aes256gcm16", false)),
        (
            "PFS or not, with KE of no group of ours",
            "e20/256,d16,d0,s0",
            ChildKe::Present(16),
            plain("aes256gcm16", false),
        ),
        ("only foreign groups", "e20/256,d16,s0", ChildKe::Present(16), none),
        ("a KE that nobody asked for", "e20/256,s0", ChildKe::Present(20), plain("aes256gcm16", false)),
        (
            "a second proposal with the KE's group wins over another round trip",
            "e20/256,d15,s0 e12/128,i12,d31,s0",
            ChildKe::Present(31),
            group("aes128-sha256", false, Group::Curve25519),
        ),
    ];
    for (case, text, ke, expected) in table {
        let outcome = select_esp(&esp_policy(), &esp_offer(text), ke);
        let outcome = outcome.map(|choice| {
            assert_eq!(choice.peer_spi, 0xc000_0001);
            (choice.suite.to_string(), choice.esn, choice.group)
        });
        assert_eq!(outcome, expected.map(|(suite, esn, group)| (suite.to_owned(), esn, group)), "{case}");
    }
}

#[test]
fn child_answers_echo_an_offered_none() {
    let table = [
        ("e20/256,i0,d20,d0,s0,s1", ChildKe::Absent, "e20/256,i0,d0,s1"),
        ("e20/256,d20,d0,s0", ChildKe::Present(20), "e20/256,d20,s0"),
        ("e20/256,d20,d0,s0", ChildKe::Impossible, "e20/256,s0"),
    ];
    for (text, ke, answer) in table {
        let choice = select_esp(&esp_policy(), &esp_offer(text), ke).unwrap();
        assert_eq!(choice.answer(0xc000_0001), esp_offer(answer), "{text}");
    }
}

#[test]
fn required_pfs_and_unwanted_esn() {
    let strict = EspPolicy { require_pfs: true, prefer_esn: false, ..esp_policy() };
    let choose =
        |text, ke| select_esp(&strict, &esp_offer(text), ke).map(|choice| (choice.esn, choice.group));
    assert_eq!(choose("e20/256,s0,s1", ChildKe::Impossible), Ok((false, None)));
    assert_eq!(choose("e20/256,s0", ChildKe::Absent), Err(SelectError::NoProposalChosen));
    assert_eq!(choose("e20/256,d0,d20,s1", ChildKe::Present(20)), Ok((true, Some(Group::Ecp384))));
    let wanted = Group::Ecp384;
    assert_eq!(choose("e20/256,d0,d20,s0", ChildKe::Absent), Err(SelectError::InvalidKe { wanted }));
}

#[test]
fn an_initiator_takes_only_choices_from_its_offer() {
    let ike: Vec<IkeProposal> = policy();
    let good = ike_offer("e20/256,p6,d20");
    let accepted = accept_ike_answer(&ike, &good, false).unwrap();
    assert_eq!(accepted.suite.to_string(), "aes256gcm16-prfsha384-ecp384");
    let refused = [
        "e20/256,p6,d19",
        "e20/128,p6,d20",
        "e20/256,p6,p5,d20",
        "e20/256,p6,d20 e20/256,p6,d20",
        "e12/256,i12,p6,d20",
    ];
    for text in refused {
        assert_eq!(accept_ike_answer(&ike, &ike_offer(text), false), None, "{text}");
    }
    for number in [0, 2, 6] {
        let mut other = good.clone();
        other.proposals[0].number = number;
        assert_eq!(accept_ike_answer(&ike, &other, false), None, "number {number}");
    }

    let suite: EspSuite = "aes256-sha256".parse().unwrap();
    let with_group = [EspProposal::only(suite, true, Some(Group::Ecp256))];
    let without = [EspProposal::only(suite, false, None)];
    let accepted = accept_esp_answer(&with_group, &esp_offer("e12/256,i12,d19,s1")).unwrap();
    assert_eq!((accepted.suite, accepted.esn, accepted.group), (suite, true, Some(Group::Ecp256)));
    assert_eq!(accept_esp_answer(&with_group, &esp_offer("e12/256,i12,s1")), None);
    assert_eq!(accept_esp_answer(&with_group, &esp_offer("e12/256,i12,d19,s0")), None);
    assert!(accept_esp_answer(&without, &esp_offer("e12/256,i12,s0")).is_some());
    assert!(accept_esp_answer(&without, &esp_offer("e12/256,i12,d0,s0")).is_some());
    assert_eq!(accept_esp_answer(&without, &esp_offer("e12/256,i12,d19,s0")), None);
}

fn any_transform() -> impl Strategy<Value = Transform> {
    let kind = prop_oneof![8 => 1..=5u8, 1 => 6..=8u8];
    let id = prop_oneof![0..8u16, 12..=14u16, 19..=21u16, Just(31u16)];
    let bits = prop_oneof![Just(None), Just(Some(128)), Just(Some(192)), Just(Some(256))];
    (kind, id, bits).prop_map(|(kind, id, key_length_bits)| Transform {
        key_length_bits,
        ..Transform::new(TransformType::from_number(kind), id)
    })
}

fn any_offer(protocol: ProtocolId, spi: Vec<u8>) -> impl Strategy<Value = Sa> {
    let proposal = (any::<u8>(), proptest::collection::vec(any_transform(), 3..16))
        .prop_map(move |(number, transforms)| Proposal { number, protocol, spi: spi.clone(), transforms });
    proptest::collection::vec(proposal, 1..4).prop_map(|proposals| Sa { proposals })
}

/// Whether `answer` is one proposal of `offer` with exactly one transform for each of its types, none foreign.
fn is_choice_from(answer: &Sa, offer: &Sa, but: Option<TransformType>) -> bool {
    let [answer] = answer.proposals.as_slice() else { return false };
    offer.proposals.iter().filter(|theirs| theirs.number == answer.number).any(|theirs| {
        theirs.transforms.iter().filter(|t| Some(t.kind) != but).all(|offered| {
            let chosen: Vec<_> = answer.transforms.iter().filter(|t| t.kind == offered.kind).collect();
            chosen.len() == 1 && theirs.transforms.contains(chosen[0])
        }) && answer.transforms.iter().all(|t| theirs.transforms.contains(t))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_ike_choice_comes_from_offer_and_policy(offer in any_offer(ProtocolId::Ike, vec![]), ke_group in prop_oneof![Just(14u16), 19..=21u16, Just(31)]) {
        let policy = policy();
        if let Ok(choice) = select_ike(&policy, &offer, ke_group, IkeStage::Initial { additional_kes: true }) {
            prop_assert!(is_choice_from(&choice.answer(&[]), &offer, None));
            prop_assert_eq!(choice.suite.group.number(), ke_group);
            prop_assert!(policy.iter().any(|ours| ours.ciphers.contains(&choice.suite.cipher)
                && ours.prfs.contains(&choice.suite.prf)
                && ours.groups.contains(&choice.suite.group)
                && choice.suite.integ.is_none_or(|integ| ours.integs.contains(&integ))));
            prop_assert_eq!(choice.suite.integ.is_none(), choice.suite.cipher.is_aead());
        }
    }

    #[test]
    fn every_esp_choice_comes_from_offer_and_policy(offer in any_offer(ProtocolId::Esp, vec![1, 2, 3, 4]), ke in prop_oneof![
        Just(ChildKe::Impossible), Just(ChildKe::Absent), (14..32u16).prop_map(ChildKe::Present)
    ]) {
        let policy = esp_policy();
        if let Ok(choice) = select_esp(&policy, &offer, ke) {
            let passed_over = (ke == ChildKe::Impossible).then_some(TransformType::Dh);
            prop_assert!(is_choice_from(&choice.answer(7), &offer, passed_over));
            prop_assert!(policy.suites.contains(&choice.suite));
            match (ke, choice.group) {
                (ChildKe::Present(number), Some(group)) => prop_assert_eq!(group.number(), number),
                (_, group) => prop_assert_eq!(group, None),
            }
        }
    }

    /// What we offer on the wire, a responder with the same policy chooses, and we accept its answer.
    #[test]
    fn initiator_and_responder_agree(first in 0..POLICY.len()) {
        let ours = [policy().swap_remove(first)];
        let offer = Sa { proposals: vec![ours[0].to_wire(1, &[])] };
        let (kind, octets) = emit_payloads(&[crate::wire::Payload::Sa(offer.clone())]).unwrap();
        prop_assert_eq!(parse_payloads(kind, &octets), Ok(vec![crate::wire::Payload::Sa(offer.clone())]));
        let choice = select_ike(&ours, &offer, ours[0].groups[0].number(), IkeStage::Initial { additional_kes: true }).unwrap();
        let accepted = accept_ike_answer(&ours, &choice.answer(&[]), false).unwrap();
        prop_assert_eq!(accepted.suite, choice.suite);
    }
}
