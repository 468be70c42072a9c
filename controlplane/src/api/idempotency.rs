//! `Idempotency-Key` of POST (draft-ietf-httpapi-idempotency-key-header-07): a client that lost the answer asks again, and
//! nothing is done twice.
//!
//! Enters: a POST with the header, and who sends it. Leaves: the handler's answer, or the answer that the same request got
//! before, marked `Idempotency-Replayed: true`. The same key with another request is 422, one that is still under way 409.
//! Answers that a retry should not get again (5xx) are not kept. Kept answers are in memory only, wiped when they leave it.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use zeroize::Zeroizing;

use super::peer::Peer;
use super::problem::{ApiError, ProblemKind};
use crate::access::locked;
use crate::clock;

/// The request's header.
pub const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks an answer that was given before.
pub const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Longest key, octets.
pub const MAX_KEY: usize = 255;
/// Keys that are remembered; the oldest is forgotten for a new one.
pub const MAX_KEYS: usize = 1024;
/// Octets of the largest answer that is remembered; with [`MAX_KEYS`] it bounds the memory.
pub const MAX_ANSWER: usize = 64 * 1024;
/// How long a key is remembered.
pub const KEPT: Duration = Duration::from_secs(3600);

/// Headers that are part of an answer.
const KEPT_HEADERS: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];

/// Answers by caller and key.
#[derive(Default)]
pub(super) struct Answers(Mutex<Table>);

/// What the middleware of one route works with.
#[derive(Clone)]
pub(super) struct Idempotency {
    /// Of all routes.
    pub answers: Arc<Answers>,
    /// Octets that a body of this route may have.
    pub max_body: usize,
}

#[derive(Default)]
struct Table {
    known: HashMap<Slot, Known>,
    /// Oldest first.
    order: VecDeque<(Duration, Slot)>,
}

/// Keys are the caller's own: nobody learns another's answers.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Slot {
    caller: String,
    key: String,
}

struct Known {
    /// Of method, target and body.
    request: [u8; 32],
    /// `None` while it is under way.
    answer: Option<Arc<Kept>>,
}

struct Kept {
    status: StatusCode,
    headers: HeaderMap,
    body: Zeroizing<Vec<u8>>,
}

/// What a key means.
enum Found {
    New,
    UnderWay,
    Another,
    Answered(Arc<Kept>),
}

/// Does a POST once.
pub(super) async fn once(
    State(Idempotency { answers, max_body }): State<Idempotency>,
    peer: Peer,
    request: Request,
    next: Next,
) -> Response {
    let key = match request.headers().get(&KEY).map(key_of) {
        None => return next.run(request).await,
        Some(Ok(key)) => key,
        Some(Err(refused)) => return refused.into_response(),
    };
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, max_body).await else {
        let detail = format!("The body is larger than {max_body} octets, or did not come whole.");
        let remedy = "Send the whole body, of the length that its header says, and not more than this.";
        return ApiError::bad_body(StatusCode::PAYLOAD_TOO_LARGE, detail, remedy).into_response();
    };
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [parts.method.as_str().as_bytes(), parts.uri.to_string().as_bytes(), &body] {
        context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        context.update(part);
    }
    let mut print = [0; 32];
    print.copy_from_slice(context.finish().as_ref());
    let slot = Slot { caller: peer.account().to_owned(), key };
    let found = locked(&answers.0).look(&slot, print, clock::now());
    match found {
        Found::Answered(kept) => return kept.again(),
        Found::UnderWay => {
            let detail = "A request with this `Idempotency-Key` is still under way.";
            return refused(StatusCode::CONFLICT, detail, "Ask again in a few seconds.");
        }
        Found::Another => {
            let detail = "This `Idempotency-Key` was used for another request.";
            return refused(StatusCode::UNPROCESSABLE_ENTITY, detail, "Make a new key for each new request.");
        }
        Found::New => {}
    }
    let open = Open { answers: &answers, slot: Some(slot) };
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    open.close(response).await
}

/// Forgets the key when its request ends without an answer.
struct Open<'a> {
    answers: &'a Answers,
    slot: Option<Slot>,
}

impl Open<'_> {
    async fn close(mut self, response: Response) -> Response {
        if response.status().is_server_error() {
            return response;
        }
        let (parts, body) = response.into_parts();
        let Ok(body) = to_bytes(body, usize::MAX).await else {
            return Response::from_parts(parts, Body::empty());
        };
        if body.len() <= MAX_ANSWER
            && let Some(slot) = self.slot.take()
        {
            let kept = KEPT_HEADERS
                .into_iter()
                .filter_map(|name| parts.headers.get(&name).map(|value| (name, value.clone())));
            let kept = Kept { status: parts.status, headers: kept.collect(), body: body.to_vec().into() };
            locked(&self.answers.0).answered(&slot, Arc::new(kept));
        }
        Response::from_parts(parts, Body::from(body))
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            locked(&self.answers.0).forget(&slot);
        }
    }
}

impl Kept {
    fn again(&self) -> Response {
        let mut response = (self.status, self.headers.clone(), self.body.to_vec()).into_response();
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

impl Table {
    /// Looks a key up; a new one is under way from now on.
    fn look(&mut self, slot: &Slot, request: [u8; 32], now: Duration) -> Found {
        while let Some((since, _)) = self.order.front()
            && (now.saturating_sub(*since) >= KEPT || self.order.len() >= MAX_KEYS)
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        match self.known.get(slot) {
            Some(known) if known.request != request => Found::Another,
            Some(Known { answer: None, .. }) => Found::UnderWay,
            Some(Known { answer: Some(kept), .. }) => Found::Answered(Arc::clone(kept)),
            None => {
                self.known.insert(slot.clone(), Known { request, answer: None });
                self.order.push_back((now, slot.clone()));
                Found::New
            }
        }
    }

    fn answered(&mut self, slot: &Slot, kept: Arc<Kept>) {
        if let Some(known) = self.known.get_mut(slot) {
            known.answer = Some(kept);
        }
    }

    fn forget(&mut self, slot: &Slot) {
        self.known.remove(slot);
        self.order.retain(|(_, other)| other != slot);
    }
}

/// A string of RFC 8941 §3.3.3, or the same without its quotes, as most clients send it.
fn key_of(value: &HeaderValue) -> Result<String, ApiError> {
    let text = value.to_str().unwrap_or_default().trim();
    let key = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    if (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Ok(key.to_owned());
    }
    let detail =
        format!("`Idempotency-Key` must be 1 to {MAX_KEY} printable ASCII characters without spaces.");
    Err(ApiError::with_status(ProblemKind::BadKey, StatusCode::BAD_REQUEST, detail, "A UUID is a good key.")
        .at_parameter("Idempotency-Key"))
}

fn refused(status: StatusCode, detail: &str, remedy: &str) -> Response {
    ApiError::with_status(ProblemKind::BadKey, status, detail, remedy)
        .at_parameter("Idempotency-Key")
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(key: &str) -> Slot {
        Slot { caller: "uid 0".into(), key: key.into() }
    }

    fn kept() -> Arc<Kept> {
        Arc::new(Kept { status: StatusCode::CREATED, headers: HeaderMap::new(), body: b"{}".to_vec().into() })
    }

    #[test]
    fn a_key_is_new_then_under_way_then_answered_and_means_one_request() {
        let (mut table, at) = (Table::default(), Duration::from_secs(1));
        assert!(matches!(table.look(&slot("a"), [1; 32], at), Found::New));
        assert!(matches!(table.look(&slot("a"), [1; 32], at), Found::UnderWay));
        table.answered(&slot("a"), kept());
        assert!(matches!(table.look(&slot("a"), [1; 32], at), Found::Answered(_)));
        assert!(matches!(table.look(&slot("a"), [2; 32], at), Found::Another));
        let other = Slot { caller: "token 1".into(), ..slot("a") };
        assert!(matches!(table.look(&other, [2; 32], at), Found::New));
        assert!(matches!(table.look(&slot("a"), [2; 32], at + KEPT), Found::New), "it was forgotten");
    }

    #[test]
    fn the_table_is_bounded_and_a_failed_request_leaves_no_trace() {
        let mut table = Table::default();
        for key in 0..MAX_KEYS * 2 {
            table.look(&slot(&key.to_string()), [0; 32], Duration::ZERO);
        }
        assert!(table.known.len() <= MAX_KEYS && table.order.len() == table.known.len());
        table.forget(&slot(&(MAX_KEYS * 2 - 1).to_string()));
        assert_eq!(table.order.len(), table.known.len());
        let again = table.look(&slot(&(MAX_KEYS * 2 - 1).to_string()), [0; 32], Duration::ZERO);
        assert!(matches!(again, Found::New));
    }

    #[test]
    fn keys_are_read_with_and_without_quotes() {
        let key = |text: &'static str| key_of(&HeaderValue::from_static(text)).ok();
        assert_eq!(key("\"8e03\""), Some("8e03".into()));
        assert_eq!(key("8e03"), Some("8e03".into()));
        assert_eq!((key(""), key("a b"), key("\"\"")), (None, None, None));
        assert!(key_of(&HeaderValue::from_str(&"k".repeat(MAX_KEY + 1)).unwrap()).is_err());
    }
}
