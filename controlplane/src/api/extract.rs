//! What handlers take from a request: path, query and body as typed values, or a problem that names the place.
//!
//! Enters: a request. Leaves: values of `causeway_shared::api` and of the routes' queries. The library's own extractors
//! answer in plain text and name no place, so these read by themselves.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path as Place, Segment};

use super::problem::{ApiError, ProblemKind};

/// The one variable part of a path.
pub(super) struct Id(pub String);

/// The query string.
pub(super) struct Query<T>(pub T);

/// The body, as JSON.
pub(super) struct Body<T>(pub T);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Id, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(id)) => Ok(Id(id)),
            Err(_) => Err(ApiError::new(
                ProblemKind::NoSuchPath,
                "The path does not decode to UTF-8.",
                "Escape what is not in A-Z a-z 0-9 - . _ ~ as %XX of its UTF-8 octets (RFC 3986 §2.1).",
            )
            .at_parameter("id")),
        }
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query<T>, ApiError> {
        let text = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_pairs(text));
        let read = serde_path_to_error::deserialize(pairs).map_err(|error| {
            let name = first_key(error.path()).or_else(|| named_in(&error.inner().to_string()));
            ApiError::bad_query(name.as_deref(), sentence(&error.inner().to_string()))
        })?;
        Ok(Query(read))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Body<T>, ApiError> {
        if !is_json(request.headers()) {
            let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            let remedy = "Send the header `Content-Type: application/json`.";
            return Err(ApiError::bad_body(status, "The body is not declared as JSON.", remedy));
        }
        let octets = axum::body::Bytes::from_request(request, state).await.map_err(|rejection| {
            let remedy = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => "Send less: what is too large is never needed here.",
                _ => "Send the whole body, of the length that its header says.",
            };
            ApiError::bad_body(rejection.status(), sentence(&rejection.body_text()), remedy)
        })?;
        json(&octets).map(Body)
    }
}

/// Reads JSON as `T`.
pub(super) fn json<T: DeserializeOwned>(octets: &[u8]) -> Result<T, ApiError> {
    let mut reader = serde_json::Deserializer::from_slice(octets);
    let read = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let inner = error.inner();
        if !inner.is_data() {
            return no_json(inner);
        }
        let text = inner.to_string();
        let mut pointer = pointer(error.path());
        let last = named_in(&text).map(|name| format!("/{}", escaped(&name))).unwrap_or_default();
        // An unknown member is in the path already, a missing one is not.
        if !pointer.ends_with(&last) {
            pointer += &last;
        }
        ApiError::bad_member(pointer, sentence(&text))
    })?;
    reader.end().map_err(|error| no_json(&error))?;
    Ok(read)
}

fn no_json(error: &serde_json::Error) -> ApiError {
    let detail = format!("The body is no JSON: {error}.");
    ApiError::bad_body(StatusCode::BAD_REQUEST, detail, "Send one JSON object (RFC 8259).")
}

fn form_pairs(text: &str) -> form_urlencoded::Parse<'_> {
    form_urlencoded::parse(text.as_bytes())
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// A JSON pointer (RFC 6901 §3).
fn pointer(place: &Place) -> String {
    let part = |segment: &Segment| match segment {
        Segment::Seq { index } => Some(format!("/{index}")),
        Segment::Map { key } => Some(format!("/{}", escaped(key))),
        Segment::Enum { .. } | Segment::Unknown => None,
    };
    place.iter().filter_map(part).collect()
}

fn first_key(place: &Place) -> Option<String> {
    place.iter().find_map(|segment| match segment {
        Segment::Map { key } => Some(key.clone()),
        _ => None,
    })
}

fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

/// The member that serde names where it can give no place: unknown, missing or twice there.
fn named_in(text: &str) -> Option<String> {
    let rest = ["unknown field `", "missing field `", "duplicate field `"]
        .into_iter()
        .find_map(|start| text.strip_prefix(start))?;
    rest.split_once('`').map(|(name, _)| name.to_owned())
}

/// serde's words as a sentence, without the position that the pointer says better.
fn sentence(text: &str) -> String {
    let text = text.split_once(" at line ").map_or(text, |(before, _)| before).trim_end_matches('.');
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

#[cfg(test)]
mod tests {
    use causeway_shared::api::{NewCondition, RekeyOrder, SetTopics};

    use super::*;

    #[test]
    fn a_body_that_is_wrong_is_answered_with_the_place() {
        let fault = |error: ApiError| {
            let problem = error.problem();
            (problem.status, problem.pointer)
        };
        let pointer = |text: &str| Some(text.to_owned());
        let rekey = |text: &str| fault(json::<RekeyOrder>(text.as_bytes()).unwrap_err());
        assert_eq!(rekey("{}"), (422, pointer("/what")));
        assert_eq!(rekey(r#"{"what":"all"}"#), (422, pointer("/what")));
        assert_eq!(rekey(r#"{"what":"ike","a/b":1}"#), (422, pointer("/a~1b")));
        assert_eq!(rekey("[]"), (422, pointer("")));
        assert_eq!(rekey("{"), (400, None));
        assert_eq!(rekey(r#"{"what":"ike"} x"#), (400, None));
        let topics = json::<SetTopics>(br#"{"topics":["packet","all"]}"#).err().map(fault);
        assert_eq!(topics, Some((422, pointer("/topics/1"))));
        let condition =
            json::<NewCondition>(br#"{"for":{"match":"peer-ipv4","value":"x"}}"#).err().map(fault);
        assert_eq!(condition, Some((422, pointer("/for/value"))));
    }
}
