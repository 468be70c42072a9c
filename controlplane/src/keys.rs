//! Our certificate, its key and the clients' authorities: read at start, and again whenever their files change, so that who
//! renews certificates (ACME clients do every few weeks) needs no restart and ends no session.
//!
//! Revocation lists among them are read likewise, and given to the registrar.
//!
//! Enters: the files that the configuration names. Leaves: [`Keys`] for the driver, or the reason why the old ones stay. Files are
//! looked at every [`POLL`] and read once they have not changed for that long: chain and key are seldom replaced at once.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use causeway_ike::cert::{Credential, TrustStore};
use causeway_ike::ident::Identity;
use causeway_ike::job::Keyring;
use causeway_shared::config::{Config, ServerCertHash};
use zeroize::Zeroizing;

use crate::driver::{DriverHandle, NoAnswer, Request};
use crate::revocation::Registrar;
use crate::setup::{self, SetupError};

/// How often the files are looked at.
pub const POLL: Duration = Duration::from_secs(2);

/// What the files hold.
#[derive(Clone)]
pub struct Keys {
    /// Keys and authorities.
    pub keyring: Arc<Keyring>,
    /// What AnyConnect-EAP tells of our certificate.
    pub server_cert_hash: [u8; 20],
    /// EAP methods, with TLS that shows our certificate.
    pub eap: causeway_eap::ServerConfig,
    /// Whom the authorities ask for revoked certificates; the same after every reading.
    pub registrar: Arc<Registrar>,
}

/// The files.
#[derive(Clone)]
pub struct KeyFiles {
    config: Arc<Config>,
    registrar: Arc<Registrar>,
}

/// What tells a file from its successor: device, inode, octets, last change of content or permissions. `None`: it cannot be seen.
pub(crate) type FileState = Option<(u64, u64, u64, i64, i64)>;

/// The states of all files at one time.
#[derive(Clone, PartialEq, Eq)]
pub struct States(Vec<FileState>);

impl KeyFiles {
    /// Those that the configuration names.
    ///
    /// # Errors
    /// When there is no thread to fetch revocation lists.
    pub fn new(config: &Config) -> Result<KeyFiles, SetupError> {
        let registrar = Registrar::start(&config.auth.revocation).map_err(SetupError::Revocation)?;
        Ok(KeyFiles { config: Arc::new(config.clone()), registrar: Arc::new(registrar) })
    }

    /// How they are now. Taken before [`KeyFiles::read`], no change is missed.
    pub fn states(&self) -> States {
        let auth = &self.config.auth;
        let all = [&auth.certificate_file, &auth.private_key_file, &auth.client_ca_file];
        let all = all.into_iter().flatten().chain(&auth.revocation.crl_files);
        States(all.map(|path| state(path)).collect())
    }

    /// Reads them.
    ///
    /// # Errors
    /// When a file is missing or not what it should be.
    pub fn read(&self) -> Result<Keys, SetupError> {
        let config = &*self.config;
        let auth = &config.auth;
        let credential = match (&auth.certificate_file, &auth.private_key_file) {
            (Some(chain), Some(key)) => {
                let chain_pem = read("auth.certificate_file", chain)?;
                let key_pem = read("auth.private_key_file", key)?;
                let failed =
                    |reason| SetupError::Credential { chain: chain.clone(), key: key.clone(), reason };
                Some(Credential::from_pem(&chain_pem, &key_pem).map_err(failed)?)
            }
            _ => None,
        };
        let client_authorities = match &auth.client_ca_file {
            Some(path) => {
                let pem = read("auth.client_ca_file", path)?;
                let failed = |reason| SetupError::Authorities { path: path.clone(), reason };
                Some(self.registrar.guard(TrustStore::from_pem(&pem).map_err(failed)?))
            }
            None => None,
        };
        let identity = Identity::from_text(&config.gateway.identity);
        if credential.as_ref().is_some_and(|credential| !credential.names(&identity)) {
            tracing::warn!(
                "the certificate does not name gateway.identity `{}`: clients will refuse it",
                config.gateway.identity
            );
        }
        let server_cert_hash = server_cert_hash(config.cisco.server_cert_hash, credential.as_ref());
        let keyring = Arc::new(Keyring { credential, client_authorities });
        let eap = setup::eap(config, &keyring)?;
        // Last: who reads files that do not fit changes nothing.
        self.read_lists()?;
        Ok(Keys { keyring, server_cert_hash, eap, registrar: Arc::clone(&self.registrar) })
    }

    fn read_lists(&self) -> Result<(), SetupError> {
        let paths = &self.config.auth.revocation.crl_files;
        let files = paths.iter().map(|path| Ok(read("auth.crl_files", path)?.to_vec()));
        let files = files.collect::<Result<Vec<_>, SetupError>>()?;
        self.registrar.set_files(&files).map_err(|(place, reason)| SetupError::RevocationList {
            path: paths.get(place).cloned().unwrap_or_default(),
            reason,
        })
    }
}

/// Gives the driver new keys whenever the files have changed since `taken`, until the driver is gone. Bad files are logged, shown
/// as a problem of health, and change nothing else.
pub async fn follow(files: KeyFiles, mut taken: States, driver: DriverHandle) {
    let mut seen = taken.clone();
    loop {
        tokio::time::sleep(POLL).await;
        let now = beside(&files, KeyFiles::states).await;
        let settled = now == seen;
        seen = now;
        if !settled || seen == taken {
            continue;
        }
        taken = seen.clone();
        let read = beside(&files, KeyFiles::read).await.map_err(|error| error.to_string());
        match &read {
            Ok(_) => tracing::info!("certificates read anew; sessions go on"),
            Err(error) => tracing::error!("{error}; the old certificates stay in use"),
        }
        loop {
            let read = read.clone();
            match driver.ask(|sender| Request::NewKeys(read, sender)).await {
                Ok(()) => break,
                Err(NoAnswer::Busy) => tokio::time::sleep(POLL).await,
                Err(NoAnswer::Stopping) => return,
            }
        }
    }
}

/// A disk may be slow; the driver's thread is not to wait for it.
async fn beside<T: Send + 'static>(files: &KeyFiles, work: fn(&KeyFiles) -> T) -> T {
    let of_thread = files.clone();
    match tokio::task::spawn_blocking(move || work(&of_thread)).await {
        Ok(done) => done,
        // A runtime that is going down begins nothing more.
        Err(_) => std::future::pending().await,
    }
}

/// How a file is now.
pub(crate) fn state(path: &Path) -> FileState {
    let data = std::fs::metadata(path).ok()?;
    Some((data.dev(), data.ino(), data.size(), data.ctime(), data.ctime_nsec()))
}

/// Reads a file that `key` of the configuration names.
pub(crate) fn read(key: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, SetupError> {
    let failed = |source| SetupError::File { key, path: path.to_owned(), source };
    std::fs::read(path).map(Zeroizing::new).map_err(failed)
}

/// SHA-1 because the clients want that; nothing depends on its strength.
fn server_cert_hash(of: ServerCertHash, credential: Option<&Credential>) -> [u8; 20] {
    let hash = match of {
        ServerCertHash::SpkiSha1 => credential.and_then(Credential::public_key_sha1),
        ServerCertHash::CertSha1 => credential.and_then(|credential| {
            let certificate = credential.cert_payloads().next()?;
            let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &certificate.data);
            hash.as_ref().try_into().ok()
        }),
    };
    // Without a certificate there is no AnyConnect login, either.
    hash.unwrap_or_default()
}
