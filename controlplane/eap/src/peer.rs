//! The peer of one EAP conversation: names itself, refuses foreign methods, proves who it is (RFC 3748 §2).
//!
//! Enters: the server's EAP packets, one random challenge. Leaves: responses, at the end the MSK. EAP-Success counts only
//! after the server has done all that the method demands of it (RFC 3748 §4.2).

use zeroize::Zeroizing;

use crate::mschapv2::crypto::{Challenge, NtHash};
use crate::mschapv2::peer::Mschapv2Peer;
use crate::outcome::{DiscardReason, FailureReason, Msk};
use crate::packet::{EapType, Message, Packet};
use crate::tls::peer::{EapTlsPeer, PeerTls, TlsPeer};
use crate::tunnel::{PeapPeer, TtlsPeer};
use crate::{gtc, md5};

/// Who a peer is that speaks MSCHAPv2.
pub struct PeerConfig {
    /// Answer to the Identity request.
    pub identity: String,
    /// Name in the method, perhaps with `DOMAIN\`.
    pub user: String,
    /// Hash of the password.
    pub hash: NtHash,
}

/// A method that a peer speaks, with what it needs.
pub enum PeerMethod {
    /// EAP-MSCHAPv2.
    Mschapv2 {
        /// Name in the method, perhaps with `DOMAIN\`.
        user: String,
        /// Hash of the password.
        hash: NtHash,
        /// Random.
        challenge: Challenge,
    },
    /// EAP-GTC.
    Gtc {
        /// The password.
        password: Zeroizing<String>,
    },
    /// EAP-MD5.
    Md5 {
        /// Name in the method.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// EAP-TLS, with the certificate that the TLS configuration holds.
    Tls(PeerTls),
    /// EAP-TTLS.
    Ttls(PeerTls, TtlsPeerInner),
    /// PEAP version 0 around another conversation.
    Peap {
        /// The tunnel.
        tls: PeerTls,
        /// Who speaks inside.
        inner: Box<EapPeer>,
        /// Random, for a crypto binding.
        nonce: [u8; 32],
    },
}

/// What proves the user inside of TTLS.
pub enum TtlsPeerInner {
    /// The password in clear.
    Pap {
        /// User-Name.
        user: String,
        /// User-Password.
        password: Zeroizing<String>,
    },
    /// MS-CHAP-V2 without EAP.
    Mschapv2 {
        /// User-Name.
        user: String,
        /// Hash of the password.
        hash: NtHash,
        /// Random.
        challenge: Challenge,
    },
    /// Another conversation.
    Eap(Box<EapPeer>),
}

/// What a packet led to.
pub enum PeerStep {
    /// Send this response.
    Response(Vec<u8>),
    /// Both sides have proven themselves; the key for AUTH, if the method makes one.
    Success(Option<Msk>),
    /// It ended without login.
    Failure(FailureReason),
    /// Ignored; nothing changed.
    Discard(DiscardReason),
}

/// A method under way.
pub(crate) trait RunningMethod: Send {
    /// Takes the Type-Data of a request with this identifier; returns the Type-Data of the response.
    fn handle(&mut self, identifier: u8, data: &[u8]) -> Result<Vec<u8>, DiscardReason>;
    /// Whether EAP-Success would be right now.
    fn is_proven(&self) -> bool;
    /// The key, if the method makes one and has come so far.
    fn msk(&self) -> Option<Msk>;
}

/// One conversation.
pub struct EapPeer {
    identity: String,
    methods: Vec<(EapType, Box<dyn RunningMethod>)>,
    /// The last one that answered.
    running: Option<usize>,
    finished: bool,
}

impl EapPeer {
    /// Speaks MSCHAPv2 and waits for the server's first request. `peer_challenge` is random.
    pub fn new(config: PeerConfig, peer_challenge: Challenge) -> EapPeer {
        let PeerConfig { identity, user, hash } = config;
        EapPeer::with_methods(identity, vec![PeerMethod::Mschapv2 { user, hash, challenge: peer_challenge }])
    }

    /// Speaks these methods, and names them in this order when it refuses another.
    pub fn with_methods(identity: String, methods: Vec<PeerMethod>) -> EapPeer {
        let methods = methods.into_iter().map(PeerMethod::begin).collect();
        EapPeer { identity, methods, running: None, finished: false }
    }

    /// Takes the server's packet.
    pub fn handle(&mut self, octets: &[u8]) -> PeerStep {
        let packet = match Packet::decode(octets) {
            Ok(packet) => packet,
            Err(error) => return PeerStep::Discard(error.into()),
        };
        if self.finished {
            return PeerStep::Discard(DiscardReason::Finished);
        }
        match packet {
            Packet::Request(request) => self.respond(request),
            Packet::Success { .. } if self.is_proven() => {
                self.finished = true;
                PeerStep::Success(self.msk())
            }
            Packet::Success { .. } => PeerStep::Discard(DiscardReason::OutOfOrder),
            Packet::Failure { .. } => {
                self.finished = true;
                PeerStep::Failure(FailureReason::ServerSaidFailure)
            }
            Packet::Response(_) => PeerStep::Discard(DiscardReason::WrongCode),
        }
    }

    /// Whether EAP-Success would be right now.
    pub(crate) fn is_proven(&self) -> bool {
        self.method().is_some_and(RunningMethod::is_proven)
    }

    /// The key of the method that runs.
    pub(crate) fn msk(&self) -> Option<Msk> {
        self.method()?.msk()
    }

    fn method(&self) -> Option<&dyn RunningMethod> {
        self.methods.get(self.running?).map(|(_, method)| &**method as &dyn RunningMethod)
    }

    fn respond(&mut self, request: Message<'_>) -> PeerStep {
        let known = self.methods.iter_mut().enumerate().find(|(_, (kind, _))| *kind == request.kind);
        let (kind, data) = match (request.kind, known) {
            (EapType::IDENTITY, _) => (EapType::IDENTITY, self.identity.as_bytes().to_vec()),
            (EapType::NOTIFICATION, _) => (EapType::NOTIFICATION, vec![]),
            (kind, Some((place, (_, method)))) => match method.handle(request.identifier, request.data) {
                Ok(data) => {
                    self.running = Some(place);
                    (kind, data)
                }
                Err(reason) => return PeerStep::Discard(reason),
            },
            (kind, None) if kind.is_method() => {
                (EapType::NAK, self.methods.iter().map(|(kind, _)| kind.0).collect())
            }
            (kind, None) => return PeerStep::Discard(DiscardReason::UnexpectedType(kind.0)),
        };
        match Packet::Response(Message { identifier: request.identifier, kind, data: &data }).encode() {
            Ok(response) => PeerStep::Response(response),
            Err(error) => PeerStep::Discard(error.into()),
        }
    }
}

impl PeerMethod {
    fn begin(self) -> (EapType, Box<dyn RunningMethod>) {
        match self {
            PeerMethod::Mschapv2 { user, hash, challenge } => {
                (EapType::MSCHAPV2, Box::new(Mschapv2Peer::new(&user, hash, challenge)))
            }
            PeerMethod::Gtc { password } => {
                (EapType::GTC, Box::new(OneAnswer { secret: Told::Password(password), told: false }))
            }
            PeerMethod::Md5 { user, password } => {
                (EapType::MD5, Box::new(OneAnswer { secret: Told::Hash(user, password), told: false }))
            }
            PeerMethod::Tls(tls) => {
                let inside = Box::new(EapTlsPeer::default());
                (EapType::TLS, Box::new(TlsPeer::new(EapType::TLS, tls, inside)))
            }
            PeerMethod::Ttls(tls, inner) => {
                let inside = match inner {
                    TtlsPeerInner::Pap { user, password } => TtlsPeer::Pap { user, password, said: false },
                    TtlsPeerInner::Mschapv2 { user, hash, challenge } => {
                        TtlsPeer::Mschapv2 { user, hash, challenge, expected: None, proven: false }
                    }
                    TtlsPeerInner::Eap(peer) => TtlsPeer::eap(peer),
                };
                (EapType::TTLS, Box::new(TlsPeer::new(EapType::TTLS, tls, Box::new(inside))))
            }
            PeerMethod::Peap { tls, inner, nonce } => {
                let inside = Box::new(PeapPeer::new(inner, nonce));
                (EapType::PEAP, Box::new(TlsPeer::new(EapType::PEAP, tls, inside)))
            }
        }
    }
}

/// A method of one question, whose server proves nothing.
struct OneAnswer {
    secret: Told,
    told: bool,
}

enum Told {
    Password(Zeroizing<String>),
    Hash(String, Zeroizing<String>),
}

impl RunningMethod for OneAnswer {
    fn handle(&mut self, identifier: u8, data: &[u8]) -> Result<Vec<u8>, DiscardReason> {
        let answer = match &self.secret {
            Told::Password(password) => gtc::respond(password),
            Told::Hash(user, password) => {
                md5::respond(identifier, data, password, user).ok_or(DiscardReason::MalformedMethodData)?
            }
        };
        self.told = true;
        Ok(answer)
    }

    fn is_proven(&self) -> bool {
        self.told
    }

    fn msk(&self) -> Option<Msk> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> EapPeer {
        let config =
            PeerConfig { identity: "ann".into(), user: "ann".into(), hash: NtHash::of_password("s3cret") };
        EapPeer::new(config, [1; 16])
    }

    #[test]
    fn foreign_methods_get_a_nak_and_notifications_an_empty_answer() {
        let table: &[(&[u8], &[u8])] = &[
            (&[1, 3, 0, 5, 1], &[2, 3, 0, 8, 1, b'a', b'n', b'n']),
            (&[1, 4, 0, 6, 13, 32], &[2, 4, 0, 6, 3, 26]),
            (&[1, 5, 0, 6, 2, b'!'], &[2, 5, 0, 5, 2]),
        ];
        for (request, expected) in table {
            let PeerStep::Response(response) = peer().handle(request) else { panic!("{request:02x?}") };
            assert_eq!(response, *expected);
        }
    }

    #[test]
    fn success_out_of_the_blue_is_ignored_and_failure_ends() {
        let mut peer = peer();
        assert!(matches!(peer.handle(&[3, 1, 0, 4]), PeerStep::Discard(DiscardReason::OutOfOrder)));
        assert!(matches!(peer.handle(&[4, 1, 0, 4]), PeerStep::Failure(FailureReason::ServerSaidFailure)));
        assert!(matches!(peer.handle(&[1, 3, 0, 5, 1]), PeerStep::Discard(DiscardReason::Finished)));
    }
}
