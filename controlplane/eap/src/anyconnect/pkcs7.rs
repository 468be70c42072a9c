//! A certificate chain as a degenerate PKCS#7: SignedData without content and signers (RFC 5652 §5.1, RFC 2315 §9.1).
//!
//! Enters: DER of a stranger, or certificates. Leaves: certificates as DER, untouched, the client's own first; or the DER.
//! Nothing here judges a certificate.

use der::asn1::{AnyRef, ObjectIdentifier};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};

/// Certificates in one chain.
pub const MAX_CERTIFICATES: usize = 8;

/// id-signedData (RFC 5652 §5.1).
const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// id-data (RFC 5652 §4).
const DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
/// `[0]`, of the content and of the certificates; the same tag stands before a certificate's version.
const CONTEXT_0: Tag = Tag::ContextSpecific { constructed: true, number: TagNumber(0) };

/// Why octets are not a chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Pkcs7Error {
    /// Not DER, or not of this shape.
    #[error("not a PKCS#7 SignedData")]
    Malformed,
    /// No certificate in it.
    #[error("no certificate")]
    Empty,
    /// More than [`MAX_CERTIFICATES`].
    #[error("more than {MAX_CERTIFICATES} certificates")]
    TooMany,
    /// Too long to be written.
    #[error("chain too long")]
    TooLong,
}

impl From<der::Error> for Pkcs7Error {
    fn from(_: der::Error) -> Pkcs7Error {
        Pkcs7Error::Malformed
    }
}

/// The certificates of a chain, the client's own first.
pub fn parse(octets: &[u8]) -> Result<Vec<Vec<u8>>, Pkcs7Error> {
    let content_info = expect(AnyRef::from_der(octets)?, Tag::Sequence)?;
    let mut reader = SliceReader::new(content_info)?;
    if ObjectIdentifier::decode(&mut reader)? != SIGNED_DATA {
        return Err(Pkcs7Error::Malformed);
    }
    let content = expect(AnyRef::decode(&mut reader)?, CONTEXT_0)?;
    reader.finish()?;
    let signed_data = expect(AnyRef::from_der(content)?, Tag::Sequence)?;
    let mut reader = SliceReader::new(signed_data)?;
    expect(AnyRef::decode(&mut reader)?, Tag::Integer)?;
    expect(AnyRef::decode(&mut reader)?, Tag::Set)?;
    expect(AnyRef::decode(&mut reader)?, Tag::Sequence)?;
    // CRLs and signers may follow; they prove nothing here.
    let field = AnyRef::decode(&mut reader)?;
    if field.tag() != CONTEXT_0 {
        return Err(Pkcs7Error::Empty);
    }
    let mut chain = vec![];
    let mut reader = SliceReader::new(field.value())?;
    while !reader.is_finished() {
        if chain.len() >= MAX_CERTIFICATES {
            return Err(Pkcs7Error::TooMany);
        }
        if Tag::peek(&reader)? != Tag::Sequence {
            return Err(Pkcs7Error::Malformed);
        }
        chain.push(reader.tlv_bytes()?.to_vec());
    }
    if chain.is_empty() {
        return Err(Pkcs7Error::Empty);
    }
    put_own_first(&mut chain);
    Ok(chain)
}

/// The degenerate PKCS#7 of these certificates, in this order.
pub fn write(chain: &[Vec<u8>]) -> Result<Vec<u8>, Pkcs7Error> {
    if chain.is_empty() {
        return Err(Pkcs7Error::Empty);
    }
    if chain.len() > MAX_CERTIFICATES {
        return Err(Pkcs7Error::TooMany);
    }
    let certificates = tlv(CONTEXT_0, &chain.concat())?;
    let content = tlv(Tag::Sequence, &DATA.to_der()?)?;
    let parts = [tlv(Tag::Integer, &[1])?, tlv(Tag::Set, &[])?, content, certificates, tlv(Tag::Set, &[])?];
    let signed_data = tlv(Tag::Sequence, &parts.concat())?;
    let parts = [SIGNED_DATA.to_der()?, tlv(CONTEXT_0, &signed_data)?];
    tlv(Tag::Sequence, &parts.concat())
}

/// A set has no order, and some encoders sort it: the client's own certificate is the only one that issued no other.
fn put_own_first(chain: &mut [Vec<u8>]) {
    let names: Option<Vec<_>> = chain.iter().map(|certificate| names(certificate).ok()).collect();
    let Some(names) = names else { return };
    let is_issuer = |at: usize| {
        let others = names.iter().enumerate().filter(|(other, _)| *other != at);
        names.get(at).is_some_and(|own| others.into_iter().any(|(_, other)| other.issuer == own.subject))
    };
    let mut leaves = (0..names.len()).filter(|at| !is_issuer(*at));
    if let (Some(leaf), None) = (leaves.next(), leaves.next())
        && let Some(part) = chain.get_mut(..=leaf)
    {
        part.rotate_right(1);
    }
}

/// Who issued a certificate, and to whom.
struct Names<'a> {
    issuer: &'a [u8],
    subject: &'a [u8],
}

/// Only as far into the certificate as the two names are (RFC 5280 §4.1).
fn names(certificate: &[u8]) -> Result<Names<'_>, Pkcs7Error> {
    let body = expect(AnyRef::from_der(certificate)?, Tag::Sequence)?;
    let to_be_signed = expect(AnyRef::decode(&mut SliceReader::new(body)?)?, Tag::Sequence)?;
    let mut reader = SliceReader::new(to_be_signed)?;
    if Tag::peek(&reader)? == CONTEXT_0 {
        reader.tlv_bytes()?;
    }
    let _serial = reader.tlv_bytes()?;
    let _algorithm = reader.tlv_bytes()?;
    let issuer = reader.tlv_bytes()?;
    let _validity = reader.tlv_bytes()?;
    Ok(Names { issuer, subject: reader.tlv_bytes()? })
}

fn expect(any: AnyRef<'_>, tag: Tag) -> Result<&[u8], Pkcs7Error> {
    if any.tag() == tag { Ok(any.value()) } else { Err(Pkcs7Error::Malformed) }
}

fn tlv(tag: Tag, content: &[u8]) -> Result<Vec<u8>, Pkcs7Error> {
    let encoded = AnyRef::new(tag, content).and_then(|any| any.to_der());
    encoded.map_err(|_| Pkcs7Error::TooLong)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Made by OpenSSL: a CA, a certificate it issued, and both as `openssl crl2pkcs7 -nocrl` writes them.
    const CA: &[u8] = include_bytes!("testdata/ca.der");
    const LEAF: &[u8] = include_bytes!("testdata/leaf.der");
    const CA_FIRST: &[u8] = include_bytes!("testdata/ca-first.p7b");
    const LEAF_FIRST: &[u8] = include_bytes!("testdata/leaf-first.p7b");

    #[test]
    fn openssl_writes_what_is_read_and_the_own_certificate_comes_first() {
        for octets in [CA_FIRST, LEAF_FIRST] {
            assert_eq!(parse(octets).unwrap(), [LEAF, CA]);
        }
    }

    #[test]
    fn what_is_written_is_what_openssl_writes() {
        assert_eq!(write(&[LEAF.to_vec(), CA.to_vec()]).unwrap(), LEAF_FIRST);
        assert_eq!(write(&[CA.to_vec(), LEAF.to_vec()]).unwrap(), CA_FIRST);
    }

    #[test]
    fn without_a_single_own_certificate_the_order_stays() {
        for chain in [vec![LEAF.to_vec(), LEAF.to_vec()], vec![CA.to_vec()], vec![LEAF.to_vec()]] {
            assert_eq!(parse(&write(&chain).unwrap()).unwrap(), chain);
        }
        let odd = vec![vec![0x30, 0], CA.to_vec(), LEAF.to_vec()];
        assert_eq!(parse(&write(&odd).unwrap()).unwrap(), odd);
    }

    #[test]
    fn refuses_what_is_no_chain() {
        let chain = |count| vec![CA.to_vec(); count];
        assert_eq!(write(&[]), Err(Pkcs7Error::Empty));
        assert_eq!(parse(&write(&chain(MAX_CERTIFICATES)).unwrap()).unwrap().len(), MAX_CERTIFICATES);
        assert_eq!(write(&chain(MAX_CERTIFICATES + 1)), Err(Pkcs7Error::TooMany));
        for (octets, expected) in [
            (LEAF, Pkcs7Error::Malformed),
            (&[], Pkcs7Error::Malformed),
            (&LEAF_FIRST[..LEAF_FIRST.len() - 1], Pkcs7Error::Malformed),
            (&[LEAF_FIRST, &[0]].concat(), Pkcs7Error::Malformed),
            (&shell(&[]), Pkcs7Error::Malformed),
            (&shell(&tlv(CONTEXT_0, &[]).unwrap()), Pkcs7Error::Empty),
            (&shell(&tlv(Tag::Set, &[]).unwrap()), Pkcs7Error::Empty),
            (&shell(&tlv(CONTEXT_0, &[2, 1, 1]).unwrap()), Pkcs7Error::Malformed),
            (&shell(&tlv(CONTEXT_0, &chain(MAX_CERTIFICATES + 1).concat()).unwrap()), Pkcs7Error::TooMany),
        ] {
            assert_eq!(parse(octets), Err(expected), "{octets:02x?}");
        }
    }

    /// SignedData with `rest` after the content.
    fn shell(rest: &[u8]) -> Vec<u8> {
        let content = tlv(Tag::Sequence, &DATA.to_der().unwrap()).unwrap();
        let parts = [&[2, 1, 1, 0x31, 0][..], &content, rest].concat();
        let signed_data = tlv(CONTEXT_0, &tlv(Tag::Sequence, &parts).unwrap()).unwrap();
        tlv(Tag::Sequence, &[SIGNED_DATA.to_der().unwrap(), signed_data].concat()).unwrap()
    }

    proptest! {
        #[test]
        fn a_damaged_chain_is_read_or_refused(at in 0..LEAF_FIRST.len(), with: u8, cut in 0..LEAF_FIRST.len()) {
            let mut octets = LEAF_FIRST.to_vec();
            octets[at] = with;
            let _ = parse(&octets);
            octets.truncate(cut);
            prop_assert!(parse(&octets).is_err());
        }
    }
}
