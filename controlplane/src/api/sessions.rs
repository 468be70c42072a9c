//! `/v1/sessions`: those that are up, those that wait, one of them, and what can be ordered for one.
//!
//! Enters: queries and ids. Leaves: JSON of `causeway_shared::api`. Lists are filtered, paged and rendered here, on the API's
//! own thread; the driver only hands out a snapshot and figures.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use causeway_ike::api::IkeFacts;
use causeway_shared::api::{RekeyOrder, RekeyWhat, Session, SessionList};
use schemars::JsonSchema;
use serde::Deserialize;

use super::extract::{Body, Id, Query};
use super::problem::ApiError;
use super::view::{self, ViewPolicy};
use crate::driver::{DriverHandle, InactiveQuery, Rekey, Request as Ask};
use crate::sessions::Record;

/// Sessions of a page when the client names no limit.
pub const DEFAULT_PAGE: usize = 100;
/// Most sessions of a page.
pub const MAX_PAGE: usize = 1000;

/// Query of `GET /v1/sessions`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    /// Sessions of the page; 100 if absent.
    #[schemars(range(min = 1, max = 1000))]
    limit: Option<usize>,
    /// The `next_page_token` of the page before.
    page_token: Option<String>,
    /// Only those of this user, named exactly.
    user: Option<String>,
    /// Which of the two tables.
    #[serde(default)]
    state: ListState,
}

/// Which of the two tables of sessions.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum ListState {
    /// Those with an IKE SA.
    #[default]
    Active,
    /// Those that wait for their client.
    Inactive,
}

pub(super) async fn list(
    State(driver): State<DriverHandle>,
    State(policy): State<Arc<ViewPolicy>>,
    Query(query): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_PAGE);
    if !(1..=MAX_PAGE).contains(&limit) {
        let detail = format!("`limit` must be from 1 to {MAX_PAGE}.");
        return Err(ApiError::bad_query(Some("limit"), detail));
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

pub(super) async fn one(
    State(driver): State<DriverHandle>,
    State(policy): State<Arc<ViewPolicy>>,
    Id(id): Id,
) -> Result<Json<Session>, ApiError> {
    let missing = || ApiError::no_such_session(&id);
    let number = id.parse().map_err(|_| missing())?;
    let record = driver.ask(Ask::Snapshot).await?.get(number).ok_or_else(missing)?;
    with_traffic(&driver, &policy, &[record]).await?.pop().map(Json).ok_or_else(missing)
}

/// Query of `DELETE /v1/sessions/{id}`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    /// Which of the two tables the id is of.
    #[serde(default)]
    state: ListState,
}

pub(super) async fn delete(
    State(driver): State<DriverHandle>,
    Id(id): Id,
    Query(query): Query<DeleteQuery>,
) -> Result<StatusCode, ApiError> {
    let missing = || ApiError::no_such_session(&id);
    if query.state == ListState::Inactive {
        let forgotten = driver.ask(|answer| Ask::DeleteInactive(Some(id.clone()), answer)).await?;
        return (forgotten > 0).then_some(StatusCode::NO_CONTENT).ok_or_else(missing);
    }
    let number = id.parse().map_err(|_| missing())?;
    let found = driver.ask(|answer| Ask::Delete(number, answer)).await?;
    // The client is being told; the session is gone when it has answered or was given up.
    found.then_some(StatusCode::ACCEPTED).ok_or_else(missing)
}

pub(super) async fn rekey(
    State(driver): State<DriverHandle>,
    Id(id): Id,
    Body(order): Body<RekeyOrder>,
) -> Result<StatusCode, ApiError> {
    let what = match order.what {
        RekeyWhat::Ike => Rekey::Ike,
        RekeyWhat::Child => Rekey::Child,
    };
    let missing = || ApiError::no_such_session(&id);
    let number = id.parse().map_err(|_| missing())?;
    let found = driver.ask(|answer| Ask::Rekey(number, what, answer)).await?;
    found.then_some(StatusCode::ACCEPTED).ok_or_else(missing)
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
    token.parse().map_err(|_| ApiError::bad_query(Some("page_token"), text))
}
