//! One client: the initiator, configured as its number says. Enters: what all have in common, a number. Leaves: an initiator.

use std::cell::RefCell;
use std::net::{IpAddr, SocketAddr};

use causeway_eap::{EapPeer, NtHash, PeerConfig, PeerStep};
use causeway_ike::crypto::{Random, SystemRandom};
use causeway_ike::ident::Identity;
use causeway_ike::testing::{AuthWith, Initiator, InitiatorConfig, TestError};

use super::Login;

/// What all clients have in common.
pub struct Kind {
    /// How they prove themselves.
    pub login: Login,
    /// Pre-shared key or password.
    pub secret: String,
    /// Name, `{n}` for the number.
    pub user: String,
    /// IKE proposal.
    pub ike: String,
    /// ESP proposal.
    pub esp: String,
}

/// The client of this number, from `local` to the gateway.
pub fn client(
    kind: &Kind,
    number: u32,
    local: SocketAddr,
    gateway: (IpAddr, u16),
) -> Result<Initiator, TestError> {
    let user = kind.user.replace("{n}", &number.to_string());
    let auth = match kind.login {
        Login::Psk => AuthWith::Psk(kind.secret.clone().into_bytes()),
        Login::EapMschapv2 => AuthWith::Eap(Box::new(Mschapv2::new(&user, &kind.secret)?)),
    };
    let config = InitiatorConfig::new(Identity::from_text(&user), auth, &kind.ike, &kind.esp)?;
    let config = InitiatorConfig { local: (local.ip(), local.port()), gateway, ..config };
    Initiator::new(config, Box::new(SystemRandom))
}

/// EAP-MSCHAPv2 as the initiator wants it.
struct Mschapv2 {
    /// The initiator asks for the key through a shared reference, and the method gives it once.
    state: RefCell<(EapPeer, Option<Vec<u8>>)>,
}

/// EAP-Success (RFC 3748 §4.2): the initiator keeps the gateway's for itself.
const EAP_SUCCESS: [u8; 4] = [3, 0, 0, 4];

impl Mschapv2 {
    fn new(user: &str, password: &str) -> Result<Mschapv2, TestError> {
        let mut challenge = [0; 16];
        SystemRandom.fill(&mut challenge).map_err(|_| TestError::Crypto)?;
        let config = PeerConfig {
            identity: user.to_owned(),
            user: user.to_owned(),
            hash: NtHash::of_password(password),
        };
        Ok(Mschapv2 { state: RefCell::new((EapPeer::new(config, challenge), None)) })
    }
}

impl causeway_ike::testing::EapPeer for Mschapv2 {
    fn respond(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        match self.state.get_mut().0.handle(request) {
            PeerStep::Response(response) => Some(response),
            PeerStep::Success(_) | PeerStep::Failure(_) | PeerStep::Discard(_) => None,
        }
    }

    fn msk(&self) -> Option<Vec<u8>> {
        let (peer, msk) = &mut *self.state.borrow_mut();
        if msk.is_none()
            && let PeerStep::Success(Some(key)) = peer.handle(&EAP_SUCCESS)
        {
            *msk = Some(key.as_bytes().to_vec());
        }
        msk.clone()
    }
}
