//! Errors of the API as RFC 9457 `application/problem+json`: every one of them, whoever found it.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use causeway_shared::api::Problem;

use crate::driver::NoAnswer;

/// Media type of RFC 9457 §3.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// What went wrong. Each has one stable kind, one title and one status.
#[derive(Clone, Debug)]
pub enum ApiError {
    /// No such path.
    NoSuchPath(String),
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The session does not exist (any more).
    NoSuchSession(String),
    /// The request is understood and refused.
    NotAllowed(String),
    /// The session's client cannot do what is asked.
    NotPossible(String),
    /// A table is full; the remedy.
    Full(String),
    /// The debug condition is not set (any more).
    NoSuchCondition(String),
    /// The query string is not usable.
    BadQuery(String),
    /// The body is not usable; the status says in which way.
    BadBody(StatusCode, String),
    /// The driver did not answer.
    Unavailable(NoAnswer),
    /// The request as a whole took too long.
    Timeout,
}

impl ApiError {
    /// The problem as the client sees it.
    pub fn problem(&self) -> Problem {
        let (kind, title, status, detail) = match self {
            ApiError::NoSuchPath(path) => (
                "no-such-path",
                "No such path",
                StatusCode::NOT_FOUND,
                format!("There is nothing at `{path}`; the paths are listed in docs/api.md."),
            ),
            ApiError::MethodNotAllowed => (
                "method-not-allowed",
                "Method not allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "The `Allow` header names the methods of this path.".to_owned(),
            ),
            ApiError::NoSuchSession(id) => (
                "no-such-session",
                "No such session",
                StatusCode::NOT_FOUND,
                format!("There is no session `{id}`, or no more; `GET /v1/sessions` lists them."),
            ),
            ApiError::NotAllowed(detail) => {
                ("not-allowed", "Not allowed", StatusCode::FORBIDDEN, detail.clone())
            }
            ApiError::NoSuchCondition(id) => (
                "no-such-condition",
                "No such condition",
                StatusCode::NOT_FOUND,
                format!("There is no condition `{id}`, or no more; `GET /v1/debug/conditions` lists them."),
            ),
            ApiError::Full(detail) => ("full", "No room", StatusCode::CONFLICT, detail.clone()),
            ApiError::NotPossible(detail) => {
                ("not-possible", "Not possible", StatusCode::CONFLICT, detail.clone())
            }
            ApiError::BadQuery(detail) => {
                ("bad-query", "Query not understood", StatusCode::BAD_REQUEST, detail.clone())
            }
            ApiError::BadBody(status, detail) => ("bad-body", "Body not understood", *status, detail.clone()),
            ApiError::Unavailable(reason) => {
                ("busy", "Not available now", StatusCode::SERVICE_UNAVAILABLE, reason.to_string())
            }
            ApiError::Timeout => (
                "timeout",
                "Took too long",
                StatusCode::SERVICE_UNAVAILABLE,
                "The request was given up; try again in a few seconds.".to_owned(),
            ),
        };
        Problem {
            kind: format!("/problems/{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail,
        }
    }
}

impl From<NoAnswer> for ApiError {
    fn from(reason: NoAnswer) -> ApiError {
        ApiError::Unavailable(reason)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let problem = self.problem();
        let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(problem)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        response
    }
}
