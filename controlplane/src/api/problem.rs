//! Errors of the API as RFC 9457 `application/problem+json`: every one of them, whoever found it.
//!
//! Enters: what went wrong, where in the request, and what to do about it. Leaves: a response. The kinds are declared here
//! once; `docs/api.md` and the OpenAPI document are made from them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use causeway_shared::api::Problem;

use crate::driver::NoAnswer;

/// Media type of RFC 9457 §3.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What can go wrong. Each kind has one stable reference and one title.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ProblemKind {
    /// No such path.
    NoSuchPath,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The session does not exist (any more).
    NoSuchSession,
    /// The debug condition is not set (any more).
    NoSuchCondition,
    /// The token does not exist (any more).
    NoSuchToken,
    /// The capture or trace does not exist (any more).
    NoSuchWatch,
    /// The caller has not proved who it is.
    Unauthorized,
    /// The caller's role does not suffice.
    Forbidden,
    /// The caller asks too often, or has guessed tokens.
    TooMany,
    /// A file of the control plane cannot be written.
    NotStored,
    /// The configuration forbids it.
    NotAllowed,
    /// The session's client cannot do what is asked.
    NotPossible,
    /// Packets are asked for, and no data plane is attached.
    NoDataPlane,
    /// A table is full.
    Full,
    /// The query string is not usable.
    BadQuery,
    /// The body is not usable.
    BadBody,
    /// `If-Match` is missing where it must be.
    Unconditional,
    /// `If-Match` names another version.
    Changed,
    /// `Idempotency-Key` is not usable for this request.
    BadKey,
    /// The driver did not answer.
    Busy,
    /// The request as a whole took too long.
    Timeout,
}

/// What is said of a kind.
#[derive(Clone, Copy, Debug)]
pub struct KindDoc {
    /// Last part of the stable reference.
    pub slug: &'static str,
    /// Short text for people.
    pub title: &'static str,
    /// HTTP statuses that it comes with.
    pub statuses: &'static [u16],
    /// When it comes.
    pub when: &'static str,
}

impl ProblemKind {
    /// Every kind, in the order of the manual.
    pub const ALL: [ProblemKind; 21] = [
        ProblemKind::NoSuchPath,
        ProblemKind::MethodNotAllowed,
        ProblemKind::NoSuchSession,
        ProblemKind::NoSuchCondition,
        ProblemKind::NoSuchToken,
        ProblemKind::NoSuchWatch,
        ProblemKind::Unauthorized,
        ProblemKind::Forbidden,
        ProblemKind::TooMany,
        ProblemKind::NotStored,
        ProblemKind::NotAllowed,
        ProblemKind::NotPossible,
        ProblemKind::NoDataPlane,
        ProblemKind::Full,
        ProblemKind::BadQuery,
        ProblemKind::BadBody,
        ProblemKind::Unconditional,
        ProblemKind::Changed,
        ProblemKind::BadKey,
        ProblemKind::Busy,
        ProblemKind::Timeout,
    ];

    /// What is said of it.
    pub fn doc(self) -> KindDoc {
        let (slug, title, statuses, when): (_, _, &[u16], _) = match self {
            ProblemKind::NoSuchPath => ("no-such-path", "No such path", &[404], "nothing is there"),
            ProblemKind::MethodNotAllowed => {
                ("method-not-allowed", "Method not allowed", &[405], "`Allow` names the methods that are")
            }
            ProblemKind::NoSuchSession => {
                ("no-such-session", "No such session", &[404], "no session has this id, or no more")
            }
            ProblemKind::NoSuchCondition => (
                "no-such-condition",
                "No such condition",
                &[404],
                "no debug condition has this id, or no more",
            ),
            ProblemKind::NoSuchToken => {
                ("no-such-token", "No such token", &[404], "no token has this id, or no more")
            }
            ProblemKind::NoSuchWatch => {
                ("no-such-watch", "No such capture or trace", &[404], "none has this id, or no more")
            }
            ProblemKind::Unauthorized => (
                "unauthorized",
                "Who are you?",
                &[401],
                "no token and no certificate with a role, or a token that is wrong, revoked or expired",
            ),
            ProblemKind::Forbidden => {
                ("forbidden", "Role too low", &[403], "the caller's role does not suffice")
            }
            ProblemKind::TooMany => (
                "too-many-requests",
                "Too many requests",
                &[429],
                "more than 50 requests a second of one address or token, or ten wrong tokens in a minute; `Retry-After` says when to try again",
            ),
            ProblemKind::NotStored => (
                "not-stored",
                "Not stored",
                &[503],
                "a file in `management.state_directory` cannot be written; nothing has changed",
            ),
            ProblemKind::NotAllowed => {
                ("not-allowed", "Not allowed", &[403], "the configuration forbids it; `remedy` names the key")
            }
            ProblemKind::NotPossible => {
                ("not-possible", "Not possible", &[409], "the session's client cannot do what is asked")
            }
            ProblemKind::NoDataPlane => (
                "no-data-plane",
                "No data plane",
                &[409],
                "no data plane is attached whose packets could be watched",
            ),
            ProblemKind::Full => ("full", "No room", &[409], "a table is full"),
            ProblemKind::BadQuery => (
                "bad-query",
                "Query not understood",
                &[400],
                "unknown parameter, or a value out of range; `parameter` names it",
            ),
            ProblemKind::BadBody => (
                "bad-body",
                "Body not understood",
                &[400, 413, 415, 422],
                "no JSON, larger than 16 KiB, not declared as JSON, or not what is expected; `pointer` leads to the member",
            ),
            ProblemKind::Unconditional => (
                "precondition-required",
                "Which version?",
                &[428],
                "`If-Match` is missing; it names the version that is to be changed",
            ),
            ProblemKind::Changed => (
                "precondition-failed",
                "It has changed",
                &[412],
                "somebody else has changed it since the version that `If-Match` names",
            ),
            ProblemKind::BadKey => (
                "idempotency-key",
                "Idempotency key not usable",
                &[400, 409, 422],
                "no key, or one whose request is still under way (409) or was another (422)",
            ),
            ProblemKind::Busy => (
                "busy",
                "Not available now",
                &[503],
                "the control plane did not answer within two seconds, or is stopping; `Retry-After` says when to try again",
            ),
            ProblemKind::Timeout => {
                ("timeout", "Took too long", &[503], "the request as a whole took ten seconds")
            }
        };
        KindDoc { slug, title, statuses, when }
    }
}

/// Where in the request the fault is.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Place {
    Request,
    Pointer(String),
    Parameter(String),
}

/// What went wrong this time.
#[derive(Clone, Debug)]
pub struct ApiError {
    kind: ProblemKind,
    status: StatusCode,
    detail: String,
    remedy: String,
    place: Place,
}

impl ApiError {
    /// With the kind's own status, at no place in particular.
    pub fn new(kind: ProblemKind, detail: impl Into<String>, remedy: impl Into<String>) -> ApiError {
        let status = kind.doc().statuses.first().and_then(|status| StatusCode::from_u16(*status).ok());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        ApiError { kind, status, detail: detail.into(), remedy: remedy.into(), place: Place::Request }
    }

    /// With one of the statuses that the kind has.
    pub fn with_status(
        kind: ProblemKind,
        status: StatusCode,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> ApiError {
        ApiError { status, ..ApiError::new(kind, detail, remedy) }
    }

    /// Something is wrong with a parameter of the query, or with the query as a whole if none is named.
    pub fn bad_query(parameter: Option<&str>, detail: impl Into<String>) -> ApiError {
        let remedy = "See the parameters of this path in docs/api.md or /v1/openapi.json.";
        let error = ApiError::new(ProblemKind::BadQuery, detail, remedy);
        match parameter {
            Some(name) => error.at_parameter(name),
            None => error,
        }
    }

    /// The body is JSON, but not what is expected at `pointer`.
    pub fn bad_member(pointer: impl Into<String>, detail: impl Into<String>) -> ApiError {
        let remedy = "See the body that this path wants in docs/api.md or /v1/openapi.json.";
        let error = ApiError::new(ProblemKind::BadBody, detail, remedy);
        ApiError { status: StatusCode::UNPROCESSABLE_ENTITY, place: Place::Pointer(pointer.into()), ..error }
    }

    /// The body cannot be read at all.
    pub fn bad_body(status: StatusCode, detail: impl Into<String>, remedy: &'static str) -> ApiError {
        ApiError::with_status(ProblemKind::BadBody, status, detail, remedy)
    }

    /// There is no such session.
    pub fn no_such_session(id: &str) -> ApiError {
        let remedy = "`GET /v1/sessions` lists those that are up, with `state=inactive` those that wait.";
        ApiError::new(ProblemKind::NoSuchSession, format!("There is no session `{id}`, or no more."), remedy)
            .at_parameter("id")
    }

    /// Names the parameter that is wrong.
    #[must_use]
    pub fn at_parameter(self, name: &str) -> ApiError {
        ApiError { place: Place::Parameter(name.to_owned()), ..self }
    }

    /// The problem as the client sees it.
    pub fn problem(&self) -> Problem {
        let KindDoc { slug, title, .. } = self.kind.doc();
        let (pointer, parameter) = match &self.place {
            Place::Request => (None, None),
            Place::Pointer(pointer) => (Some(pointer.clone()), None),
            Place::Parameter(name) => (None, Some(name.clone())),
        };
        Problem {
            kind: format!("/problems/{slug}"),
            title: title.to_owned(),
            status: self.status.as_u16(),
            detail: self.detail.clone(),
            remedy: self.remedy.clone(),
            pointer,
            parameter,
        }
    }
}

impl From<NoAnswer> for ApiError {
    fn from(reason: NoAnswer) -> ApiError {
        let detail = match reason {
            NoAnswer::Busy => "The control plane did not answer in time.",
            NoAnswer::Stopping => "The control plane is stopping.",
        };
        ApiError::new(ProblemKind::Busy, detail, "Try again in a few seconds.")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.problem())).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.kind == ProblemKind::Unauthorized {
            // RFC 6750 §3
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if [StatusCode::SERVICE_UNAVAILABLE, StatusCode::TOO_MANY_REQUESTS].contains(&self.status) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_apart_and_have_a_status_that_is_an_error() {
        let mut slugs: Vec<_> = ProblemKind::ALL.iter().map(|kind| kind.doc().slug).collect();
        slugs.sort_unstable();
        slugs.dedup();
        assert_eq!(slugs.len(), ProblemKind::ALL.len());
        for kind in ProblemKind::ALL {
            let statuses = kind.doc().statuses;
            assert!(!statuses.is_empty() && statuses.iter().all(|status| (400..600).contains(status)));
        }
    }
}
