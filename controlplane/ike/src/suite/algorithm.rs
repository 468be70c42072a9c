//! The algorithms that this implementation has, with their IANA numbers, key sizes and names
//! (RFC 3602, RFC 4106, RFC 5282, RFC 7634, RFC 4868, RFC 3526, RFC 5903, RFC 8031).

use crate::wire::{Transform, TransformType};

/// Number of NONE in the INTEG and KE registries.
pub const TRANSFORM_NONE: u16 = 0;
/// ESN transform: 32-bit sequence numbers.
pub const ESN_NONE: u16 = 0;
/// ESN transform: extended sequence numbers.
pub const ESN_EXTENDED: u16 = 1;

const ENCR_AES_CBC: u16 = 12;
const ENCR_AES_GCM_16: u16 = 20;
const ENCR_CHACHA20_POLY1305: u16 = 28;

/// Octets of the salt at the end of an AEAD's key (RFC 4106 §8.1, RFC 5282 §7.1, RFC 7634 §2).
pub const AEAD_SALT_LEN: usize = 4;

/// An encryption algorithm with its key length.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cipher {
    /// AES-CBC, 128-bit key.
    AesCbc128,
    /// AES-CBC, 192-bit key.
    AesCbc192,
    /// AES-CBC, 256-bit key.
    AesCbc256,
    /// AES-GCM with a 16-octet ICV, 128-bit key.
    AesGcm16_128,
    /// AES-GCM with a 16-octet ICV, 256-bit key.
    AesGcm16_256,
    /// ChaCha20-Poly1305.
    ChaCha20Poly1305,
}

impl Cipher {
    /// Every cipher.
    pub const ALL: [Cipher; 6] = [
        Cipher::AesCbc128,
        Cipher::AesCbc192,
        Cipher::AesCbc256,
        Cipher::AesGcm16_128,
        Cipher::AesGcm16_256,
        Cipher::ChaCha20Poly1305,
    ];

    /// Whether it is an AEAD, which needs no integrity algorithm.
    pub fn is_aead(self) -> bool {
        matches!(self, Cipher::AesGcm16_128 | Cipher::AesGcm16_256 | Cipher::ChaCha20Poly1305)
    }

    /// Octets of the cipher's key, without salt.
    pub fn key_len(self) -> usize {
        match self {
            Cipher::AesCbc128 | Cipher::AesGcm16_128 => 16,
            Cipher::AesCbc192 => 24,
            Cipher::AesCbc256 | Cipher::AesGcm16_256 | Cipher::ChaCha20Poly1305 => 32,
        }
    }

    /// Octets of keying material: the cipher's key, and the salt of an AEAD.
    pub fn keymat_len(self) -> usize {
        self.key_len() + if self.is_aead() { AEAD_SALT_LEN } else { 0 }
    }

    /// Its transform.
    pub fn transform(self) -> Transform {
        match self {
            Cipher::AesCbc128 => Transform::encr(ENCR_AES_CBC, 128),
            Cipher::AesCbc192 => Transform::encr(ENCR_AES_CBC, 192),
            Cipher::AesCbc256 => Transform::encr(ENCR_AES_CBC, 256),
            Cipher::AesGcm16_128 => Transform::encr(ENCR_AES_GCM_16, 128),
            Cipher::AesGcm16_256 => Transform::encr(ENCR_AES_GCM_16, 256),
            // RFC 7296 §3.3.5: a cipher with one key length has no attribute that says so.
            Cipher::ChaCha20Poly1305 => Transform::new(TransformType::Encr, ENCR_CHACHA20_POLY1305),
        }
    }

    /// Its name in proposals.
    pub fn name(self) -> &'static str {
        match self {
            Cipher::AesCbc128 => "aes128",
            Cipher::AesCbc192 => "aes192",
            Cipher::AesCbc256 => "aes256",
            Cipher::AesGcm16_128 => "aes128gcm16",
            Cipher::AesGcm16_256 => "aes256gcm16",
            Cipher::ChaCha20Poly1305 => "chacha20poly1305",
        }
    }
}

/// A pseudorandom function; its preferred key length is its output length (RFC 4868 §2.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Prf {
    /// PRF_HMAC_SHA2_256.
    HmacSha2_256,
    /// PRF_HMAC_SHA2_384.
    HmacSha2_384,
    /// PRF_HMAC_SHA2_512.
    HmacSha2_512,
}

impl Prf {
    /// Every PRF.
    pub const ALL: [Prf; 3] = [Prf::HmacSha2_256, Prf::HmacSha2_384, Prf::HmacSha2_512];

    /// Octets of output, and of the preferred key.
    pub fn output_len(self) -> usize {
        match self {
            Prf::HmacSha2_256 => 32,
            Prf::HmacSha2_384 => 48,
            Prf::HmacSha2_512 => 64,
        }
    }

    /// Its transform.
    pub fn transform(self) -> Transform {
        let id = match self {
            Prf::HmacSha2_256 => 5,
            Prf::HmacSha2_384 => 6,
            Prf::HmacSha2_512 => 7,
        };
        Transform::new(TransformType::Prf, id)
    }

    /// Its name in proposals.
    pub fn name(self) -> &'static str {
        match self {
            Prf::HmacSha2_256 => "prfsha256",
            Prf::HmacSha2_384 => "prfsha384",
            Prf::HmacSha2_512 => "prfsha512",
        }
    }
}

/// An integrity algorithm; its key is as long as the hash's output (RFC 4868 §2.1.1), its ICV half of that.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Integ {
    /// AUTH_HMAC_SHA2_256_128.
    HmacSha2_256_128,
    /// AUTH_HMAC_SHA2_384_192.
    HmacSha2_384_192,
    /// AUTH_HMAC_SHA2_512_256.
    HmacSha2_512_256,
}

impl Integ {
    /// Every integrity algorithm.
    pub const ALL: [Integ; 3] = [Integ::HmacSha2_256_128, Integ::HmacSha2_384_192, Integ::HmacSha2_512_256];

    /// Octets of the key.
    pub fn key_len(self) -> usize {
        match self {
            Integ::HmacSha2_256_128 => 32,
            Integ::HmacSha2_384_192 => 48,
            Integ::HmacSha2_512_256 => 64,
        }
    }

    /// Octets of the ICV.
    pub fn icv_len(self) -> usize {
        self.key_len() / 2
    }

    /// Its transform.
    pub fn transform(self) -> Transform {
        let id = match self {
            Integ::HmacSha2_256_128 => 12,
            Integ::HmacSha2_384_192 => 13,
            Integ::HmacSha2_512_256 => 14,
        };
        Transform::new(TransformType::Integ, id)
    }

    /// Its name in proposals.
    pub fn name(self) -> &'static str {
        match self {
            Integ::HmacSha2_256_128 => "sha256",
            Integ::HmacSha2_384_192 => "sha384",
            Integ::HmacSha2_512_256 => "sha512",
        }
    }

    /// The PRF over the same hash: what a proposal without a PRF means.
    pub fn implied_prf(self) -> Prf {
        match self {
            Integ::HmacSha2_256_128 => Prf::HmacSha2_256,
            Integ::HmacSha2_384_192 => Prf::HmacSha2_384,
            Integ::HmacSha2_512_256 => Prf::HmacSha2_512,
        }
    }
}

/// A key exchange method.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Group {
    /// 2048-bit MODP group (14).
    Modp2048,
    /// NIST P-256 (19).
    Ecp256,
    /// NIST P-384 (20).
    Ecp384,
    /// NIST P-521 (21).
    Ecp521,
    /// Curve25519 (31).
    Curve25519,
}

impl Group {
    /// Every group.
    pub const ALL: [Group; 5] =
        [Group::Modp2048, Group::Ecp256, Group::Ecp384, Group::Ecp521, Group::Curve25519];

    /// Its IANA number.
    pub fn number(self) -> u16 {
        match self {
            Group::Modp2048 => 14,
            Group::Ecp256 => 19,
            Group::Ecp384 => 20,
            Group::Ecp521 => 21,
            Group::Curve25519 => 31,
        }
    }

    /// The group with this number.
    pub fn from_number(number: u16) -> Option<Group> {
        Group::ALL.into_iter().find(|group| group.number() == number)
    }

    /// Octets of a public value in a KE payload.
    pub fn public_len(self) -> usize {
        match self {
            Group::Modp2048 => 256,
            Group::Ecp256 => 64,
            Group::Ecp384 => 96,
            Group::Ecp521 => 132,
            Group::Curve25519 => 32,
        }
    }

    /// Its transform.
    pub fn transform(self) -> Transform {
        Transform::new(TransformType::Dh, self.number())
    }

    /// Its name in proposals.
    pub fn name(self) -> &'static str {
        match self {
            Group::Modp2048 => "modp2048",
            Group::Ecp256 => "ecp256",
            Group::Ecp384 => "ecp384",
            Group::Ecp521 => "ecp521",
            Group::Curve25519 => "curve25519",
        }
    }
}
