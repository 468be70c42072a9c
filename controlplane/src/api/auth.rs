//! Before and after every request: who asks, how often, whether the role suffices; and what was done goes into the audit log.
//!
//! Enters: requests with the [`Connection`] they came over. Leaves: requests with a [`Peer`] for the handlers, or problems
//! 401, 403 and 429. What is not read-only is done to its end and written down even if the client goes away meanwhile.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use causeway_shared::api::Role;

use super::peer::{Connection, Peer};
use super::problem::{ApiError, ProblemKind};
use crate::access::audit::Deed;
use crate::access::rate::Caller;
use crate::access::tokens::{Bearer, Change};
use crate::access::{Access, locked};
use crate::clock;

/// Finds out who asks.
pub(super) async fn identify(
    State(access): State<Arc<Access>>,
    mut request: Request,
    next: Next,
) -> Response {
    let connection = request.extensions().get().cloned().unwrap_or(Connection::Local(None));
    let peer = match who(&access, &connection, request.headers()) {
        Ok(bearer) => Peer::new(&connection, bearer),
        Err(refused) => return refused.into_response(),
    };
    request.extensions_mut().insert(peer.clone());
    if [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method()) {
        return next.run(request).await;
    }
    let deed = Deed {
        at: clock::unix_secs(),
        who: peer.who,
        from: peer.from,
        method: request.method().to_string(),
        target: request.uri().to_string(),
        ..Deed::default()
    };
    let written = tokio::spawn(async move {
        let response = next.run(request).await;
        if ![StatusCode::UNAUTHORIZED, StatusCode::METHOD_NOT_ALLOWED].contains(&response.status()) {
            let change = response.extensions().get::<Change>().cloned();
            record(access, Deed { status: response.status().as_u16(), change, ..deed }).await;
        }
        response
    });
    match written.await {
        Ok(response) => response,
        Err(_) => internal().into_response(),
    }
}

/// Lets through who has at least this role.
pub(super) async fn allow(State(least): State<Role>, peer: Peer, request: Request, next: Next) -> Response {
    match peer.role {
        Some(role) if role >= least => next.run(request).await,
        Some(role) => {
            let detail = format!("This needs the role `{}`; the caller has `{}`.", least.name(), role.name());
            let remedy = "Use a token with that role; `causeway token create` makes one.";
            ApiError::new(ProblemKind::Forbidden, detail, remedy).into_response()
        }
        None => unauthorized("The caller has not said who it is.").into_response(),
    }
}

fn who(access: &Access, connection: &Connection, headers: &HeaderMap) -> Result<Option<Bearer>, ApiError> {
    let now = clock::now();
    let source = connection.source();
    if let Some(source) = &source {
        if let Some(left) = locked(&access.lockout).remaining(source, now) {
            return Err(too_many("Too many wrong tokens came from this address.", left));
        }
        locked(&access.rates).take(source.clone(), now).map_err(|wait| too_many(OFTEN, wait))?;
    }
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let token = value.to_str().ok().and_then(bearer_token);
    let bearer = token.and_then(|token| locked(&access.tokens).verify(token, clock::unix_secs()));
    let Some(bearer) = bearer else {
        if let Some(source) = source
            && locked(&access.lockout).wrong(source.clone(), now)
        {
            tracing::warn!(?source, "locked out of the API after wrong tokens");
        }
        return Err(unauthorized("The token is wrong, revoked or expired."));
    };
    if source.is_some() {
        let caller = Caller::Token(bearer.id.clone());
        locked(&access.rates).take(caller, now).map_err(|wait| too_many(OFTEN, wait))?;
    }
    Ok(Some(bearer))
}

const OFTEN: &str = "The caller asks too often.";

/// RFC 6750 §2.1.
fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

async fn record(access: Arc<Access>, deed: Deed) {
    let written = tokio::task::spawn_blocking(move || locked(&access.audit).append(deed)).await;
    if let Ok(Err(error)) = written {
        tracing::error!(%error, "the audit log cannot be written");
    }
}

fn unauthorized(detail: &str) -> ApiError {
    let remedy = "Send `Authorization: Bearer TOKEN`; `causeway token create` on the gateway makes tokens.";
    ApiError::new(ProblemKind::Unauthorized, detail, remedy).at_parameter("Authorization")
}

fn too_many(detail: &str, wait: Duration) -> ApiError {
    let secs = wait.as_secs().max(1);
    ApiError::new(ProblemKind::TooMany, detail, format!("Try again in {secs} s."))
}

fn internal() -> ApiError {
    ApiError::new(ProblemKind::Busy, "The request ended unexpectedly.", "Look into the control plane's log.")
}
