//! Signature algorithms of RFC 7427: AlgorithmIdentifiers in DER on one side, a typed scheme on the other.

use crate::suite::Prf;
use crate::wire::SignatureHash;

/// A SHA-2 hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(super) const ALL: [Hash; 3] = [Hash::Sha256, Hash::Sha384, Hash::Sha512];

    pub(super) fn registered(self) -> SignatureHash {
        match self {
            Hash::Sha256 => SignatureHash::Sha2_256,
            Hash::Sha384 => SignatureHash::Sha2_384,
            Hash::Sha512 => SignatureHash::Sha2_512,
        }
    }

    fn octets(self) -> u8 {
        match self {
            Hash::Sha256 => 32,
            Hash::Sha384 => 48,
            Hash::Sha512 => 64,
        }
    }

    /// Last octet of id-sha256, id-sha384, id-sha512.
    fn oid_arc(self) -> u8 {
        match self {
            Hash::Sha256 => 1,
            Hash::Sha384 => 2,
            Hash::Sha512 => 3,
        }
    }
}

/// The hash under an RSA signature of authentication method 1, which no peer can negotiate.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum RsaHash {
    /// As RFC 7296 §3.8 has it.
    #[default]
    Sha1,
    /// SHA2-256.
    Sha256,
    /// SHA2-384.
    Sha384,
    /// SHA2-512.
    Sha512,
}

impl RsaHash {
    /// The hash that the negotiated PRF is made of: what Cisco's implementations use.
    pub fn of_prf(prf: Prf) -> RsaHash {
        match prf {
            Prf::HmacSha2_256 => RsaHash::Sha256,
            Prf::HmacSha2_384 => RsaHash::Sha384,
            Prf::HmacSha2_512 => RsaHash::Sha512,
        }
    }

    /// The scheme with this hash.
    pub(super) fn scheme(self) -> Scheme {
        match self {
            RsaHash::Sha1 => Scheme::RsaPkcs1Sha1,
            RsaHash::Sha256 => Scheme::RsaPkcs1(Hash::Sha256),
            RsaHash::Sha384 => Scheme::RsaPkcs1(Hash::Sha384),
            RsaHash::Sha512 => Scheme::RsaPkcs1(Hash::Sha512),
        }
    }
}

/// What an AlgorithmIdentifier names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Scheme {
    RsaPkcs1(Hash),
    RsaPkcs1Sha1,
    /// MGF1 with the same hash, salt as long as the hash.
    RsaPss(Hash),
    Ecdsa(Hash),
    Ed25519,
}

impl Scheme {
    const ALL: [Scheme; 11] = [
        Scheme::RsaPkcs1(Hash::Sha256),
        Scheme::RsaPkcs1(Hash::Sha384),
        Scheme::RsaPkcs1(Hash::Sha512),
        Scheme::RsaPkcs1Sha1,
        Scheme::RsaPss(Hash::Sha256),
        Scheme::RsaPss(Hash::Sha384),
        Scheme::RsaPss(Hash::Sha512),
        Scheme::Ecdsa(Hash::Sha256),
        Scheme::Ecdsa(Hash::Sha384),
        Scheme::Ecdsa(Hash::Sha512),
        Scheme::Ed25519,
    ];

    /// The AlgorithmIdentifier that we send (RFC 7427 Appendix A, RFC 8420 Appendix A).
    pub(super) fn identifier(self) -> Vec<u8> {
        self.identifier_with(true, false)
    }

    /// The scheme with this AlgorithmIdentifier. Peers differ in two things: whether RSA and hashes have NULL parameters,
    /// and whether PSS spells out its default trailer field, as the example of RFC 7427 Appendix A.4.3 does.
    pub(super) fn from_identifier(der: &[u8]) -> Option<Scheme> {
        let spellings = [(true, false), (true, true), (false, false), (false, true)];
        Scheme::ALL.into_iter().find(|scheme| {
            spellings.iter().any(|(null, trailer)| scheme.identifier_with(*null, *trailer) == der)
        })
    }

    fn identifier_with(self, null_parameters: bool, trailer_field: bool) -> Vec<u8> {
        let null: &[u8] = if null_parameters { &[0x05, 0x00] } else { &[] };
        let trailer: &[u8] = if trailer_field { &[0xa3, 0x03, 0x02, 0x01, 0x01] } else { &[] };
        match self {
            Scheme::RsaPkcs1Sha1 => sequence(&[&rsa_oid(5), null]),
            Scheme::RsaPkcs1(Hash::Sha256) => sequence(&[&rsa_oid(11), null]),
            Scheme::RsaPkcs1(Hash::Sha384) => sequence(&[&rsa_oid(12), null]),
            Scheme::RsaPkcs1(Hash::Sha512) => sequence(&[&rsa_oid(13), null]),
            Scheme::RsaPss(hash) => {
                let hash_identifier = sequence(&[&hash_oid(hash), null]);
                let mgf1 = sequence(&[&rsa_oid(8), &hash_identifier]);
                let parameters = sequence(&[
                    &tagged(0xa0, &[&hash_identifier]),
                    &tagged(0xa1, &[&mgf1]),
                    &tagged(0xa2, &[&[0x02, 0x01, hash.octets()]]),
                    trailer,
                ]);
                sequence(&[&rsa_oid(10), &parameters])
            }
            Scheme::Ecdsa(hash) => {
                let arc = hash.oid_arc() + 1;
                sequence(&[&[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, arc]])
            }
            Scheme::Ed25519 => sequence(&[&[0x06, 0x03, 0x2b, 0x65, 0x70]]),
        }
    }
}

/// An OID of PKCS#1: 1.2.840.113549.1.1.`arc`.
fn rsa_oid(arc: u8) -> [u8; 11] {
    [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, arc]
}

/// 2.16.840.1.101.3.4.2.x
fn hash_oid(hash: Hash) -> [u8; 11] {
    [0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, hash.oid_arc()]
}

fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    tagged(0x30, parts)
}

/// A DER value; all of ours are shorter than 128 octets, so the length is one octet.
fn tagged(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    debug_assert!(content.len() < 128);
    let mut out = vec![tag, content.len() as u8];
    out.extend_from_slice(&content);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7427 Appendix A, hexadecimal.
    #[test]
    fn identifiers_are_those_of_rfc_7427() {
        let table = [
            ("300d06092a864886f70d0101050500", Scheme::RsaPkcs1Sha1),
            ("300d06092a864886f70d01010b0500", Scheme::RsaPkcs1(Hash::Sha256)),
            ("300d06092a864886f70d01010c0500", Scheme::RsaPkcs1(Hash::Sha384)),
            ("300d06092a864886f70d01010d0500", Scheme::RsaPkcs1(Hash::Sha512)),
            ("300a06082a8648ce3d040302", Scheme::Ecdsa(Hash::Sha256)),
            ("300a06082a8648ce3d040303", Scheme::Ecdsa(Hash::Sha384)),
            ("300a06082a8648ce3d040304", Scheme::Ecdsa(Hash::Sha512)),
            ("300506032b6570", Scheme::Ed25519),
        ];
        for (text, scheme) in table {
            assert_eq!(crate::crypto::testing::hex(&scheme.identifier()), text);
            assert_eq!(Scheme::from_identifier(&scheme.identifier()), Some(scheme));
        }
        let pss = "304606092a864886f70d01010a3039a00f300d06096086480165030402010500a11c301a06092a864886f70d0101\
                   08300d06096086480165030402010500a203020120a303020101";
        assert_eq!(
            Scheme::from_identifier(&crate::crypto::testing::unhex(pss)),
            Some(Scheme::RsaPss(Hash::Sha256))
        );
    }

    #[test]
    fn every_spelling_is_read_and_nothing_else() {
        for scheme in Scheme::ALL {
            for (null, trailer) in [(true, false), (true, true), (false, false), (false, true)] {
                let der = scheme.identifier_with(null, trailer);
                assert_eq!(Scheme::from_identifier(&der), Some(scheme));
                assert!(der.len() <= usize::from(u8::MAX));
                assert_eq!(Scheme::from_identifier(&der[..der.len() - 1]), None);
            }
        }
        assert_eq!(Scheme::from_identifier(&[]), None);
    }
}
