//! `/v1/debug`: whose sessions are logged in detail, and what of them. Enters: conditions and topics. Leaves: what is set.
//! Every change is logged with the user who made it, because detailed logs hold names and addresses.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use causeway_shared::api::{Condition, DebugState, NewCondition, SetTopics};

use super::peer::Peer;
use super::problem::ApiError;
use crate::clock;
use crate::debug::{Board, BoardError};

pub(super) async fn state(State(board): State<Arc<Board>>) -> Json<DebugState> {
    Json(board.state(clock::now()))
}

pub(super) async fn add(
    State(board): State<Arc<Board>>,
    peer: Peer,
    body: Result<Json<NewCondition>, JsonRejection>,
) -> Result<(StatusCode, Json<Condition>), ApiError> {
    let Json(new) = body.map_err(|rejection| ApiError::BadBody(rejection.status(), rejection.body_text()))?;
    let condition = board.add(clock::now(), new).map_err(|error| match error {
        BoardError::Full => ApiError::Full(error.to_string()),
        BoardError::Bad(detail) => ApiError::BadBody(StatusCode::UNPROCESSABLE_ENTITY, detail),
    })?;
    tracing::info!(%peer, id = condition.id, condition = ?condition.whose, "debug condition set");
    Ok((StatusCode::CREATED, Json(condition)))
}

pub(super) async fn remove(
    State(board): State<Arc<Board>>,
    peer: Peer,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let removed = id.parse().is_ok_and(|number| board.remove(number));
    if !removed {
        return Err(ApiError::NoSuchCondition(id));
    }
    tracing::info!(%peer, id, "debug condition removed");
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn reset(State(board): State<Arc<Board>>, peer: Peer) -> StatusCode {
    board.reset();
    tracing::info!(%peer, "debug conditions removed");
    StatusCode::NO_CONTENT
}

pub(super) async fn set_topics(
    State(board): State<Arc<Board>>,
    peer: Peer,
    body: Result<Json<SetTopics>, JsonRejection>,
) -> Result<Json<DebugState>, ApiError> {
    let Json(new) = body.map_err(|rejection| ApiError::BadBody(rejection.status(), rejection.body_text()))?;
    board.set_topics(&new.topics);
    let state = board.state(clock::now());
    tracing::info!(%peer, topics = ?state.topics, "debug topics set");
    Ok(Json(state))
}
