//! Requests of the gateway: Access-Request, Accounting-Request, Status-Server.
//!
//! Enters: attributes, identifier, secret, randomness. Leaves: octets, and what the answer will be held against.

use zeroize::Zeroizing;

use crate::SharedSecret;
use crate::attribute::USER_PASSWORD;
use crate::authenticator::{assemble, seal};
use crate::hiding::hide_password;
use crate::packet::{AttributeList, Code, TooLong};

/// What is asked, apart from identifier and authenticator.
#[derive(Clone)]
pub enum Question {
    /// May this user in?
    Access {
        /// What is known of user and session, EAP-Message and State included.
        attributes: AttributeList,
        /// The password, for PAP. Sent as User-Password.
        password: Option<Zeroizing<Vec<u8>>>,
    },
    /// An accounting record.
    Accounting {
        /// The record.
        attributes: AttributeList,
    },
    /// Are you there (RFC 5997)?
    Status,
}

/// A request as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub(crate) code: Code,
    pub(crate) identifier: u8,
    pub(crate) authenticator: [u8; 16],
    octets: Vec<u8>,
}

impl Sent {
    /// The datagram.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Matches the answer.
    pub fn identifier(&self) -> u8 {
        self.identifier
    }
}

impl Question {
    /// The request for a server with this secret. `authenticator`: fresh random octets (RFC 2865 §3: unpredictable and
    /// unique while the secret lives); an Accounting-Request has a hash in their place.
    ///
    /// # Errors
    /// When a password or the whole is too long.
    pub fn request(
        &self,
        identifier: u8,
        authenticator: [u8; 16],
        secret: &SharedSecret,
    ) -> Result<Sent, TooLong> {
        let (code, authenticator, octets) = match self {
            Question::Access { attributes, password } => {
                let mut attributes = attributes.clone();
                if let Some(password) = password {
                    let hidden = hide_password(password, secret, &authenticator);
                    let hidden = hidden.ok_or(TooLong { attribute: USER_PASSWORD.0 })?;
                    attributes.push(USER_PASSWORD, &hidden)?;
                }
                let code = Code::AccessRequest;
                let octets = assemble(code, identifier, &authenticator, attributes.octets(), Some(secret));
                (code, authenticator, octets)
            }
            Question::Status => {
                let code = Code::StatusServer;
                (code, authenticator, assemble(code, identifier, &authenticator, &[], Some(secret)))
            }
            Question::Accounting { attributes } => {
                let code = Code::AccountingRequest;
                let mut octets = assemble(code, identifier, &[0; 16], attributes.octets(), None);
                seal(&mut octets, secret);
                let hash = octets.get(4..20).and_then(|hash| hash.try_into().ok()).unwrap_or_default();
                (code, hash, octets)
            }
        };
        Ok(Sent { code, identifier, authenticator, octets })
    }
}
