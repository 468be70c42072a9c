//! Clients that are sent to another gateway (RFC 5685): one session, or all new clients.
//!
//! Enters: `POST /v1/sessions/{id}/redirect`, `POST` and `DELETE /v1/redirect`. Leaves: 202 or 204, or why not.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use causeway_ike::policy::GatewayName;
use serde::Deserialize;

use super::peer::Peer;
use super::problem::ApiError;
use crate::driver::{DriverHandle, Redirection, Request as Ask};

/// Where to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    to: String,
}

fn target(body: Result<Json<Body>, JsonRejection>) -> Result<GatewayName, ApiError> {
    let Json(body) =
        body.map_err(|rejection| ApiError::BadBody(rejection.status(), rejection.body_text()))?;
    let wrong = |why: causeway_ike::policy::NoGatewayName| {
        ApiError::BadBody(StatusCode::UNPROCESSABLE_ENTITY, format!("`to` is {why}."))
    };
    body.to.parse().map_err(wrong)
}

/// Tells the client of one session where to go.
pub(super) async fn session(
    State(driver): State<DriverHandle>,
    Path(id): Path<String>,
    body: Result<Json<Body>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let to = target(body)?;
    let missing = || ApiError::NoSuchSession(id.clone());
    let number = id.parse().map_err(|_| missing())?;
    match driver.ask(|answer| Ask::Redirect(number, to, answer)).await? {
        Redirection::Begun => Ok(StatusCode::ACCEPTED),
        Redirection::Missing => Err(missing()),
        Redirection::CannotFollow => Err(ApiError::NotPossible(format!(
            "The client of session `{id}` has not said that it follows redirects (RFC 5685); delete the session instead."
        ))),
    }
}

/// Sends all new clients that can follow to another gateway from now on, until this process ends.
pub(super) async fn newcomers(
    State(driver): State<DriverHandle>,
    peer: Peer,
    body: Result<Json<Body>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let to = target(body)?;
    tracing::info!(%peer, %to, "new clients are sent to another gateway");
    driver.ask(|answer| Ask::RedirectNewcomers(Some(to), answer)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Serves new clients again.
pub(super) async fn stop(State(driver): State<DriverHandle>, peer: Peer) -> Result<StatusCode, ApiError> {
    tracing::info!(%peer, "new clients are served again");
    driver.ask(|answer| Ask::RedirectNewcomers(None, answer)).await?;
    Ok(StatusCode::NO_CONTENT)
}
