//! Clients that are sent to another gateway (RFC 5685): one session, or all new clients.
//!
//! Enters: `POST /v1/sessions/{id}/redirect`, `POST` and `DELETE /v1/redirect`. Leaves: 202 or 204, or why not.

use axum::extract::State;
use axum::http::StatusCode;
use causeway_ike::policy::GatewayName;
use causeway_shared::api::RedirectOrder;

use super::extract::{Body, Id};
use super::peer::Peer;
use super::problem::{ApiError, ProblemKind};
use crate::driver::{DriverHandle, Redirection, Request as Ask};

fn target(order: &RedirectOrder) -> Result<GatewayName, ApiError> {
    order.to.parse().map_err(|why| ApiError::bad_member("/to", format!("`to` is {why}.")))
}

/// Tells the client of one session where to go.
pub(super) async fn session(
    State(driver): State<DriverHandle>,
    Id(id): Id,
    Body(order): Body<RedirectOrder>,
) -> Result<StatusCode, ApiError> {
    let to = target(&order)?;
    let missing = || ApiError::no_such_session(&id);
    let number = id.parse().map_err(|_| missing())?;
    match driver.ask(|answer| Ask::Redirect(number, to, answer)).await? {
        Redirection::Begun => Ok(StatusCode::ACCEPTED),
        Redirection::Missing => Err(missing()),
        Redirection::CannotFollow => Err(ApiError::new(
            ProblemKind::NotPossible,
            format!("The client of session `{id}` has not said that it follows redirects (RFC 5685)."),
            "Delete the session instead.",
        )),
    }
}

/// Sends all new clients that can follow to another gateway from now on, until this process ends.
pub(super) async fn newcomers(
    State(driver): State<DriverHandle>,
    peer: Peer,
    Body(order): Body<RedirectOrder>,
) -> Result<StatusCode, ApiError> {
    let to = target(&order)?;
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
