//! `DELETE /v1/sessions`: many sessions at once, always named by a filter.
//!
//! Enters: a filter. Leaves: how many sessions are being ended. The driver is asked for a few at a time, so that IKE goes
//! on between them.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use causeway_shared::api::Cleared;
use schemars::JsonSchema;
use serde::Deserialize;

use super::extract::Query;
use super::problem::ApiError;
use super::sessions::ListState;
use crate::driver::{DriverHandle, Request as Ask};

/// Sessions that the driver deletes before it looks at anything else.
pub const DELETE_BATCH: usize = 64;

/// The filter. `state` must be named: a request without any filter is more likely a mistake than a wish.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct BulkQuery {
    /// Which of the two tables.
    state: ListState,
    /// Only those of this peer's outer address; for those that are up.
    peer: Option<IpAddr>,
}

pub(super) async fn delete_sessions(
    State(driver): State<DriverHandle>,
    Query(query): Query<BulkQuery>,
) -> Result<(StatusCode, Json<Cleared>), ApiError> {
    let cleared = match (query.state, query.peer) {
        (ListState::Inactive, None) => driver.ask(|answer| Ask::DeleteInactive(None, answer)).await?,
        (ListState::Inactive, Some(_)) => {
            let detail = "`peer` is for active sessions: inactive ones have none.";
            return Err(ApiError::bad_query(Some("peer"), detail));
        }
        (ListState::Active, peer) => delete_active(&driver, peer).await?,
    };
    Ok((StatusCode::ACCEPTED, Json(Cleared { cleared })))
}

async fn delete_active(driver: &DriverHandle, peer: Option<IpAddr>) -> Result<u64, ApiError> {
    let snapshot = driver.ask(Ask::Snapshot).await?;
    let records = snapshot.records().iter();
    let ids: Vec<u64> = records
        .filter(|record| peer.is_none_or(|peer| record.peer() == peer))
        .map(|record| record.id())
        .collect();
    let mut cleared = 0u64;
    for batch in ids.chunks(DELETE_BATCH) {
        let begun = driver.ask(|answer| Ask::DeleteMany(batch.to_vec(), answer)).await?;
        cleared = cleared.saturating_add(begun);
    }
    Ok(cleared)
}
