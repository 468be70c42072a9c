//! `POST /v1/sessions/{id}/keys`: a session's keys for Wireshark.
//!
//! Enters: an id. Leaves: the rows, if `management.allow_key_export` is set. Who asked is logged as a warning, whatever the
//! answer: with the keys goes the session's confidentiality.

use axum::Json;
use axum::extract::State;
use causeway_shared::api::ExportedKeys;

use super::KeyExport;
use super::extract::Id;
use super::peer::Peer;
use super::problem::{ApiError, ProblemKind};
use crate::driver::{DriverHandle, Request as Ask};

pub(super) async fn export(
    State(driver): State<DriverHandle>,
    State(allowed): State<KeyExport>,
    peer: Peer,
    Id(id): Id,
) -> Result<Json<ExportedKeys>, ApiError> {
    if allowed != KeyExport(true) {
        tracing::warn!(%peer, session = id, "keys of a session were asked for and refused");
        let remedy = "Set `management.allow_key_export = true` and start it again.";
        return Err(ApiError::new(ProblemKind::NotAllowed, "Keys do not leave this gateway.", remedy));
    }
    let missing = || ApiError::no_such_session(&id);
    let number = id.parse().map_err(|_| missing())?;
    let keys = driver.ask(|answer| Ask::Keys(number, answer)).await?.ok_or_else(missing)?;
    tracing::warn!(%peer, session = id, "keys of a session were exported");
    Ok(Json(keys))
}
