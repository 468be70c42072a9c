//! The API over TLS: who may do what, by token and by certificate, and what is written down of it.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;

use causeway_controlplane::access::rate::WRONG_TOKENS;
use causeway_controlplane::api::rights;
use causeway_shared::api::{AuditList, CreatedToken, Health, Problem, Role, TokenList};
use causeway_shared::config::{Config, ManagementClient, ManagementTls};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::gateway::{Gateway, NAME};
use crate::http::{self, Answer};

/// A gateway that serves its API over TLS, too.
struct Remote {
    gateway: Gateway,
    address: SocketAddr,
}

impl Remote {
    fn start(name: &str, change: impl FnOnce(&mut ManagementTls)) -> Remote {
        // Free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let add = |config: &mut Config| {
            let mut tls = ManagementTls {
                listen: address,
                certificate_file: config.auth.certificate_file.clone().unwrap(),
                private_key_file: config.auth.private_key_file.clone().unwrap(),
                client_ca_file: None,
                clients: Vec::new(),
            };
            change(&mut tls);
            config.management.tls = Some(tls);
        };
        Remote { gateway: Gateway::start_reconnect(name, "", add), address }
    }

    fn token(&self, role: Role) -> String {
        let body = format!(r#"{{"name":"of the test","role":"{}"}}"#, role.name());
        let answer = http::request(&self.gateway.api, "POST", "/v1/tokens", Some(&body));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json::<CreatedToken>().token
    }

    fn ask(&self, method: &str, path: &str, token: Option<&str>) -> Answer {
        self.ask_as(method, path, token, None).unwrap()
    }

    /// With certificate and key in PEM, if any.
    fn ask_as(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        identity: Option<(&str, &str)>,
    ) -> std::io::Result<Answer> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.gateway.authority.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                builder
                    .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                    .unwrap()
            }
        };
        let client = ClientConnection::new(Arc::new(config), NAME.try_into().unwrap()).unwrap();
        let stream = StreamOwned::new(client, std::net::TcpStream::connect(self.address)?);
        let authorization = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: {NAME}\r\nConnection: close\r\n{authorization}\r\n");
        http::over(stream, request.as_bytes())
    }
}

/// Signs a certificate with this common name; certificate and key in PEM.
fn signed(issuer: &Issuer<'_, KeyPair>, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(Vec::<String>::new()).unwrap();
    leaf.distinguished_name.push(DnType::CommonName, name);
    (leaf.signed_by(&key, issuer).unwrap().pem(), key.serialize_pem())
}

fn authority(file: &Path) -> Issuer<'static, KeyPair> {
    let key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(file, ca.self_signed(&key).unwrap().pem()).unwrap();
    Issuer::new(ca, key)
}

#[test]
fn every_route_lets_through_its_role_and_those_above_and_nobody_else() {
    let remote = Remote::start("rights", |_| {});
    let tokens = Role::ALL.map(|role| (role, remote.token(role)));
    assert!(rights().len() >= 20);
    for (method, path, least) in rights() {
        // No request does what it may: ids are of nothing, bodies and queries are missing.
        let path = path.replace("{id}", "nothing");
        let nobody = remote.ask(method, &path, None);
        assert_eq!(nobody.status, 401, "{method} {path}: {nobody:?}");
        assert_eq!(nobody.header_value("www-authenticate").as_deref(), Some("Bearer"));
        for (role, token) in &tokens {
            let answer = remote.ask(method, &path, Some(token));
            let refused = answer.status == 403 && answer.json::<Problem>().kind == "/problems/forbidden";
            assert_eq!(refused, *role < least, "{method} {path} by {role:?}: {answer:?}");
            assert_ne!(answer.status, 401);
        }
    }
}

#[test]
fn tokens_open_the_api_until_they_are_revoked_and_guessing_locks_out() {
    let remote = Remote::start("tokens", |_| {});
    let viewer = remote.token(Role::Viewer);
    assert_eq!(remote.ask("GET", "/v1/health", Some(&viewer)).json::<Health>().version, "test");
    let list: TokenList = http::get(&remote.gateway.api, "/v1/tokens");
    let id = &list.tokens[0].id;
    let body = remote.ask("GET", "/v1/tokens", Some(&remote.token(Role::Admin))).body;
    assert!(!body.contains(&viewer) && !body.contains("hash"), "{body}");
    assert_eq!(http::request(&remote.gateway.api, "DELETE", &format!("/v1/tokens/{id}"), None).status, 204);
    let good = remote.token(Role::Viewer);
    for _ in 0..WRONG_TOKENS {
        assert_eq!(remote.ask("GET", "/v1/health", Some(&viewer)).status, 401);
    }
    let locked = remote.ask("GET", "/v1/health", Some(&good));
    assert_eq!(locked.status, 429, "{locked:?}");
    assert!(locked.header_value("retry-after").is_some());
    assert_eq!(remote.gateway.health().version, "test", "the Unix socket is not locked");
}

#[test]
fn a_certificate_has_the_role_of_its_name() {
    let directory = std::env::temp_dir().join(format!("causeway-operators-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("ca.pem");
    let (ours, others) = (authority(&file), authority(&directory.join("other.pem")));
    let remote = Remote::start("mtls", |tls| {
        tls.client_ca_file = Some(file.clone());
        tls.clients = vec![ManagementClient { name: "monitoring".into(), role: Role::Viewer }];
    });
    let ask = |method: &str, path: &str, issuer, name| {
        let (certificate, key) = signed(issuer, name);
        remote.ask_as(method, path, None, Some((&certificate, &key))).ok().map(|answer| answer.status)
    };
    assert_eq!(ask("GET", "/v1/health", &ours, "monitoring"), Some(200));
    assert_eq!(ask("DELETE", "/v1/stats/reconnect", &ours, "monitoring"), Some(403));
    assert_eq!(ask("GET", "/v1/health", &ours, "somebody"), Some(401));
    assert_eq!(ask("GET", "/v1/health", &others, "monitoring"), None, "no handshake");
    assert_eq!(remote.ask("GET", "/v1/health", None).status, 401);
    std::fs::remove_dir_all(directory).unwrap();
}

#[test]
fn what_was_changed_is_in_the_audit_log_and_stays_there() {
    let remote = Remote::start("audit", |_| {});
    let (operator, admin) = (remote.token(Role::Operator), remote.token(Role::Admin));
    assert_eq!(remote.ask("DELETE", "/v1/stats/reconnect", Some(&operator)).status, 204);
    assert_eq!(remote.ask("POST", "/v1/tokens", Some(&operator)).status, 403);
    assert_eq!(remote.ask("GET", "/v1/health", Some(&operator)).status, 200);
    let answer = remote.ask("GET", "/v1/audit", Some(&admin));
    assert!(!answer.body.contains(&operator), "no token is written down");
    let log: AuditList = answer.json();
    let deed = |place: usize| {
        let entry = &log.entries[place];
        (entry.method.as_str(), entry.target.as_str(), entry.status, entry.from.as_str())
    };
    assert_eq!((log.intact, log.entries.len()), (true, 4));
    assert_eq!(deed(0), ("POST", "/v1/tokens", 201, "local"));
    assert_eq!(deed(2), ("DELETE", "/v1/stats/reconnect", 204, "127.0.0.1"));
    assert_eq!(deed(3), ("POST", "/v1/tokens", 403, "127.0.0.1"));
    assert!(log.entries[0].who.starts_with("uid ") && log.entries[2].who.starts_with("token "));
    assert!(log.entries[0].before.is_some() && log.entries[0].after == log.entries[1].before);
    for method in ["DELETE", "POST", "PUT", "PATCH"] {
        assert_eq!(remote.ask(method, "/v1/audit", Some(&admin)).status, 405);
    }
    let mut gateway = remote.gateway;
    gateway.stop();
    let again = gateway.again();
    let kept: AuditList = http::get(&again.api, "/v1/audit");
    assert_eq!(kept.entries, log.entries);
}

#[test]
fn a_renewed_certificate_is_served_without_a_restart() {
    let mut remote = Remote::start("api-renewed", |_| {});
    assert_eq!(remote.ask("GET", "/v1/health", None).status, 401);
    remote.gateway.renew_certificate();
    // Callers trust the new authority only, from now on.
    let served = |remote: &Remote| remote.ask_as("GET", "/v1/health", None, None).is_ok();
    crate::gateway::wait_until("the new certificate is served", || served(&remote));
}

#[test]
fn a_post_with_a_key_is_done_once_and_its_answer_comes_again() {
    let gateway = Gateway::start("idempotency", "");
    let post = |key: &str, body: &str| {
        let lines = [("Idempotency-Key", key)];
        http::request_with(&gateway.api, "POST", "/v1/tokens", &lines, Some(body))
    };
    let (a, b) = (r#"{"name":"a","role":"viewer"}"#, r#"{"name":"b","role":"viewer"}"#);
    let first = post("\"one\"", a);
    assert_eq!((first.status, first.header_value("idempotency-replayed")), (201, None));
    let again = post("one", a);
    assert_eq!((again.status, &again.body), (201, &first.body));
    assert_eq!(again.header_value("idempotency-replayed").as_deref(), Some("true"));
    assert_eq!(again.header_value("content-type"), first.header_value("content-type"));
    let other = post("one", b);
    assert_eq!((other.status, other.json::<Problem>().parameter.as_deref()), (422, Some("Idempotency-Key")));
    assert_eq!(post("no good", a).status, 400);
    assert_eq!(post("two", a).status, 201);
    assert_eq!(post("three", &"x".repeat(20_000)).status, 413);
    let tokens: TokenList = http::get(&gateway.api, "/v1/tokens");
    assert_eq!(tokens.tokens.len(), 2, "what was asked twice was done once");
}
