//! `ETag`, `If-Match` and `If-None-Match` (RFC 9110 §8.8.3, §13.1): nobody overwrites what somebody else has changed meanwhile.
//!
//! Enters: a resource as it would be shown, and a request's preconditions. Leaves: the tag with the answer, 304 for who has
//! it already, and problems 428 (RFC 6585 §3) and 412. A route that [`super::route::Route::wants_match`] is never reached
//! without `If-Match`; its handler takes [`IfMatch`] and compares where it holds the lock, so that check and change are one step.
#![allow(dead_code, reason = "users and the configuration, the first resources with versions, use it")]

use std::convert::Infallible;

use aws_lc_rs::digest;
use axum::Json;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::problem::{ApiError, ProblemKind};

/// Octets of the digest that a tag shows.
const TAG_OCTETS: usize = 12;

/// A strong entity tag: equal for equal representations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct EntityTag(String);

impl EntityTag {
    /// Of anything that is shown as JSON. What changes by itself (counters, ages) must not be part of it.
    pub(crate) fn of<T: Serialize>(resource: &T) -> EntityTag {
        // Our own types always become JSON.
        let text = serde_json::to_vec(resource).unwrap_or_default();
        let digest = digest::digest(&digest::SHA256, &text);
        let digits = digest.as_ref().iter().take(TAG_OCTETS).map(|octet| format!("{octet:02x}"));
        EntityTag(format!("\"{}\"", digits.collect::<String>()))
    }

    /// Adds it to an answer.
    pub(crate) fn put(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            headers.insert(header::ETAG, value);
        }
    }
}

/// An answer with its tag: 304 without a body where the client has named that tag.
pub(crate) fn tagged<T: Serialize>(headers: &IfNoneMatch, resource: &T) -> Response {
    let tag = EntityTag::of(resource);
    let mut response = match headers.names(&tag) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => Json(resource).into_response(),
    };
    tag.put(response.headers_mut());
    response
}

/// What was made or changed, with the tag that the next change wants.
pub(crate) fn changed<T: Serialize>(status: StatusCode, resource: &T) -> Response {
    let mut response = (status, Json(resource)).into_response();
    EntityTag::of(resource).put(response.headers_mut());
    response
}

/// `If-Match` of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct IfMatch(Option<String>);

impl IfMatch {
    /// Whether the resource is still what the client has seen; `*` fits whatever there is, absence fits, too (a route that
    /// wants it is never reached without).
    ///
    /// # Errors
    /// 412 with the tag of now.
    pub(crate) fn check(&self, current: &EntityTag) -> Result<(), ApiError> {
        let Some(condition) = &self.0 else { return Ok(()) };
        if lists(condition, current, false) {
            return Ok(());
        }
        let detail = format!("It has changed: its tag is {} now, not {condition}.", current.0);
        let remedy = "Read it again, decide again, and send the new `ETag` as `If-Match`.";
        Err(ApiError::new(ProblemKind::Changed, detail, remedy).at_parameter("If-Match"))
    }
}

/// `If-None-Match` of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct IfNoneMatch(Option<String>);

impl IfNoneMatch {
    fn names(&self, tag: &EntityTag) -> bool {
        self.0.as_deref().is_some_and(|condition| lists(condition, tag, true))
    }
}

/// Refuses what must say which version it means, and does not.
pub(super) async fn required(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::IF_MATCH) {
        return next.run(request).await;
    }
    let detail = "This changes something that others may change, too; the header `If-Match` is missing.";
    let remedy =
        "Send the `ETag` of what you have read as `If-Match`, or `If-Match: *` to change whatever is there.";
    ApiError::new(ProblemKind::Unconditional, detail, remedy).at_parameter("If-Match").into_response()
}

/// Whether a list of tags has this one. Weak tags compare equal only where `weak` says so (RFC 9110 §8.8.3.2).
fn lists(condition: &str, tag: &EntityTag, weak: bool) -> bool {
    let is_it = |one: &str| match one.strip_prefix("W/") {
        Some(opaque) => weak && opaque == tag.0,
        None => one == tag.0,
    };
    condition.trim() == "*" || condition.split(',').any(|one| is_it(one.trim()))
}

/// All lines of a header as one list (RFC 9110 §5.3).
fn joined(parts: &Parts, name: HeaderName) -> Option<String> {
    let lines: Vec<_> = parts.headers.get_all(name).iter().filter_map(|line| line.to_str().ok()).collect();
    (!lines.is_empty()).then(|| lines.join(","))
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IfMatch, Infallible> {
        let lines = joined(parts, header::IF_MATCH);
        // A header that is no text names no tag.
        Ok(IfMatch(lines.or_else(|| parts.headers.contains_key(header::IF_MATCH).then(String::new))))
    }
}

impl<S: Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<IfNoneMatch, Infallible> {
        Ok(IfNoneMatch(joined(parts, header::IF_NONE_MATCH)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_of_the_content_and_lists_are_compared_as_the_rfc_says() {
        let (tag, other) = (EntityTag::of(&["a"]), EntityTag::of(&["b"]));
        assert_eq!(tag, EntityTag::of(&["a"]));
        assert_ne!(tag, other);
        let fits = |text: &str| IfMatch(Some(text.to_owned())).check(&tag).is_ok();
        assert!(fits(&tag.0) && fits("*") && fits(&format!("{}, {}", other.0, tag.0)));
        assert!(!fits(&other.0) && !fits("") && !fits(&format!("W/{}", tag.0)));
        assert!(IfNoneMatch(Some(format!("W/{}", tag.0))).names(&tag));
        let refused = IfMatch(Some(other.0)).check(&tag).unwrap_err().problem();
        assert_eq!((refused.status, refused.parameter.as_deref()), (412, Some("If-Match")));
    }

    #[test]
    fn who_has_it_already_gets_no_body() {
        let tag = EntityTag::of(&["a"]);
        let status = |condition: Option<String>| {
            let response = tagged(&IfNoneMatch(condition), &["a"]);
            assert_eq!(response.headers().get(header::ETAG).unwrap(), &tag.0);
            response.status().as_u16()
        };
        assert_eq!((status(None), status(Some(tag.0.clone()))), (200, 304));
    }
}
