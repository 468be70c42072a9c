//! The API over TLS: certificate and key from files, read anew when they change; callers' certificates, if the configuration
//! names an authority.
//!
//! Enters: TCP connections. Leaves: TLS streams and who is at the other end. TLS 1.2 and 1.3 with rustls' own choice of suites.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use causeway_shared::api::Role;
use causeway_shared::config::{ManagementClient, ManagementTls};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::peer::Connection;
use crate::access::locked;
use crate::keys::{FileState, state};

/// How long a handshake may take.
pub const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// Why the API is not served over TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The address.
    #[error("management.listen: cannot listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// A file.
    #[error("{key} {path}: {reason}")]
    File {
        /// The key that names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A socket that listens, and what is shown to who comes.
pub struct TlsListener {
    pub(super) listener: TcpListener,
    pub(super) keys: Arc<TlsKeys>,
}

impl TlsListener {
    /// Listens.
    ///
    /// # Errors
    /// When certificate or key cannot be used, or the address is taken.
    pub fn bind(settings: &ManagementTls) -> Result<TlsListener, TlsError> {
        let keys = Arc::new(TlsKeys::new(settings.clone())?);
        let address = settings.listen;
        let failed = |source| TlsError::Listen { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(TlsListener { listener, keys })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Certificate, key and authorities as they are in use.
pub(super) struct TlsKeys {
    settings: ManagementTls,
    inner: Mutex<InUse>,
}

struct InUse {
    config: Arc<ServerConfig>,
    files: Vec<FileState>,
}

impl TlsKeys {
    fn new(settings: ManagementTls) -> Result<TlsKeys, TlsError> {
        let files = states(&settings);
        let config = read(&settings)?;
        Ok(TlsKeys { settings, inner: Mutex::new(InUse { config, files }) })
    }

    /// Looks at the files again; what does not fit changes nothing.
    pub(super) fn refresh(&self) {
        let files = states(&self.settings);
        if files == locked(&self.inner).files {
            return;
        }
        match read(&self.settings) {
            Ok(config) => {
                tracing::info!("the API's certificate was read anew");
                *locked(&self.inner) = InUse { config, files };
            }
            Err(error) => {
                // Chain and key are seldom replaced at once; they are read again when they change again.
                tracing::warn!(%error, "the API's old certificate stays in use");
                locked(&self.inner).files = files;
            }
        }
    }

    /// The handshake.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(Arc::clone(&locked(&self.inner).config));
        match tokio::time::timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await {
            Ok(accepted) => accepted,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Who is at the other end.
    pub(super) fn connection(&self, stream: &TlsStream<TcpStream>, from: SocketAddr) -> Connection {
        let certificates = stream.get_ref().1.peer_certificates();
        let name = certificates.and_then(|chain| chain.first()).and_then(|leaf| common_name(leaf));
        let certificate = name.and_then(|name| role_of(&self.settings.clients, name));
        Connection::Tls { address: from.ip().to_canonical(), certificate }
    }
}

fn role_of(clients: &[ManagementClient], name: String) -> Option<(String, Role)> {
    let client = clients.iter().find(|client| client.name == name)?;
    Some((name, client.role))
}

/// The one common name; a subject with several is nobody's.
fn common_name(leaf: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let mut names = certificate.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?.to_owned();
    names.next().is_none().then_some(name)
}

fn states(settings: &ManagementTls) -> Vec<FileState> {
    let ManagementTls { certificate_file, private_key_file, client_ca_file, .. } = settings;
    [Some(certificate_file), Some(private_key_file), client_ca_file.as_ref()]
        .into_iter()
        .flatten()
        .map(|path| state(path))
        .collect()
}

fn read(settings: &ManagementTls) -> Result<Arc<ServerConfig>, TlsError> {
    let (chain_file, key_file) = (&settings.certificate_file, &settings.private_key_file);
    let chain = certificates("management.certificate_file", chain_file)?;
    let fault = |key: &'static str, path: &Path, reason: String| TlsError::File {
        key,
        path: path.to_owned(),
        reason,
    };
    let key = PrivateKeyDer::from_pem_file(key_file)
        .map_err(|error| fault("management.private_key_file", key_file, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let pair = |error: rustls::Error| {
        fault(
            "management.certificate_file",
            chain_file,
            format!("cannot be used with the private key: {error}"),
        )
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(pair)?;
    let builder = match &settings.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let key = "management.client_ca_file";
            let mut roots = RootCertStore::empty();
            for authority in certificates(key, path)? {
                roots.add(authority).map_err(|error| fault(key, path, error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| fault(key, path, error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let fault = |reason: String| TlsError::File { key, path: path.to_owned(), reason };
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| fault(error.to_string()))?;
    if read.is_empty() { Err(fault("holds no certificate".to_owned())) } else { Ok(read) }
}
