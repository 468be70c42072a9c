//! Public-key work, cut out of the protocol so that it can run beside the event loop.
//!
//! Enters: values that the state machine gathered, the gateway's keys, the wall clock for certificates. Leaves: shared
//! secrets, signatures, verified identities. [`PublicKeyJob::run`] is pure but for the randomness it is given.

use std::sync::Arc;

use std::fmt;

use crate::cert::{
    AuthenticationError, CertError, CertUse, Credential, ProvenIdentity, RsaHash, RsaPadding, SignError,
    TrustStore,
};
use crate::crypto::{CryptoError, KePrivate, KemPrivate, Random, SharedSecret, encapsulate};
use crate::ident::Identity;
use crate::suite::{Group, Kem};
use crate::wire::{Auth, Cert, SignatureHash};

/// The gateway's own key and the authorities it trusts; made once, shared by all threads that run jobs.
#[derive(Default)]
pub struct Keyring {
    /// Our certificate's private key. `None` if PSK is the one method.
    pub credential: Option<Credential>,
    /// Authorities that sign client certificates. `None` if clients have none.
    pub client_authorities: Option<TrustStore>,
}

/// One piece of public-key work.
pub enum PublicKeyJob {
    /// A whole key exchange as responder: make a key pair, derive with the peer's public value.
    Respond {
        /// The group.
        group: Group,
        /// The peer's KE data.
        peer_public: Vec<u8>,
    },
    /// The first half of a key exchange as initiator.
    Generate {
        /// The group.
        group: Group,
    },
    /// Its second half.
    Derive {
        /// What the first half made. Whoever asks keeps it, to ask again if nobody has time for it.
        private: Arc<KePrivate>,
        /// The peer's KE data.
        peer_public: Vec<u8>,
    },
    /// A whole additional key exchange as responder (RFC 9370).
    Encapsulate {
        /// The mechanism.
        kem: Kem,
        /// The peer's KE data, an encapsulation key.
        peer_key: Vec<u8>,
    },
    /// The first half of an additional key exchange as initiator.
    GenerateKem {
        /// The mechanism.
        kem: Kem,
    },
    /// Its second half.
    Decapsulate {
        /// What the first half made. Whoever asks keeps it, to ask again if nobody has time for it.
        private: Arc<KemPrivate>,
        /// The peer's KE data, a ciphertext.
        ciphertext: Vec<u8>,
    },
    /// Sign our AUTH octets.
    Sign {
        /// What is signed (RFC 7296 §2.15).
        octets: Vec<u8>,
        /// SIGNATURE_HASH_ALGORITHMS of the peer; `None` if it sent none (then no RFC 7427 signature may be used).
        peer_hashes: Option<Vec<SignatureHash>>,
        /// The hash of an RSA signature of method 1.
        rsa_hash: RsaHash,
        /// Whether the client has signed by RSA-PSS: then an RSA signature of method 14 is of that kind.
        rsa_pss: bool,
    },
    /// Check a client's certificate chain, identity and AUTH signature.
    Verify(Box<VerifyJob>),
}

/// What a client proves itself with.
pub struct VerifyJob {
    /// Its CERT payloads, its own certificate first.
    pub certificates: Vec<Cert>,
    /// Its AUTH payload.
    pub auth: Auth,
    /// What it must have signed.
    pub octets: Vec<u8>,
    /// IDi, which the certificate must hold.
    pub identity: Identity,
}

/// Our AUTH payload, with the chain that belongs to the key that made it: the keyring may be another by the time it is sent.
pub struct SignedAuth {
    /// The AUTH payload.
    pub auth: Auth,
    /// Our certificate, then intermediates ([`Credential::cert_payloads`]).
    pub certificates: Vec<Cert>,
}

/// What the work led to.
pub enum PublicKeyResult {
    /// Of [`PublicKeyJob::Respond`] and [`PublicKeyJob::Encapsulate`].
    Responded(Result<(Vec<u8>, SharedSecret), CryptoError>),
    /// Of [`PublicKeyJob::Generate`]: our KE data and the handle for the second half.
    Generated(Result<(Vec<u8>, KePrivate), CryptoError>),
    /// Of [`PublicKeyJob::GenerateKem`]: our KE data and the handle for the second half.
    GeneratedKem(Result<(Vec<u8>, KemPrivate), CryptoError>),
    /// Of [`PublicKeyJob::Derive`] and [`PublicKeyJob::Decapsulate`].
    Derived(Result<SharedSecret, CryptoError>),
    /// Of [`PublicKeyJob::Sign`].
    Signed(Result<SignedAuth, SignError>),
    /// Of [`PublicKeyJob::Verify`].
    Verified(Result<ProvenIdentity, AuthenticationError>),
}

impl PublicKeyJob {
    /// Does the work. `unix_secs` is the wall clock that certificates' validity is held against.
    pub fn run(self, keyring: &Keyring, unix_secs: u64, random: &mut dyn Random) -> PublicKeyResult {
        match self {
            PublicKeyJob::Respond { group, peer_public } => {
                PublicKeyResult::Responded(respond(group, &peer_public, random))
            }
            PublicKeyJob::Generate { group } => PublicKeyResult::Generated(generate(group, random)),
            PublicKeyJob::Derive { private, peer_public } => {
                PublicKeyResult::Derived(private.derive(&peer_public))
            }
            PublicKeyJob::Encapsulate { kem, peer_key } => {
                PublicKeyResult::Responded(encapsulate(kem, &peer_key))
            }
            PublicKeyJob::GenerateKem { kem } => PublicKeyResult::GeneratedKem(KemPrivate::generate(kem)),
            PublicKeyJob::Decapsulate { private, ciphertext } => {
                PublicKeyResult::Derived(private.decapsulate(&ciphertext))
            }
            PublicKeyJob::Sign { octets, peer_hashes, rsa_hash, rsa_pss } => {
                let padding = rsa_pss.then_some(RsaPadding::Pss);
                PublicKeyResult::Signed(match &keyring.credential {
                    Some(credential) => credential
                        .sign_as(&octets, peer_hashes.as_deref(), rsa_hash, padding)
                        .map(|auth| SignedAuth { auth, certificates: credential.cert_payloads().collect() }),
                    None => Err(SignError::NoCommonAlgorithm),
                })
            }
            PublicKeyJob::Verify(job) => PublicKeyResult::Verified(match &keyring.client_authorities {
                Some(store) => store.authenticate(
                    &job.certificates,
                    CertUse::Client,
                    &job.identity,
                    &job.auth,
                    &job.octets,
                    unix_secs,
                ),
                None => Err(CertError::UnknownIssuer.into()),
            }),
        }
    }

    /// What it does, for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            PublicKeyJob::Respond { .. } => "respond",
            PublicKeyJob::Generate { .. } => "generate",
            PublicKeyJob::Derive { .. } => "derive",
            PublicKeyJob::Encapsulate { .. } => "encapsulate",
            PublicKeyJob::GenerateKem { .. } => "generate kem",
            PublicKeyJob::Decapsulate { .. } => "decapsulate",
            PublicKeyJob::Sign { .. } => "sign",
            PublicKeyJob::Verify(_) => "verify",
        }
    }
}

fn respond(
    group: Group,
    peer_public: &[u8],
    random: &mut dyn Random,
) -> Result<(Vec<u8>, SharedSecret), CryptoError> {
    let private = KePrivate::generate(group, random)?;
    Ok((private.public()?, private.derive(peer_public)?))
}

fn generate(group: Group, random: &mut dyn Random) -> Result<(Vec<u8>, KePrivate), CryptoError> {
    let private = KePrivate::generate(group, random)?;
    Ok((private.public()?, private))
}

impl fmt::Debug for PublicKeyJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKeyJob({})", self.name())
    }
}

impl fmt::Debug for PublicKeyResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PublicKeyResult::Responded(_) => "Responded(..)",
            PublicKeyResult::Generated(_) => "Generated(..)",
            PublicKeyResult::GeneratedKem(_) => "GeneratedKem(..)",
            PublicKeyResult::Derived(_) => "Derived(..)",
            PublicKeyResult::Signed(_) => "Signed(..)",
            PublicKeyResult::Verified(_) => "Verified(..)",
        })
    }
}
