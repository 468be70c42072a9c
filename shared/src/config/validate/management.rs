//! The management API: that TLS has what it needs, and that nothing is configured in vain.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::super::Checks;
use super::super::keys::{RawManagement, RawManagementClient};
use super::super::mistake::Notes;
use super::super::model::{Management, ManagementClient, ManagementTls};
use super::super::reader::Document;
use super::super::schema::At;
use super::auth::{beside, check_pem_file};
use super::unique;

pub(super) fn check(document: &Document, checks: &Checks<'_>, notes: &mut Notes<'_>) {
    let Document { management, management_clients: clients, .. } = document;
    unique(clients.iter().filter_map(|one| one.name.as_ref()), |_| "this name".into(), notes);
    let files = [
        (&management.certificate_file, "certificate_file", "api.pem", "CERTIFICATE"),
        (&management.private_key_file, "private_key_file", "api.key", "PRIVATE KEY"),
        (&management.client_ca_file, "client_ca_file", "operators-ca.pem", "CERTIFICATE"),
    ];
    let listens = matches!(&management.listen, Some(At { value: Some(_), .. }));
    for (key, name, example, label) in files {
        let Some(key) = key else { continue };
        match &key.value {
            None if listens && name != "client_ca_file" => notes.mistake(
                &key.place,
                "is missing, and `listen` needs it",
                format!("add it under [management], as in `{name} = \"/etc/causeway/{example}\"`"),
            ),
            Some(_) if !listens => notes.warning(
                &key.place,
                "is of no use without `listen`",
                "set `listen` to an address of this machine, or remove it",
            ),
            Some(path) if checks.files => check_pem_file(path, label, &key.place, notes),
            _ => {}
        }
    }
    if let (Some(first), Some(At { value: None, .. })) = (clients.first(), &management.client_ca_file) {
        notes.mistake(
            &first.place,
            "is known by certificate, but there is no authority for certificates",
            "set management.client_ca_file",
        );
    }
}

pub(super) fn management(
    raw: RawManagement,
    clients: Vec<RawManagementClient>,
    (socket, store, config_file): (PathBuf, &Path, &Path),
) -> Option<Management> {
    let file = |path: PathBuf| beside(config_file, &path);
    let tls = match raw.listen?.value {
        None => None,
        Some(address) => Some(ManagementTls {
            listen: SocketAddr::new(address, raw.port?.value),
            certificate_file: file(raw.certificate_file?.value?),
            private_key_file: file(raw.private_key_file?.value?),
            client_ca_file: raw.client_ca_file?.value.map(file),
            clients: clients
                .into_iter()
                .map(|one| Some(ManagementClient { name: one.name?.value, role: one.role?.value }))
                .collect::<Option<_>>()?,
        }),
    };
    let beside_store = || store.parent().unwrap_or(Path::new("/")).to_owned();
    Some(Management {
        socket,
        tls,
        state_directory: raw
            .state_directory?
            .value
            .map_or_else(beside_store, |path| beside(config_file, &path)),
        allow_key_export: raw.allow_key_export?.value,
    })
}
