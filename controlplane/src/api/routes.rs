//! The paths of the API (`docs/api.md`) and what each answers.
//!
//! Enters: HTTP requests. Leaves: JSON bodies of `causeway_shared::api`, or problems. Lists are filtered, paged and
//! rendered here, on the API's own thread; the driver only hands out a snapshot and figures.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use causeway_ike::api::IkeFacts;
use causeway_shared::api::{Counters, Health, PortList, ReconnectStats, Session, SessionList};
use serde::Deserialize;

use super::peer::Peer;
use super::problem::ApiError;
use super::view::{self, ViewPolicy};
use super::{ApiContext, bulk, debug, keys, redirect};
use crate::driver::{DriverHandle, InactiveQuery, Rekey, Request as Ask};
use crate::sessions::Record;

/// Sessions of a page when the client names no limit.
pub const DEFAULT_PAGE: usize = 100;
/// Most sessions of a page.
pub const MAX_PAGE: usize = 1000;
/// Octets of a request body.
pub const MAX_BODY_BYTES: usize = 16 * 1024;
/// How long one request may take in all.
pub const HANDLER_DEADLINE: Duration = Duration::from_secs(10);

/// The router.
pub fn router(context: ApiContext) -> Router {
    Router::new()
        .route("/v1/sessions", get(list_sessions).delete(bulk::delete_sessions))
        .route("/v1/sessions/{id}", get(get_session).delete(delete_session))
        .route("/v1/sessions/{id}/rekey", post(rekey_session))
        .route("/v1/sessions/{id}/redirect", post(redirect::session))
        .route("/v1/redirect", post(redirect::newcomers).delete(redirect::stop))
        .route("/v1/sessions/{id}/keys", post(keys::export))
        .route("/v1/stats/reconnect", get(reconnect_stats).delete(reset_reconnect_stats))
        .route("/v1/debug/conditions", get(debug::state).post(debug::add).delete(debug::reset))
        .route("/v1/debug/conditions/{id}", delete(debug::remove))
        .route("/v1/debug/topics", post(debug::set_topics))
        .route("/v1/counters", get(counters))
        .route("/v1/ports", get(ports))
        .route("/v1/health", get(health))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .fallback(async |uri: Uri| ApiError::NoSuchPath(uri.path().to_owned()))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(within_deadline))
        .with_state(context)
}

/// Query of `GET /v1/sessions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<usize>,
    page_token: Option<String>,
    user: Option<String>,
    #[serde(default)]
    state: ListState,
}

/// Which of the two tables of sessions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ListState {
    /// Those with an IKE SA.
    #[default]
    Active,
    /// Those that wait for their client.
    Inactive,
}

async fn list_sessions(
    State(driver): State<DriverHandle>,
    State(policy): State<Arc<ViewPolicy>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::BadQuery(rejection.body_text()))?;
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        return Err(ApiError::BadQuery(format!("`limit` must be from 1 to {MAX_PAGE}.")));
    }
    if query.state == ListState::Inactive {
        let after = query.page_token.as_deref().map(parse_page_token).transpose()?;
        let query = InactiveQuery { after, limit, user: query.user };
        return Ok(Json(driver.ask(|answer| Ask::Inactive(query, answer)).await?).into_response());
    }
    let after = query.page_token.as_deref().map(parse_page_token).transpose()?;
    let snapshot = driver.ask(Ask::Snapshot).await?;
    let matches = |record: &&Arc<Record>| query.user.as_deref().is_none_or(|user| record.user() == user);
    let total = match query.user {
        None => snapshot.records().len(),
        Some(_) => snapshot.records().iter().filter(matches).count(),
    };
    let mut page: Vec<_> = snapshot.after(after).iter().filter(matches).take(limit + 1).cloned().collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next_page_token = page.last().filter(|_| more).map(|record| record.id().to_string());
    let sessions = with_traffic(&driver, &policy, &page).await?;
    Ok(Json(SessionList { sessions, total: total as u64, next_page_token }).into_response())
}

async fn get_session(
    State(driver): State<DriverHandle>,
    State(policy): State<Arc<ViewPolicy>>,
    Path(id): Path<String>,
) -> Result<Json<Session>, ApiError> {
    let missing = || ApiError::NoSuchSession(id.clone());
    let number = id.parse().map_err(|_| missing())?;
    let record = driver.ask(Ask::Snapshot).await?.get(number).ok_or_else(missing)?;
    with_traffic(&driver, &policy, &[record]).await?.pop().map(Json).ok_or_else(missing)
}

/// Query of `DELETE /v1/sessions/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteQuery {
    #[serde(default)]
    state: ListState,
}

async fn delete_session(
    State(driver): State<DriverHandle>,
    Path(id): Path<String>,
    query: Result<Query<DeleteQuery>, QueryRejection>,
) -> Result<StatusCode, ApiError> {
    let Query(query) = query.map_err(|rejection| ApiError::BadQuery(rejection.body_text()))?;
    let missing = || ApiError::NoSuchSession(id.clone());
    if query.state == ListState::Inactive {
        let forgotten = driver.ask(|answer| Ask::DeleteInactive(Some(id.clone()), answer)).await?;
        return (forgotten > 0).then_some(StatusCode::NO_CONTENT).ok_or_else(missing);
    }
    let number = id.parse().map_err(|_| missing())?;
    let found = driver.ask(|answer| Ask::Delete(number, answer)).await?;
    // The client is being told; the session is gone when it has answered or was given up.
    found.then_some(StatusCode::ACCEPTED).ok_or_else(missing)
}

/// Body of `POST /v1/sessions/{id}/rekey`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RekeyBody {
    what: RekeyWhat,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RekeyWhat {
    Ike,
    Child,
}

async fn rekey_session(
    State(driver): State<DriverHandle>,
    Path(id): Path<String>,
    body: Result<Json<RekeyBody>, JsonRejection>,
) -> Result<StatusCode, ApiError> {
    let Json(body) =
        body.map_err(|rejection| ApiError::BadBody(rejection.status(), rejection.body_text()))?;
    let what = match body.what {
        RekeyWhat::Ike => Rekey::Ike,
        RekeyWhat::Child => Rekey::Child,
    };
    let missing = || ApiError::NoSuchSession(id.clone());
    let number = id.parse().map_err(|_| missing())?;
    let found = driver.ask(|answer| Ask::Rekey(number, what, answer)).await?;
    found.then_some(StatusCode::ACCEPTED).ok_or_else(missing)
}

async fn reconnect_stats(State(driver): State<DriverHandle>) -> Result<Json<ReconnectStats>, ApiError> {
    Ok(Json(driver.ask(Ask::Reconnect).await?))
}

async fn reset_reconnect_stats(
    State(driver): State<DriverHandle>,
    peer: Peer,
) -> Result<StatusCode, ApiError> {
    driver.ask(Ask::ResetReconnect).await?;
    tracing::info!(%peer, "reconnect statistics were reset");
    Ok(StatusCode::NO_CONTENT)
}

async fn counters(State(driver): State<DriverHandle>) -> Result<Json<Counters>, ApiError> {
    Ok(Json(driver.ask(Ask::Counters).await?))
}

async fn ports(State(driver): State<DriverHandle>) -> Result<Json<PortList>, ApiError> {
    Ok(Json(driver.ask(Ask::Ports).await?))
}

async fn health(State(driver): State<DriverHandle>) -> Result<Json<Health>, ApiError> {
    Ok(Json(driver.ask(Ask::Health).await?))
}

/// Renders records with the state of their IKE SAs and the figures of their Child SAs.
async fn with_traffic(
    driver: &DriverHandle,
    policy: &ViewPolicy,
    records: &[Arc<Record>],
) -> Result<Vec<Session>, ApiError> {
    let sessions = records.iter().map(|record| record.id()).collect();
    let spis = records.iter().flat_map(|record| record.inbound_spis()).collect();
    let answer = driver.ask(|sender| Ask::Traffic(sessions, spis, sender)).await?;
    let mut figures = answer.figures.into_iter();
    let render = |(record, ike): (&Arc<Record>, Option<IkeFacts>)| {
        let own: Vec<_> = figures.by_ref().take(record.inbound_spis().count()).collect();
        let mut session = record.render(answer.now_ms, &own);
        view::complete(&mut session, record, ike.as_ref(), answer.now_ms, policy);
        session
    };
    // One for each record, in their order.
    let ike = answer.ike.into_iter().chain(std::iter::repeat(None));
    Ok(records.iter().zip(ike).map(render).collect())
}

fn parse_page_token<T: std::str::FromStr>(token: &str) -> Result<T, ApiError> {
    let text = "`page_token` must be the `next_page_token` of an earlier answer.";
    token.parse().map_err(|_| ApiError::BadQuery(text.to_owned()))
}

async fn within_deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(HANDLER_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Timeout.into_response(),
    }
}
