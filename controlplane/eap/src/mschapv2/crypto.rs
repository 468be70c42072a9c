//! The computations of MS-CHAPv2 (RFC 2759 §8) and of its session keys (RFC 3079 §3.4).
//!
//! Enters: challenges, user name, NT hash. Leaves: NT-Response, authenticator response, MSK. Pure functions. DES, MD4 and
//! SHA-1 are what the method prescribes; its strength here is that IKEv2 has encrypted and authenticated the channel.

use des::Des;
use des::cipher::{BlockCipherEncrypt, KeyInit};
use md4::{Digest, Md4};
use sha1::Sha1;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::outcome::{MSK_OCTETS, Msk};

/// Octets of an authenticator's or peer's challenge.
pub const CHALLENGE_OCTETS: usize = 16;
/// Octets of an NT-Response.
pub const NT_RESPONSE_OCTETS: usize = 24;
/// Octets of an authenticator response before it is written in hexadecimal.
pub const AUTHENTICATOR_RESPONSE_OCTETS: usize = 20;

/// A challenge.
pub type Challenge = [u8; CHALLENGE_OCTETS];
/// The peer's proof.
pub type NtResponse = [u8; NT_RESPONSE_OCTETS];
/// The server's proof.
pub type AuthenticatorResponse = [u8; AUTHENTICATOR_RESPONSE_OCTETS];

const NT_HASH_OCTETS: usize = 16;
const MASTER_KEY_OCTETS: usize = 16;
const DES_KEY_OCTETS: usize = 7;
/// RFC 2759 §8.7.
const SERVER_SIGNING_MAGIC: &[u8] = b"Magic server to client signing constant";
/// RFC 2759 §8.7.
const SERVER_PAD_MAGIC: &[u8] = b"Pad to make it do more than one iteration";
/// RFC 3079 §3.4, Magic1.
const MASTER_KEY_MAGIC: &[u8] = b"This is the MPPE Master Key";
/// RFC 3079 §3.4, Magic2.
const CLIENT_SENDS_MAGIC: &[u8] =
    b"On the client side, this is the send key; on the server side, it is the receive key.";
/// RFC 3079 §3.4, Magic3.
const SERVER_SENDS_MAGIC: &[u8] =
    b"On the client side, this is the receive key; on the server side, it is the send key.";
const SHA_PAD_OCTETS: usize = 40;

/// MD4 over the UTF-16LE password: all that MS-CHAPv2 ever needs of it. Wiped when dropped, never printed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct NtHash([u8; NT_HASH_OCTETS]);

impl NtHash {
    /// Takes a stored hash.
    pub fn new(octets: [u8; NT_HASH_OCTETS]) -> NtHash {
        NtHash(octets)
    }

    /// NtPasswordHash (RFC 2759 §8.3).
    pub fn of_password(password: &str) -> NtHash {
        let mut unicode = Zeroizing::new(Vec::with_capacity(password.len() * 2));
        for unit in password.encode_utf16() {
            unicode.extend_from_slice(&unit.to_le_bytes());
        }
        NtHash(Md4::digest(unicode.as_slice()).into())
    }

    /// The hash's octets, for storing it.
    pub fn as_bytes(&self) -> &[u8; NT_HASH_OCTETS] {
        &self.0
    }

    /// HashNtPasswordHash (RFC 2759 §8.4).
    fn hashed(&self) -> Zeroizing<[u8; NT_HASH_OCTETS]> {
        Zeroizing::new(Md4::digest(self.0).into())
    }
}

/// The user name that is hashed: without a leading `DOMAIN\` (RFC 2759 §4, §8.2).
pub fn without_domain(name: &[u8]) -> &[u8] {
    match name.iter().position(|&octet| octet == b'\\') {
        Some(backslash) => name.get(backslash + 1..).unwrap_or(name),
        None => name,
    }
}

/// GenerateNTResponse (RFC 2759 §8.1). `user` may carry a domain.
pub fn nt_response(
    authenticator_challenge: &Challenge,
    peer_challenge: &Challenge,
    user: &[u8],
    hash: &NtHash,
) -> NtResponse {
    let challenge = challenge_hash(peer_challenge, authenticator_challenge, user);
    challenge_response(&challenge, hash)
}

/// GenerateAuthenticatorResponse (RFC 2759 §8.7), before hexadecimal.
pub fn authenticator_response(
    hash: &NtHash,
    nt_response: &NtResponse,
    peer_challenge: &Challenge,
    authenticator_challenge: &Challenge,
    user: &[u8],
) -> AuthenticatorResponse {
    let digest = Sha1::new()
        .chain_update(hash.hashed().as_slice())
        .chain_update(nt_response)
        .chain_update(SERVER_SIGNING_MAGIC)
        .finalize();
    Sha1::new()
        .chain_update(digest)
        .chain_update(challenge_hash(peer_challenge, authenticator_challenge, user))
        .chain_update(SERVER_PAD_MAGIC)
        .finalize()
        .into()
}

/// MSK: the server's receive key, its send key (both 128-bit, RFC 3079 §3.4), then 32 zero octets. This is the order of
/// MS-MPPE-Recv-Key and MS-MPPE-Send-Key, which is what clients of IKEv2 compute.
pub fn msk(hash: &NtHash, nt_response: &NtResponse) -> Msk {
    let master = master_key(hash, nt_response);
    let receive = start_key(&master, CLIENT_SENDS_MAGIC);
    let send = start_key(&master, SERVER_SENDS_MAGIC);
    let mut octets = Zeroizing::new([0u8; MSK_OCTETS]);
    for (to, from) in octets.iter_mut().zip(receive.iter().chain(send.iter())) {
        *to = *from;
    }
    Msk::new(*octets)
}

/// ChallengeHash (RFC 2759 §8.2).
fn challenge_hash(peer: &Challenge, authenticator: &Challenge, user: &[u8]) -> [u8; 8] {
    let digest: [u8; 20] = Sha1::new()
        .chain_update(peer)
        .chain_update(authenticator)
        .chain_update(without_domain(user))
        .finalize()
        .into();
    first(&digest)
}

/// ChallengeResponse (RFC 2759 §8.5): three DES encryptions under 21 octets of padded hash.
fn challenge_response(challenge: &[u8; 8], hash: &NtHash) -> NtResponse {
    let mut keys = Zeroizing::new([0u8; 3 * DES_KEY_OCTETS]);
    for (to, from) in keys.iter_mut().zip(hash.0) {
        *to = from;
    }
    let mut response = [0u8; NT_RESPONSE_OCTETS];
    for (part, key) in response.chunks_exact_mut(8).zip(keys.chunks_exact(DES_KEY_OCTETS)) {
        let mut key = with_parity_gaps(key);
        let mut block = (*challenge).into();
        Des::new(&key.into()).encrypt_block(&mut block);
        key.zeroize();
        part.copy_from_slice(&block);
    }
    response
}

/// Spreads 56 bits over eight octets, leaving each lowest bit to the parity that DES ignores (RFC 2759 §8.6).
fn with_parity_gaps(key: &[u8]) -> [u8; 8] {
    let bits = key.iter().fold(0u64, |bits, &octet| (bits << 8) | u64::from(octet));
    let mut spread = [0u8; 8];
    for (index, octet) in spread.iter_mut().enumerate() {
        *octet = ((bits >> (49 - 7 * index)) as u8 & 0x7f) << 1;
    }
    spread
}

/// GetMasterKey (RFC 3079 §3.4).
fn master_key(hash: &NtHash, nt_response: &NtResponse) -> Zeroizing<[u8; MASTER_KEY_OCTETS]> {
    let digest: Zeroizing<[u8; 20]> = Zeroizing::new(
        Sha1::new()
            .chain_update(hash.hashed().as_slice())
            .chain_update(nt_response)
            .chain_update(MASTER_KEY_MAGIC)
            .finalize()
            .into(),
    );
    Zeroizing::new(first(&digest))
}

/// GetAsymmetricStartKey for 128 bits (RFC 3079 §3.4).
fn start_key(master: &[u8; MASTER_KEY_OCTETS], magic: &[u8]) -> Zeroizing<[u8; MASTER_KEY_OCTETS]> {
    let digest: Zeroizing<[u8; 20]> = Zeroizing::new(
        Sha1::new()
            .chain_update(master)
            .chain_update([0x00; SHA_PAD_OCTETS])
            .chain_update(magic)
            .chain_update([0xf2; SHA_PAD_OCTETS])
            .finalize()
            .into(),
    );
    Zeroizing::new(first(&digest))
}

/// The first `N` octets of a SHA-1 digest.
fn first<const N: usize>(digest: &[u8; 20]) -> [u8; N] {
    const { assert!(N <= 20) };
    let mut out = [0u8; N];
    for (to, from) in out.iter_mut().zip(digest) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 2759 §9.2 and RFC 3079 §3.5.3 share their input.
    const USER: &[u8] = b"User";
    const AUTHENTICATOR_CHALLENGE: Challenge =
        [0x5b, 0x5d, 0x7c, 0x7d, 0x7b, 0x3f, 0x2f, 0x3e, 0x3c, 0x2c, 0x60, 0x21, 0x32, 0x26, 0x26, 0x28];
    const PEER_CHALLENGE: Challenge =
        [0x21, 0x40, 0x23, 0x24, 0x25, 0x5e, 0x26, 0x2a, 0x28, 0x29, 0x5f, 0x2b, 0x3a, 0x33, 0x7c, 0x7e];

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02X}")).collect()
    }

    fn hash() -> NtHash {
        NtHash::of_password("clientPass")
    }

    #[test]
    fn rfc_2759_known_answers() {
        let response = nt_response(&AUTHENTICATOR_CHALLENGE, &PEER_CHALLENGE, USER, &hash());
        assert_eq!(hex(&challenge_hash(&PEER_CHALLENGE, &AUTHENTICATOR_CHALLENGE, USER)), "D02E4386BCE91226");
        assert_eq!(hex(hash().as_bytes()), "44EBBA8D5312B8D611474411F56989AE");
        assert_eq!(hex(hash().hashed().as_slice()), "41C00C584BD2D91C4017A2A12FA59F3F");
        assert_eq!(hex(&response), "82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF");
        let proof =
            authenticator_response(&hash(), &response, &PEER_CHALLENGE, &AUTHENTICATOR_CHALLENGE, USER);
        assert_eq!(hex(&proof), "407A5589115FD0D6209F510FE9C04566932CDA56");
    }

    #[test]
    fn rfc_3079_known_answers() {
        let response = nt_response(&AUTHENTICATOR_CHALLENGE, &PEER_CHALLENGE, USER, &hash());
        let master = master_key(&hash(), &response);
        assert_eq!(hex(master.as_slice()), "FDECE3717A8C838CB388E527AE3CDD31");
        assert_eq!(
            hex(start_key(&master, SERVER_SENDS_MAGIC).as_slice()),
            "8B7CDC149B993A1BA118CB153F56DCCB"
        );
    }

    #[test]
    fn the_msk_is_the_servers_receive_key_then_its_send_key() {
        let response = nt_response(&AUTHENTICATOR_CHALLENGE, &PEER_CHALLENGE, USER, &hash());
        let master = master_key(&hash(), &response);
        let key = msk(&hash(), &response);
        assert_eq!(&key.as_bytes()[..16], start_key(&master, CLIENT_SENDS_MAGIC).as_slice());
        assert_eq!(hex(&key.as_bytes()[16..32]), "8B7CDC149B993A1BA118CB153F56DCCB");
        assert_eq!(key.as_bytes()[32..], [0; 32]);
    }

    #[test]
    fn the_domain_is_not_hashed() {
        for (name, bare) in [
            (&b"User"[..], &b"User"[..]),
            (b"CORP\\User", b"User"),
            (b"User@corp", b"User@corp"),
            (b"\\User", b"User"),
            (b"CORP\\", b""),
            (b"a\\b\\c", b"b\\c"),
            (b"", b""),
        ] {
            assert_eq!(without_domain(name), bare);
        }
        let plain = nt_response(&AUTHENTICATOR_CHALLENGE, &PEER_CHALLENGE, USER, &hash());
        let domain = nt_response(&AUTHENTICATOR_CHALLENGE, &PEER_CHALLENGE, b"BIGCO\\User", &hash());
        assert_eq!(plain, domain);
    }

    #[test]
    fn passwords_outside_the_basic_plane_are_utf16() {
        // MD4 over D8 3D DE 00 (U+1F600) byte-swapped, computed with `openssl dgst -provider legacy -md4`.
        assert_eq!(hex(NtHash::of_password("\u{1f600}").as_bytes()), EMOJI_HASH);
        assert_eq!(hex(NtHash::of_password("").as_bytes()), "31D6CFE0D16AE931B73C59D7E0C089C0");
    }

    const EMOJI_HASH: &str = "4B58A10CC20A4E7D808D218E1F80AABC";
}
