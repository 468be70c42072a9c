//! `/v1/tokens` and `/v1/audit`: who may come in, and what was done.
//!
//! Enters: orders. Leaves: tokens (each shown once), lists, pages of the audit log, which no path changes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use causeway_shared::api::{AuditList, CreatedToken, MAX_TOKEN_NAME, MAX_TOKEN_SECS, NewToken, TokenList};
use schemars::JsonSchema;
use serde::Deserialize;

use super::extract::{Body, Id, Query};
use super::peer::Peer;
use super::problem::{ApiError, ProblemKind};
use crate::access::tokens::TokenError;
use crate::access::{Access, locked};
use crate::clock;

/// Entries of a page when the client names no limit.
const DEFAULT_PAGE: usize = 100;
/// Most entries of a page.
const MAX_PAGE: usize = 1000;

pub(super) async fn list(State(access): State<Arc<Access>>) -> Json<TokenList> {
    Json(TokenList { tokens: locked(&access.tokens).list(clock::unix_secs()).cloned().collect() })
}

pub(super) async fn create(
    State(access): State<Arc<Access>>,
    peer: Peer,
    Body(new): Body<NewToken>,
) -> Result<Response, ApiError> {
    let is_printable = |text: &str| {
        text.split(' ').all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic()))
    };
    if new.name.len() > MAX_TOKEN_NAME || !is_printable(&new.name) {
        let detail = format!(
            "`name` must be 1 to {MAX_TOKEN_NAME} printable ASCII characters, words apart by one space."
        );
        return Err(ApiError::bad_member("/name", detail));
    }
    if new.expires_in_secs.is_some_and(|secs| !(1..=MAX_TOKEN_SECS).contains(&secs)) {
        let detail = format!("`expires_in_secs` must be from 1 to {MAX_TOKEN_SECS}.");
        return Err(ApiError::bad_member("/expires_in_secs", detail));
    }
    let made = beside(&access, move |access| {
        locked(&access.tokens).create(new, peer.to_string(), clock::unix_secs())
    });
    let (token, info, change) = made.await?;
    let created = CreatedToken { token: token.to_string(), info };
    let mut response = (StatusCode::CREATED, Json(created)).into_response();
    response.extensions_mut().insert(change);
    Ok(response)
}

pub(super) async fn revoke(State(access): State<Arc<Access>>, Id(id): Id) -> Result<Response, ApiError> {
    let of_thread = id.clone();
    let revoked =
        beside(&access, move |access| locked(&access.tokens).revoke(&of_thread, clock::unix_secs()));
    let Some(change) = revoked.await? else {
        let detail = format!("There is no token `{id}`, or no more.");
        let error = ApiError::new(ProblemKind::NoSuchToken, detail, "`GET /v1/tokens` lists them.");
        return Err(error.at_parameter("id"));
    };
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.extensions_mut().insert(change);
    Ok(response)
}

/// Query of `GET /v1/audit`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    /// Only entries with larger numbers; all that can be shown if absent.
    #[serde(default)]
    after: u64,
    /// Entries of the page; 100 if absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
}

pub(super) async fn audit(
    State(access): State<Arc<Access>>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<AuditList>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::bad_query(Some("limit"), format!("`limit` must be from 1 to {MAX_PAGE}.")));
    }
    Ok(Json(locked(&access.audit).page(query.after, limit)))
}

/// On another thread: a disk may be slow, and other requests are not to wait for it.
async fn beside<T: Send + 'static>(
    access: &Arc<Access>,
    work: impl FnOnce(&Access) -> Result<T, TokenError> + Send + 'static,
) -> Result<T, ApiError> {
    let access = Arc::clone(access);
    let worked = tokio::task::spawn_blocking(move || work(&access)).await;
    worked.unwrap_or_else(|ended| Err(TokenError::Unwritten(std::io::Error::other(ended)))).map_err(|error| {
        let (kind, remedy) = match error {
            TokenError::Full => (ProblemKind::Full, "Revoke one that is not used."),
            TokenError::Unwritten(_) => {
                (ProblemKind::NotStored, "Look at the disk of management.state_directory.")
            }
        };
        ApiError::new(kind, format!("The tokens stay as they are: {error}."), remedy)
    })
}
