//! Proposals of our policy: strongSwan's spelling in, lists of algorithms out, SA payloads to offer
//! (RFC 7296 §3.3), and the one suite that a negotiation ends with.

use std::fmt;
use std::str::FromStr;

use super::algorithm::{Cipher, ESN_EXTENDED, ESN_NONE, Group, Integ, Prf};
use super::kem::{self, Kem, Kems, MAX_ADDITIONAL_KES};
use crate::wire::{Proposal, ProtocolId, Transform, TransformType};

/// What an IKE SA uses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct IkeSuite {
    /// Encryption.
    pub cipher: Cipher,
    /// Integrity; `None` exactly with an AEAD.
    pub integ: Option<Integ>,
    /// Pseudorandom function.
    pub prf: Prf,
    /// Key exchange.
    pub group: Group,
    /// Additional key exchanges (RFC 9370).
    pub kems: Kems,
}

/// What a Child SA uses; ESN and group stand apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct EspSuite {
    /// Encryption.
    pub cipher: Cipher,
    /// Integrity; `None` exactly with an AEAD.
    pub integ: Option<Integ>,
}

/// IKE algorithms that may be combined freely, each list in order of preference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IkeProposal {
    /// Ciphers, all AEAD or none.
    pub ciphers: Vec<Cipher>,
    /// Integrity algorithms; empty exactly with AEADs.
    pub integs: Vec<Integ>,
    /// Pseudorandom functions.
    pub prfs: Vec<Prf>,
    /// Groups.
    pub groups: Vec<Group>,
    /// Choices for ADDKE1 and on (RFC 9370), at most [`MAX_ADDITIONAL_KES`], each list in order of preference; `None` among
    /// them says that the exchange may be left out.
    pub kems: Vec<Vec<Option<Kem>>>,
}

/// ESP algorithms that may be combined freely, each list in order of preference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EspProposal {
    /// Ciphers, all AEAD or none.
    pub ciphers: Vec<Cipher>,
    /// Integrity algorithms; empty exactly with AEADs.
    pub integs: Vec<Integ>,
    /// Groups for perfect forward secrecy; empty for none.
    pub groups: Vec<Group>,
    /// ESN choices, `true` for extended; never empty.
    pub esn: Vec<bool>,
}

/// Why a text is not a proposal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposalError {
    /// A word that names no algorithm.
    #[error("`{0}` names no algorithm of this gateway")]
    UnknownWord(String),
    /// Nothing of a kind that is needed.
    #[error("`{proposal}` names no {what}")]
    Lacks {
        /// The whole text.
        proposal: String,
        /// What is not there.
        what: &'static str,
    },
    /// An algorithm that has no place in this proposal.
    #[error("`{proposal}` must not name {what}")]
    Excess {
        /// The whole text.
        proposal: String,
        /// What is too much.
        what: &'static str,
    },
}

impl IkeSuite {
    /// Octets of SK_ai or SK_ar.
    pub fn integ_key_len(self) -> usize {
        self.integ.map_or(0, Integ::key_len)
    }
}

impl fmt::Display for IkeSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cipher.name())?;
        if let Some(integ) = self.integ {
            write!(f, "-{}", integ.name())?;
        }
        if self.integ.map(Integ::implied_prf) != Some(self.prf) {
            write!(f, "-{}", self.prf.name())?;
        }
        write!(f, "-{}{}", self.group.name(), self.kems)
    }
}

impl EspSuite {
    /// Octets of keying material for one direction: cipher key, salt, integrity key.
    pub fn keymat_len(self) -> usize {
        self.cipher.keymat_len() + self.integ.map_or(0, Integ::key_len)
    }
}

impl fmt::Display for EspSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.cipher.name())?;
        self.integ.map_or(Ok(()), |integ| write!(f, "-{}", integ.name()))
    }
}

impl FromStr for EspSuite {
    type Err = ProposalError;

    /// Reads a name like `aes256gcm16` or `aes256-sha384`.
    fn from_str(text: &str) -> Result<EspSuite, ProposalError> {
        let proposal: EspProposal = text.parse()?;
        let suite = |cipher, integ| EspSuite { cipher, integ };
        let excess = |what| ProposalError::Excess { proposal: text.to_owned(), what };
        if !proposal.groups.is_empty() {
            return Err(excess("a group"));
        }
        match (proposal.ciphers.as_slice(), proposal.integs.as_slice()) {
            ([cipher], []) => Ok(suite(*cipher, None)),
            ([cipher], [integ]) => Ok(suite(*cipher, Some(*integ))),
            _ => Err(excess("more than one suite")),
        }
    }
}

impl IkeProposal {
    /// The one proposal that offers exactly this suite.
    pub fn only(suite: IkeSuite) -> IkeProposal {
        IkeProposal {
            ciphers: vec![suite.cipher],
            integs: suite.integ.into_iter().collect(),
            prfs: vec![suite.prf],
            groups: vec![suite.group],
            kems: suite.kems.iter().map(|kem| vec![Some(kem)]).collect(),
        }
    }

    /// Whether it can only be had with additional key exchanges, which both sides must know (RFC 9242).
    pub fn needs_kems(&self) -> bool {
        self.kems.iter().any(|choices| !choices.contains(&None))
    }

    /// The proposal to offer; `spi` is empty for a first IKE SA, our new SPI for a rekey.
    pub fn to_wire(&self, number: u8, spi: &[u8]) -> Proposal {
        let transforms =
            (self.ciphers.iter().map(|cipher| cipher.transform()))
                .chain(self.integs.iter().map(|integ| integ.transform()))
                .chain(self.prfs.iter().map(|prf| prf.transform()))
                .chain(self.groups.iter().map(|group| group.transform()))
                .chain(self.kems.iter().zip(kem::ADDITIONAL).flat_map(|(choices, kind)| {
                    choices.iter().map(move |choice| kem::transform(kind, *choice))
                }))
                .collect();
        Proposal { number, protocol: ProtocolId::Ike, spi: spi.to_vec(), transforms }
    }
}

impl EspProposal {
    /// The one proposal that offers exactly this.
    pub fn only(suite: EspSuite, esn: bool, group: Option<Group>) -> EspProposal {
        EspProposal {
            ciphers: vec![suite.cipher],
            integs: suite.integ.into_iter().collect(),
            groups: group.into_iter().collect(),
            esn: vec![esn],
        }
    }

    /// The proposal to offer with our inbound SPI.
    pub fn to_wire(&self, number: u8, spi: u32) -> Proposal {
        let transforms = (self.ciphers.iter().map(|cipher| cipher.transform()))
            .chain(self.integs.iter().map(|integ| integ.transform()))
            .chain(self.groups.iter().map(|group| group.transform()))
            .chain(self.esn.iter().map(|esn| esn_transform(*esn)))
            .collect();
        Proposal { number, protocol: ProtocolId::Esp, spi: spi.to_be_bytes().to_vec(), transforms }
    }
}

/// The ESN transform.
pub(super) fn esn_transform(esn: bool) -> Transform {
    Transform::new(TransformType::Esn, if esn { ESN_EXTENDED } else { ESN_NONE })
}

/// What one word of a proposal names.
enum Word {
    Cipher(Cipher),
    Integ(Integ),
    Prf(Prf),
    Group(Group),
    Esn(bool),
    /// The place of an additional key exchange, from zero, and one choice for it.
    Kem(usize, Option<Kem>),
}

fn word(text: &str) -> Result<Word, ProposalError> {
    Ok(match text {
        "aes128" => Word::Cipher(Cipher::AesCbc128),
        "aes192" => Word::Cipher(Cipher::AesCbc192),
        "aes256" => Word::Cipher(Cipher::AesCbc256),
        "aes128gcm16" | "aes128gcm128" | "aes128gcm" => Word::Cipher(Cipher::AesGcm16_128),
        "aes256gcm16" | "aes256gcm128" | "aes256gcm" => Word::Cipher(Cipher::AesGcm16_256),
        "chacha20poly1305" => Word::Cipher(Cipher::ChaCha20Poly1305),
        "sha256" | "sha2_256" => Word::Integ(Integ::HmacSha2_256_128),
        "sha384" | "sha2_384" => Word::Integ(Integ::HmacSha2_384_192),
        "sha512" | "sha2_512" => Word::Integ(Integ::HmacSha2_512_256),
        "prfsha256" => Word::Prf(Prf::HmacSha2_256),
        "prfsha384" => Word::Prf(Prf::HmacSha2_384),
        "prfsha512" => Word::Prf(Prf::HmacSha2_512),
        "modp2048" => Word::Group(Group::Modp2048),
        "ecp256" => Word::Group(Group::Ecp256),
        "ecp384" => Word::Group(Group::Ecp384),
        "ecp521" => Word::Group(Group::Ecp521),
        "curve25519" | "x25519" => Word::Group(Group::Curve25519),
        "esn" => Word::Esn(true),
        "noesn" => Word::Esn(false),
        _ if let Some((index, choice)) = additional(text) => Word::Kem(index, choice),
        _ => return Err(ProposalError::UnknownWord(text.to_owned())),
    })
}

/// Reads `ke1_mlkem768` or `ke1_none`.
fn additional(text: &str) -> Option<(usize, Option<Kem>)> {
    let (place, name) = text.strip_prefix("ke")?.split_once('_')?;
    let index = place.parse::<usize>().ok()?.checked_sub(1).filter(|index| *index < MAX_ADDITIONAL_KES)?;
    match name {
        "none" => Some((index, None)),
        _ => Some((index, Some(Kem::from_name(name)?))),
    }
}

#[derive(Default)]
struct Words {
    ciphers: Vec<Cipher>,
    integs: Vec<Integ>,
    prfs: Vec<Prf>,
    groups: Vec<Group>,
    esn: Vec<bool>,
    kems: Vec<Vec<Option<Kem>>>,
}

fn words(text: &str) -> Result<Words, ProposalError> {
    let mut words = Words::default();
    for part in text.split('-') {
        match word(part)? {
            Word::Cipher(cipher) => words.ciphers.push(cipher),
            Word::Integ(integ) => words.integs.push(integ),
            Word::Prf(prf) => words.prfs.push(prf),
            Word::Group(group) => words.groups.push(group),
            Word::Esn(esn) => words.esn.push(esn),
            Word::Kem(index, choice) => {
                if words.kems.len() <= index {
                    words.kems.resize_with(index + 1, Vec::new);
                }
                if let Some(choices) = words.kems.get_mut(index) {
                    choices.push(choice);
                }
            }
        }
    }
    let lacks = |what| ProposalError::Lacks { proposal: text.to_owned(), what };
    let excess = |what| ProposalError::Excess { proposal: text.to_owned(), what };
    let aeads = words.ciphers.iter().filter(|cipher| cipher.is_aead()).count();
    if words.ciphers.is_empty() {
        return Err(lacks("cipher"));
    }
    if aeads != 0 && aeads != words.ciphers.len() {
        return Err(excess("an AEAD beside another cipher"));
    }
    if aeads == 0 && words.integs.is_empty() {
        return Err(lacks("integrity algorithm"));
    }
    Ok(words)
}

impl FromStr for IkeProposal {
    type Err = ProposalError;

    /// Reads e.g. `aes256gcm16-prfsha384-ecp384`, or `aes128-sha256-modp2048`, whose PRF follows from the integrity
    /// algorithm. With an AEAD, an integrity word names the PRF, as in strongSwan.
    fn from_str(text: &str) -> Result<IkeProposal, ProposalError> {
        let mut words = words(text)?;
        if !words.esn.is_empty() {
            return Err(ProposalError::Excess { proposal: text.to_owned(), what: "ESN" });
        }
        if words.prfs.is_empty() {
            words.prfs = words.integs.iter().map(|integ| integ.implied_prf()).collect();
        }
        if words.ciphers.iter().any(|cipher| cipher.is_aead()) {
            words.integs.clear();
        }
        let lacks = |what| ProposalError::Lacks { proposal: text.to_owned(), what };
        if words.prfs.is_empty() {
            return Err(lacks("pseudorandom function"));
        }
        if words.groups.is_empty() {
            return Err(lacks("group"));
        }
        if words.kems.iter().any(Vec::is_empty) {
            return Err(lacks("additional key exchange before the last one (`ke1_` comes before `ke2_`)"));
        }
        let Words { ciphers, integs, prfs, groups, kems, .. } = words;
        Ok(IkeProposal { ciphers, integs, prfs, groups, kems })
    }
}

impl FromStr for EspProposal {
    type Err = ProposalError;

    /// Reads e.g. `aes256gcm16-esn-noesn`, `aes128-sha256-ecp256`; without `esn` and `noesn`, sequence numbers are short.
    fn from_str(text: &str) -> Result<EspProposal, ProposalError> {
        let mut words = words(text)?;
        let excess = |what| ProposalError::Excess { proposal: text.to_owned(), what };
        if !words.prfs.is_empty() {
            return Err(excess("a pseudorandom function"));
        }
        if !words.kems.is_empty() {
            return Err(excess(
                "an additional key exchange: it protects the IKE SA, whose keys Child SAs come from",
            ));
        }
        if words.ciphers.iter().any(|cipher| cipher.is_aead()) && !words.integs.is_empty() {
            return Err(excess("an integrity algorithm beside an AEAD"));
        }
        if words.esn.is_empty() {
            words.esn.push(false);
        }
        let Words { ciphers, integs, groups, esn, .. } = words;
        Ok(EspProposal { ciphers, integs, groups, esn })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_strongswan_means() {
        let table = [
            ("aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha384-ecp384"),
            ("aes128gcm-prfsha256-x25519", "aes128gcm16-prfsha256-curve25519"),
            ("aes256gcm128-sha512-ecp521", "aes256gcm16-prfsha512-ecp521"),
            ("chacha20poly1305-prfsha256-x25519", "chacha20poly1305-prfsha256-curve25519"),
            ("aes128-sha256-modp2048", "aes128-sha256-modp2048"),
            ("aes192-sha2_384-ecp256", "aes192-sha384-ecp256"),
            ("aes256-sha512-curve25519", "aes256-sha512-curve25519"),
            ("aes256-sha256-prfsha512-ecp256", "aes256-sha256-prfsha512-ecp256"),
            ("aes256-sha256-prfsha256-ecp256", "aes256-sha256-ecp256"),
            ("aes256-sha384-ecp384-ke1_mlkem1024", "aes256-sha384-ecp384-ke1_mlkem1024"),
            (
                "aes256-ke1_mlkem768-sha256-x25519-ke2_mlkem1024",
                "aes256-sha256-curve25519-ke1_mlkem768-ke2_mlkem1024",
            ),
        ];
        for (text, name) in table {
            let proposal: IkeProposal = text.parse().unwrap();
            let suite = IkeSuite {
                cipher: proposal.ciphers[0],
                integ: proposal.integs.first().copied(),
                prf: proposal.prfs[0],
                group: proposal.groups[0],
                kems: proposal
                    .kems
                    .iter()
                    .fold(Kems::NONE, |kems, choices| kems.and(choices[0].unwrap()).unwrap()),
            };
            assert_eq!(suite.to_string(), name);
            assert_eq!(name.parse(), Ok(IkeProposal::only(suite)));
        }
    }

    #[test]
    fn lists_keep_their_order() {
        let proposal: IkeProposal = "aes256-aes128-sha384-sha256-ecp384-modp2048".parse().unwrap();
        assert_eq!(proposal.ciphers, [Cipher::AesCbc256, Cipher::AesCbc128]);
        assert_eq!(proposal.integs, [Integ::HmacSha2_384_192, Integ::HmacSha2_256_128]);
        assert_eq!(proposal.prfs, [Prf::HmacSha2_384, Prf::HmacSha2_256]);
        assert_eq!(proposal.groups, [Group::Ecp384, Group::Modp2048]);
    }

    #[test]
    fn esp_proposals() {
        let proposal: EspProposal = "aes256gcm16-ecp256-esn-noesn".parse().unwrap();
        assert_eq!((proposal.groups, proposal.esn), (vec![Group::Ecp256], vec![true, false]));
        let proposal: EspProposal = "aes128-aes256-sha256".parse().unwrap();
        assert_eq!((proposal.ciphers.len(), proposal.integs.len(), proposal.esn), (2, 1, vec![false]));
        for cipher in Cipher::ALL {
            let integs = if cipher.is_aead() { vec![None] } else { Integ::ALL.map(Some).to_vec() };
            for integ in integs {
                let suite = EspSuite { cipher, integ };
                assert_eq!(suite.to_string().parse(), Ok(suite));
            }
        }
    }

    #[test]
    fn mistakes_are_named() {
        let ike = [
            ("", "`` names no algorithm of this gateway"),
            ("3des-sha256-modp2048", "`3des` names no algorithm of this gateway"),
            ("aes256-sha1-modp2048", "`sha1` names no algorithm of this gateway"),
            ("aes256-modp2048", "`aes256-modp2048` names no integrity algorithm"),
            ("sha256-modp2048", "`sha256-modp2048` names no cipher"),
            ("aes256gcm16-ecp384", "`aes256gcm16-ecp384` names no pseudorandom function"),
            ("aes256-sha256", "`aes256-sha256` names no group"),
            (
                "aes256gcm16-aes256-sha256-ecp256",
                "`aes256gcm16-aes256-sha256-ecp256` must not name an AEAD beside another cipher",
            ),
            ("aes256-sha256-ecp256-esn", "`aes256-sha256-ecp256-esn` must not name ESN"),
            ("aes256-sha256-mlkem768", "`mlkem768` names no algorithm of this gateway"),
            ("aes256-sha256-ecp256-ke8_mlkem768", "`ke8_mlkem768` names no algorithm of this gateway"),
            ("aes256-sha256-ecp256-ke0_none", "`ke0_none` names no algorithm of this gateway"),
            (
                "aes256-sha256-ecp256-ke2_mlkem768",
                "`aes256-sha256-ecp256-ke2_mlkem768` names no additional key exchange before the last one (`ke1_` comes before `ke2_`)",
            ),
        ];
        for (text, message) in ike {
            assert_eq!(text.parse::<IkeProposal>().unwrap_err().to_string(), message);
        }
        let esp = [
            (
                "aes256gcm16-sha256",
                "`aes256gcm16-sha256` must not name an integrity algorithm beside an AEAD",
            ),
            ("aes256-prfsha256-sha256", "`aes256-prfsha256-sha256` must not name a pseudorandom function"),
        ];
        for (text, message) in esp {
            assert_eq!(text.parse::<EspProposal>().unwrap_err().to_string(), message);
        }
        assert!("aes256-aes128-sha256".parse::<EspSuite>().is_err());
        assert!("aes256gcm16-ecp256".parse::<EspSuite>().is_err());
    }

    /// Key lengths of RFC 7296 §2.17 with RFC 4106 §8.1, RFC 7634 §2 and RFC 4868 §2.1.1.
    #[test]
    fn keymat_lengths() {
        let table = [
            ("aes128gcm16", 16 + 4),
            ("aes256gcm16", 32 + 4),
            ("chacha20poly1305", 32 + 4),
            ("aes128-sha256", 16 + 32),
            ("aes192-sha384", 24 + 48),
            ("aes256-sha512", 32 + 64),
        ];
        for (name, octets) in table {
            assert_eq!(name.parse::<EspSuite>().unwrap().keymat_len(), octets);
        }
    }
}
