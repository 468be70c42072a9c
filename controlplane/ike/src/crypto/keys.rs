//! The key schedule: SKEYSEED and its seven keys (RFC 7296 §2.14), rekeying (§2.18), KEYMAT of Child SAs (§2.17), and
//! what AUTH payloads are computed over (§2.15, §2.16).

use super::prf::{prf, prf_plus};
use super::{CryptoError, Secret, SharedSecret, SkOpener, SkSealer};
use crate::suite::{EspSuite, IkeSuite, Prf};
use crate::wire::{IkeSpi, Nonce};

/// The text that RFC 7296 §2.15 mixes into shared keys.
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";
/// The text that RFC 5723 §5.1 mixes into the keys of resumed IKE SAs.
const RESUMPTION: &[u8] = b"Resumption";

/// Which side of the IKE SA we are; never changes while the SA lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The SA's original initiator.
    Initiator,
    /// Its responder.
    Responder,
}

/// The nonces and SPIs of an exchange, by role in that exchange.
#[derive(Clone, Copy, Debug)]
pub struct ExchangeValues<'a> {
    /// Ni.
    pub initiator_nonce: &'a Nonce,
    /// Nr.
    pub responder_nonce: &'a Nonce,
    /// SPIi of the SA that is made.
    pub initiator_spi: IkeSpi,
    /// SPIr of the SA that is made.
    pub responder_spi: IkeSpi,
}

/// The keys of an IKE SA.
pub struct IkeKeys {
    /// The suite they are for.
    pub suite: IkeSuite,
    /// SK_d, from which Child SAs and successors get their keys.
    pub sk_d: Secret,
    /// SK_ai; empty with an AEAD.
    pub sk_ai: Secret,
    /// SK_ar; empty with an AEAD.
    pub sk_ar: Secret,
    /// SK_ei, with the salt of an AEAD.
    pub sk_ei: Secret,
    /// SK_er, with the salt of an AEAD.
    pub sk_er: Secret,
    /// SK_pi.
    pub sk_pi: Secret,
    /// SK_pr.
    pub sk_pr: Secret,
}

/// KEYMAT of a Child SA, cut by direction; each is cipher key, salt, integrity key.
pub struct ChildKeymat {
    /// For packets from the exchange's initiator to its responder.
    pub initiator_to_responder: Secret,
    /// For packets from the exchange's responder to its initiator.
    pub responder_to_initiator: Secret,
}

impl IkeKeys {
    /// The keys of a first IKE SA: SKEYSEED = prf(Ni | Nr, g^ir).
    ///
    /// # Errors
    /// When the library fails.
    pub fn initial(
        suite: IkeSuite,
        shared: &SharedSecret,
        values: &ExchangeValues<'_>,
    ) -> Result<IkeKeys, CryptoError> {
        let (ni, nr) = (values.initiator_nonce.as_bytes(), values.responder_nonce.as_bytes());
        let key = Secret::new([ni, nr].concat());
        IkeKeys::expand(suite, &prf(suite.prf, key.as_bytes(), &[shared.as_bytes()]), values)
    }

    /// The keys of an IKE SA that replaces `old`: SKEYSEED = prf(SK_d (old), g^ir (new) | Ni | Nr), with the old PRF; the
    /// secrets of additional key exchanges follow the nonces (RFC 9370 §2.2.4).
    ///
    /// # Errors
    /// When the library fails.
    pub fn rekeyed(
        old: &IkeKeys,
        suite: IkeSuite,
        shared: &SharedSecret,
        additional: &[SharedSecret],
        values: &ExchangeValues<'_>,
    ) -> Result<IkeKeys, CryptoError> {
        let (ni, nr) = (values.initiator_nonce.as_bytes(), values.responder_nonce.as_bytes());
        let first = [shared.as_bytes(), ni, nr];
        let parts: Vec<&[u8]> =
            first.into_iter().chain(additional.iter().map(SharedSecret::as_bytes)).collect();
        let skeyseed = prf(old.suite.prf, old.sk_d.as_bytes(), &parts);
        IkeKeys::expand(suite, &skeyseed, values)
    }

    /// The keys of an IKE SA that resumes one that had `old_sk_d`: SKEYSEED = prf(SK_d_old, "Resumption" | Ni | Nr)
    /// (RFC 5723 §5.1). `suite` is the old one's.
    ///
    /// # Errors
    /// When the library fails.
    pub fn resumed(
        suite: IkeSuite,
        old_sk_d: &Secret,
        values: &ExchangeValues<'_>,
    ) -> Result<IkeKeys, CryptoError> {
        let (ni, nr) = (values.initiator_nonce.as_bytes(), values.responder_nonce.as_bytes());
        let skeyseed = prf(suite.prf, old_sk_d.as_bytes(), &[RESUMPTION, ni, nr]);
        IkeKeys::expand(suite, &skeyseed, values)
    }

    /// The keys of the same IKE SA after an additional key exchange in IKE_INTERMEDIATE, under which the next message goes:
    /// SKEYSEED(n) = prf(SK_d(n-1), SK(n) | Ni | Nr) (RFC 9370 §2.2.2).
    ///
    /// # Errors
    /// When the library fails.
    pub fn strengthened(
        &self,
        shared: &SharedSecret,
        values: &ExchangeValues<'_>,
    ) -> Result<IkeKeys, CryptoError> {
        IkeKeys::rekeyed(self, self.suite, shared, &[], values)
    }

    fn expand(
        suite: IkeSuite,
        skeyseed: &Secret,
        values: &ExchangeValues<'_>,
    ) -> Result<IkeKeys, CryptoError> {
        let (p, a, e) = (suite.prf.output_len(), suite.integ_key_len(), suite.cipher.keymat_len());
        let seed: [&[u8]; 4] = [
            values.initiator_nonce.as_bytes(),
            values.responder_nonce.as_bytes(),
            &values.initiator_spi.to_bytes(),
            &values.responder_spi.to_bytes(),
        ];
        let keymat = prf_plus(suite.prf, skeyseed.as_bytes(), &seed, 3 * p + 2 * a + 2 * e)?;
        let mut rest = keymat.as_bytes();
        Ok(IkeKeys {
            suite,
            sk_d: cut(&mut rest, p)?,
            sk_ai: cut(&mut rest, a)?,
            sk_ar: cut(&mut rest, a)?,
            sk_ei: cut(&mut rest, e)?,
            sk_er: cut(&mut rest, e)?,
            sk_pi: cut(&mut rest, p)?,
            sk_pr: cut(&mut rest, p)?,
        })
    }

    /// The sealer for what `role` sends and the opener for what it receives.
    ///
    /// # Errors
    /// When the library fails.
    pub fn ends(&self, role: Role) -> Result<(SkSealer, SkOpener), CryptoError> {
        let (cipher, integ) = (self.suite.cipher, self.suite.integ);
        let (own_e, own_a, peer_e, peer_a) = match role {
            Role::Initiator => (&self.sk_ei, &self.sk_ai, &self.sk_er, &self.sk_ar),
            Role::Responder => (&self.sk_er, &self.sk_ar, &self.sk_ei, &self.sk_ai),
        };
        Ok((SkSealer::new(cipher, integ, own_e, own_a)?, SkOpener::new(cipher, integ, peer_e, peer_a)?))
    }

    /// The key that authenticates `role`: SK_pi or SK_pr.
    pub fn sk_p(&self, role: Role) -> &Secret {
        match role {
            Role::Initiator => &self.sk_pi,
            Role::Responder => &self.sk_pr,
        }
    }

    /// What the AUTH payload of `role` signs (RFC 7296 §2.15): its first message (the IKE_SA_INIT datagram as it was
    /// sent, without non-ESP marker), the other side's nonce, and prf(SK_p, IDx').
    pub fn signed_octets(
        &self,
        role: Role,
        first_message: &[u8],
        other_nonce: &Nonce,
        id_body: &[u8],
    ) -> Vec<u8> {
        let mac = prf(self.suite.prf, self.sk_p(role).as_bytes(), &[id_body]);
        [first_message, other_nonce.as_bytes(), mac.as_bytes()].concat()
    }

    /// KEYMAT of a Child SA made under this IKE SA. Nonces are those of the exchange that makes it; `shared` is there
    /// with a fresh key exchange.
    ///
    /// # Errors
    /// When the library fails.
    pub fn child_keymat(
        &self,
        suite: EspSuite,
        shared: Option<&SharedSecret>,
        initiator_nonce: &Nonce,
        responder_nonce: &Nonce,
    ) -> Result<ChildKeymat, CryptoError> {
        let octets = suite.keymat_len();
        let seed: [&[u8]; 3] = [
            shared.map_or(&[], SharedSecret::as_bytes),
            initiator_nonce.as_bytes(),
            responder_nonce.as_bytes(),
        ];
        let keymat = prf_plus(self.suite.prf, self.sk_d.as_bytes(), &seed, 2 * octets)?;
        let mut rest = keymat.as_bytes();
        Ok(ChildKeymat {
            initiator_to_responder: cut(&mut rest, octets)?,
            responder_to_initiator: cut(&mut rest, octets)?,
        })
    }
}

/// AUTH data of method 2 (RFC 7296 §2.15): prf(prf(key, "Key Pad for IKEv2"), signed octets). `key` is the pre-shared
/// key, the EAP method's MSK, or, for an EAP method without one, SK_pi or SK_pr (§2.16).
pub fn shared_key_auth(algorithm: Prf, key: &[u8], signed_octets: &[u8]) -> Secret {
    let padded = prf(algorithm, key, &[KEY_PAD]);
    prf(algorithm, padded.as_bytes(), &[signed_octets])
}

/// AUTH data after IKE_SESSION_RESUME (RFC 5723 §4.3.3): prf(SK_px, signed octets), `sk_p` being SK_pi or SK_pr of the new
/// IKE SA.
pub fn resumption_auth(algorithm: Prf, sk_p: &Secret, signed_octets: &[u8]) -> Secret {
    prf(algorithm, sk_p.as_bytes(), &[signed_octets])
}

/// Checks AUTH data of method 2 in constant time.
pub fn verify_shared_key_auth(algorithm: Prf, key: &[u8], signed_octets: &[u8], auth: &[u8]) -> bool {
    shared_key_auth(algorithm, key, signed_octets).matches(auth)
}

fn cut(rest: &mut &[u8], octets: usize) -> Result<Secret, CryptoError> {
    let (head, tail) = rest.split_at_checked(octets).ok_or(CryptoError::BadKeyLength)?;
    *rest = tail;
    Ok(Secret::new(head.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::testing::{FixedRandom, Vectors, hex, vectors};
    use crate::suite::IkeProposal;
    use crate::wire::{ExchangeType, Header, Incoming, Message, OpenError, Payload};

    fn suite(vectors: &Vectors) -> IkeSuite {
        let proposal: IkeProposal = vectors.text("suite").parse().unwrap();
        IkeSuite {
            cipher: proposal.ciphers[0],
            integ: proposal.integs.first().copied(),
            prf: proposal.prfs[0],
            group: proposal.groups[0],
            kems: crate::suite::Kems::NONE,
        }
    }

    struct Values {
        ni: Nonce,
        nr: Nonce,
        shared: SharedSecret,
        spis: [IkeSpi; 2],
    }

    impl Values {
        fn new(vectors: &Vectors, suffix: &str) -> Values {
            let octets = |name: &str| vectors.octets(&format!("{name}{suffix}"));
            let spi = |name| IkeSpi(u64::from_be_bytes(octets(name).try_into().unwrap()));
            Values {
                ni: Nonce::new(octets("ni")).unwrap(),
                nr: Nonce::new(octets("nr")).unwrap(),
                shared: SharedSecret::new(Secret::new(octets("gir"))),
                spis: [spi("spi_i"), spi("spi_r")],
            }
        }

        fn exchange(&self) -> ExchangeValues<'_> {
            let [initiator_spi, responder_spi] = self.spis;
            ExchangeValues {
                initiator_nonce: &self.ni,
                responder_nonce: &self.nr,
                initiator_spi,
                responder_spi,
            }
        }
    }

    fn keys(vectors: &Vectors) -> IkeKeys {
        let values = Values::new(vectors, "");
        IkeKeys::initial(suite(vectors), &values.shared, &values.exchange()).unwrap()
    }

    fn suites() -> Vec<Vectors> {
        let mut groups = vectors();
        groups.pop();
        assert_eq!(groups.len(), 6);
        groups
    }

    fn compare(keys: &IkeKeys, vectors: &Vectors, prefix: &str) {
        let parts = [
            ("sk_d", &keys.sk_d),
            ("sk_ai", &keys.sk_ai),
            ("sk_ar", &keys.sk_ar),
            ("sk_ei", &keys.sk_ei),
            ("sk_er", &keys.sk_er),
            ("sk_pi", &keys.sk_pi),
            ("sk_pr", &keys.sk_pr),
        ];
        for (name, key) in parts {
            assert_eq!(hex(key.as_bytes()), vectors.text(&format!("{prefix}{name}")), "{prefix}{name}");
        }
    }

    #[test]
    fn keys_of_first_and_rekeyed_ike_sas() {
        for vectors in suites() {
            let first = keys(&vectors);
            compare(&first, &vectors, "");
            let values = Values::new(&vectors, "2");
            let rekeyed =
                IkeKeys::rekeyed(&first, suite(&vectors), &values.shared, &[], &values.exchange()).unwrap();
            compare(&rekeyed, &vectors, "rekeyed_");
        }
    }

    #[test]
    fn keymat_of_child_sas() {
        for vectors in suites() {
            let ike = keys(&vectors);
            let esp: EspSuite = vectors.text("esp").parse().unwrap();
            let (first, fresh) = (Values::new(&vectors, ""), Values::new(&vectors, "2"));
            let plain = ike.child_keymat(esp, None, &first.ni, &first.nr).unwrap();
            let pfs = ike.child_keymat(esp, Some(&fresh.shared), &fresh.ni, &fresh.nr).unwrap();
            for (name, keymat) in [("child", plain), ("child_pfs", pfs)] {
                let i = vectors.text(&format!("{name}_i"));
                let r = vectors.text(&format!("{name}_r"));
                assert_eq!(hex(keymat.initiator_to_responder.as_bytes()), i);
                assert_eq!(hex(keymat.responder_to_initiator.as_bytes()), r);
            }
        }
    }

    #[test]
    fn auth_of_shared_keys() {
        for vectors in suites() {
            let ike = keys(&vectors);
            let values = Values::new(&vectors, "");
            let signed = ike.signed_octets(
                Role::Responder,
                &vectors.octets("message"),
                &values.ni,
                &vectors.octets("id_body"),
            );
            assert_eq!(hex(&signed), vectors.text("signed"));
            let (prf, psk, auth) = (ike.suite.prf, vectors.octets("psk"), vectors.octets("auth"));
            assert!(verify_shared_key_auth(prf, &psk, &signed, &auth));
            assert!(!verify_shared_key_auth(prf, b"another secret", &signed, &auth));
            assert!(!verify_shared_key_auth(prf, &psk, &signed[1..], &auth));
            assert!(!verify_shared_key_auth(prf, &psk, &signed, &auth[..auth.len() - 1]));
        }
    }

    /// The MACs of AnyConnect logins, computed apart from this code: Msg1 is 00 to ff, Nr 00 to 1f, SK_pi 64 times 5a.
    #[test]
    fn auth_of_anyconnect() {
        let suite = IkeSuite {
            cipher: crate::suite::Cipher::AesGcm16_256,
            integ: None,
            prf: Prf::HmacSha2_512,
            group: crate::suite::Group::Ecp256,
            kems: crate::suite::Kems::NONE,
        };
        let secret = |octets: &[u8]| Secret::new(octets.to_vec());
        let [sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pr] = [(); 6].map(|()| secret(&[]));
        let sk_pi = secret(&[0x5a; 64]);
        let keys = IkeKeys { suite, sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr };
        let message: Vec<u8> = (0..=255).collect();
        let nonce = Nonce::new((0..32).collect()).unwrap();
        for (id_body, key, maced_id, auth) in [
            (
                "0b000000724955484b63634452695574465441547771",
                &[b'A'; 64],
                "b4a9a7c5e0b00105bb7adb9a72f290c73f420f2a3749c451f0214be09ace3cb662ad4fb01cab1651581d6385208940156b7ffb5c5f9d448598376b0a6fd70d4a",
                "e48464fae7576d06c888defc463644ebe60e1f8035d9d9f20774171ba88c51f86c80efd9f3f7771ea600abdcf08c34368fd2fd93e5f1e58c441d583096c074ec",
            ),
            (
                "c90000002a24416e79436f6e6e656374436c69656e74242a",
                &[0x5a; 64],
                "49b31b986c567b17350455d4a5ffdc5175f3351e9a2dff4b0ac0f99ba61b57a649b778d2f74e61d5ad283c4196bd2426777bbb733e1ae4df2c19d9297905a826",
                "5d0d6542cbb4598969019bb3bd42b0c814bb5aa05992f45e3be21b352ec95e2c704dee7be9ed20c7d473a9981d5cc71a6b033dc8959215b094e5971a2d8533d5",
            ),
        ] {
            let id_body = crate::crypto::testing::unhex(id_body);
            let signed = keys.signed_octets(Role::Initiator, &message, &nonce, &id_body);
            assert_eq!(hex(&signed[256 + 32..]), maced_id);
            assert_eq!(hex(shared_key_auth(Prf::HmacSha2_512, key, &signed).as_bytes()), auth);
        }
    }

    /// A message sealed by another implementation is opened, and ours with the same IV is the same.
    #[test]
    fn sealed_messages() {
        for vectors in suites() {
            let ike = keys(&vectors);
            let [spi_i, spi_r] = Values::new(&vectors, "").spis;
            let header = Header::new(spi_i, spi_r, ExchangeType::Informational, true, false, 7);
            let payload = Payload::Nonce(Nonce::new(vectors.octets("inner_nonce")).unwrap());
            let message = Message::new(header, vec![payload]);
            let sealed = vectors.octets("sealed");

            let (_, opener) = ike.ends(Role::Responder).unwrap();
            let Incoming::Encrypted(encrypted) = Incoming::parse(&sealed).unwrap() else { panic!() };
            assert_eq!(encrypted.open(&opener).unwrap(), message);

            let (mut sealer, wrong_opener) = ike.ends(Role::Initiator).unwrap();
            let ours = message.seal(&mut sealer, &mut FixedRandom(vectors.octets("iv"))).unwrap();
            assert_eq!(hex(&ours), hex(&sealed));
            assert_eq!(encrypted.open(&wrong_opener), Err(OpenError::Integrity));
        }
    }

    /// A flipped bit anywhere, header included, is noticed.
    #[test]
    fn every_octet_of_a_sealed_message_counts() {
        for vectors in suites() {
            let (_, opener) = keys(&vectors).ends(Role::Responder).unwrap();
            let sealed = vectors.octets("sealed");
            for at in 0..sealed.len() {
                let mut damaged = sealed.clone();
                damaged[at] ^= 0x10;
                let opened = match Incoming::parse(&damaged) {
                    Ok(Incoming::Encrypted(encrypted)) => encrypted.open(&opener).err(),
                    _ => Some(OpenError::Integrity),
                };
                assert_eq!(opened, Some(OpenError::Integrity), "octet {at}");
            }
        }
    }
}
