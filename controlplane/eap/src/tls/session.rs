//! One TLS session between buffers, either side (rustls).
//!
//! Enters: flights of TLS records, octets to protect. Leaves: flights, decrypted octets, exported keys. After an error the
//! flight holds the alert for the other side, if there is one to send.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, Connection, ProtocolVersion, ServerConfig, ServerConnection};
use zeroize::Zeroizing;

/// Octets of the most that is decrypted from one flight.
const MAX_PLAINTEXT_OCTETS: usize = 65_536;

/// One session.
pub(crate) struct TlsSession(Connection);

/// The session is over. What the other side is told is in [`TlsSession::flight`].
#[derive(Clone, Debug)]
pub(crate) struct TlsBroken;

impl TlsSession {
    pub(crate) fn server(config: Arc<ServerConfig>) -> Result<TlsSession, TlsBroken> {
        ServerConnection::new(config).map(|server| TlsSession(server.into())).map_err(|_| TlsBroken)
    }

    pub(crate) fn client(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> Result<TlsSession, TlsBroken> {
        ClientConnection::new(config, name).map(|client| TlsSession(client.into())).map_err(|_| TlsBroken)
    }

    /// Takes a flight; returns what it protects.
    pub(crate) fn take(&mut self, mut flight: &[u8]) -> Result<Zeroizing<Vec<u8>>, TlsBroken> {
        let mut plaintext = Zeroizing::new(Vec::new());
        while !flight.is_empty() {
            // A slice has no errors; 0 with octets left means that the other side has closed the session.
            if self.0.read_tls(&mut flight).map_err(|_| TlsBroken)? == 0 {
                return Err(TlsBroken);
            }
            let state = self.0.process_new_packets().map_err(|_| TlsBroken)?;
            let (start, octets) = (plaintext.len(), state.plaintext_bytes_to_read());
            let end = start.saturating_add(octets);
            if end > MAX_PLAINTEXT_OCTETS {
                return Err(TlsBroken);
            }
            plaintext.resize(end, 0);
            let room = plaintext.get_mut(start..).unwrap_or_default();
            self.0.reader().read_exact(room).map_err(|_| TlsBroken)?;
        }
        Ok(plaintext)
    }

    /// Protects octets; they are in the next flight.
    pub(crate) fn protect(&mut self, plaintext: &[u8]) -> Result<(), TlsBroken> {
        self.0.writer().write_all(plaintext).map_err(|_| TlsBroken)
    }

    /// What is to be sent.
    pub(crate) fn flight(&mut self) -> Vec<u8> {
        let mut flight = Vec::new();
        while self.0.wants_write() {
            // A Vec has no errors.
            if self.0.write_tls(&mut flight).is_err() {
                break;
            }
        }
        flight
    }

    /// Whether there is something to send.
    pub(crate) fn has_flight(&self) -> bool {
        self.0.wants_write()
    }

    pub(crate) fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    pub(crate) fn is_tls13(&self) -> bool {
        self.0.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// DER of the certificate that the other side has proven to hold.
    pub(crate) fn peer_certificate(&self) -> Option<&[u8]> {
        self.0.peer_certificates()?.first().map(AsRef::as_ref)
    }

    /// RFC 5705 §4, RFC 8446 §7.5.
    pub(crate) fn export<const N: usize>(
        &self,
        label: &[u8],
        context: Option<&[u8]>,
    ) -> Result<Zeroizing<[u8; N]>, TlsBroken> {
        let mut out = Zeroizing::new([0; N]);
        self.0.export_keying_material(out.as_mut_slice(), label, context).map_err(|_| TlsBroken)?;
        Ok(out)
    }
}
