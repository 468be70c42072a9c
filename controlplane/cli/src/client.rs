//! The management API's client: HTTP/1.1 over a Unix socket. Enters: method and path. Leaves: the body as it came, or a failure
//! that names the next step.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use causeway_shared::api::Problem;
use causeway_shared::config::{Config, DEFAULT_PATH};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use crate::args::Api;
use crate::exit::Failure;

/// Socket that is used when neither a socket nor a configuration file is named and the default file is not there.
const DEFAULT_SOCKET: &str = "/run/causeway/api.sock";
/// Longest wait for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Largest answer.
const MAX_ANSWER: usize = 64 << 20;

/// One management API.
pub(crate) struct Client {
    socket: PathBuf,
    runtime: tokio::runtime::Runtime,
}

impl Client {
    /// Finds the socket: named, from the named configuration, from the default one, or the default.
    pub(crate) fn new(api: &Api) -> Result<Client, Failure> {
        let socket = match (&api.socket, &api.config) {
            (Some(socket), _) => socket.clone(),
            (None, Some(file)) => socket_of(file)?,
            (None, None) => match Path::new(DEFAULT_PATH).try_exists() {
                Ok(true) => socket_of(Path::new(DEFAULT_PATH)).unwrap_or_else(|_| DEFAULT_SOCKET.into()),
                _ => DEFAULT_SOCKET.into(),
            },
        };
        Ok(Client { socket, runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()? })
    }

    /// The body of a successful `GET`.
    pub(crate) fn get(&self, path: &str) -> Result<Vec<u8>, Failure> {
        self.request(Method::GET, path, None)
    }

    /// Asks for `path`; any status outside 2xx is a failure.
    pub(crate) fn request(
        &self,
        method: Method,
        path: &str,
        json: Option<String>,
    ) -> Result<Vec<u8>, Failure> {
        self.runtime.block_on(async {
            let exchange = tokio::time::timeout(ANSWER_WITHIN, self.exchange(method, path, json));
            exchange.await.unwrap_or_else(|_| {
                Err(Failure::Unreachable {
                    what: format!(
                        "no answer from {} within {} s",
                        self.socket.display(),
                        ANSWER_WITHIN.as_secs()
                    ),
                    next: "look into the control plane's log".into(),
                })
            })
        })
    }

    async fn exchange(&self, method: Method, path: &str, json: Option<String>) -> Result<Vec<u8>, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|e| self.unreachable(&e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|e| self.broken(&e.to_string()))?;
        let driver = tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
        if json.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request
            .body(Full::new(Bytes::from(json.unwrap_or_default())))
            .map_err(|e| Failure::Input(format!("`{path}` cannot be asked for: {e}")))?;
        let response = sender.send_request(request).await.map_err(|e| self.broken(&e.to_string()))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|e| self.broken(&e.to_string()))?.to_bytes().to_vec();
        driver.abort();
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
    }

    fn unreachable(&self, error: &std::io::Error) -> Failure {
        let next = match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                "is Causeway running? Start it with `causeway run`, or name its socket with --socket or --config"
            }
            ErrorKind::PermissionDenied => "run this as root or as a member of the socket's group",
            _ => "name the right socket with --socket or --config",
        };
        Failure::Unreachable {
            what: format!("cannot reach the control plane at {}: {error}", self.socket.display()),
            next: next.into(),
        }
    }

    fn broken(&self, error: &str) -> Failure {
        Failure::Unreachable {
            what: format!("the talk with {} broke off: {error}", self.socket.display()),
            next: "try again; if it stays so, look into the control plane's log".into(),
        }
    }
}

fn socket_of(file: &Path) -> Result<PathBuf, Failure> {
    Ok(Config::load_without_files(file).map_err(Failure::Config)?.management.socket)
}

/// The problem that the API told (RFC 9457), or the bare status.
fn refusal(status: StatusCode, body: &[u8]) -> Failure {
    Failure::Refused(match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => told(&problem),
        Err(_) => format!("the control plane answered {status}"),
    })
}

fn told(problem: &Problem) -> String {
    let Problem { title, detail, remedy, .. } = problem;
    let place = problem.pointer.as_ref().filter(|pointer| !pointer.is_empty()).or(problem.parameter.as_ref());
    let place = place.map(|place| format!("(`{place}`)"));
    let parts = [Some(detail.clone()), place, Some(remedy.clone())].into_iter().flatten();
    let parts: Vec<_> = parts.filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { title.clone() } else { format!("{title}: {}", parts.join(" ")) }
}

/// One part of a path: everything outside the unreserved characters (RFC 3986 §2.3) is escaped.
pub(crate) fn escape(part: &str) -> String {
    let mut out = String::with_capacity(part.len());
    for octet in part.bytes() {
        if octet.is_ascii_alphanumeric() || b"-._~".contains(&octet) {
            out.push(char::from(octet));
        } else {
            out.push_str(&format!("%{octet:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_paths_are_escaped() {
        for (plain, escaped) in [("a-1_b.c~", "a-1_b.c~"), ("a/b ?", "a%2Fb%20%3F"), ("ü", "%C3%BC")] {
            assert_eq!(escape(plain), escaped);
        }
    }
}
