//! One HTTP exchange with a place of revocation lists or an OCSP responder (RFC 5280 §4.2.1.13, RFC 6960 Appendix A).
//!
//! Enters: an `http` address that a verified certificate names, a request's octets for OCSP. Leaves: the answer's octets, at most so
//! many and within [`DEADLINE`]. Redirects are not followed: what is asked is what the authority has signed.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Request, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// How long one exchange may take, names and connecting included.
pub(super) const DEADLINE: Duration = Duration::from_secs(10);
/// Largest list, in octets.
pub(super) const MAX_LIST_OCTETS: usize = 16 << 20;
/// Largest OCSP answer, in octets.
pub(super) const MAX_ANSWER_OCTETS: usize = 64 << 10;

/// Why there is no answer, for the operator.
pub(super) type Silence = String;

/// Fetches a list.
pub(super) async fn list(place: &str) -> Result<Bytes, Silence> {
    within(exchange(place, None, MAX_LIST_OCTETS)).await
}

/// Asks an OCSP responder.
pub(super) async fn ocsp(place: &str, question: Vec<u8>) -> Result<Bytes, Silence> {
    within(exchange(place, Some(question), MAX_ANSWER_OCTETS)).await
}

async fn within(exchange: impl Future<Output = Result<Bytes, Silence>>) -> Result<Bytes, Silence> {
    match tokio::time::timeout(DEADLINE, exchange).await {
        Ok(done) => done,
        Err(_) => Err(format!("no answer within {} s", DEADLINE.as_secs())),
    }
}

async fn exchange(place: &str, question: Option<Vec<u8>>, most: usize) -> Result<Bytes, Silence> {
    let uri: Uri = place.parse().map_err(|_| "it is no address".to_owned())?;
    let host = uri.host().ok_or("it names no host")?;
    let authority = uri.authority().ok_or("it names no host")?.to_string();
    let target = (host.trim_start_matches('[').trim_end_matches(']'), uri.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(target).await.map_err(|error| format!("cannot connect: {error}"))?;
    let failed = |error: hyper::Error| format!("HTTP failed: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let request = Request::builder().uri(path).header(header::HOST, authority);
    let request = match question {
        Some(question) => request
            .method("POST")
            .header(header::CONTENT_TYPE, "application/ocsp-request")
            .body(Full::new(Bytes::from(question))),
        None => request.body(Full::default()),
    };
    let request = request.map_err(|error| format!("it is no address: {error}"))?;
    // Dropped with the exchange, and the connection with it.
    let mut worker = tokio::task::JoinSet::new();
    worker.spawn(connection);
    let response = sender.send_request(request).await.map_err(failed)?;
    if !response.status().is_success() {
        return Err(format!("the server answers {}", response.status()));
    }
    let body = Limited::new(response.into_body(), most).collect().await;
    body.map(|body| body.to_bytes()).map_err(|error| format!("the answer broke off or is too long: {error}"))
}
