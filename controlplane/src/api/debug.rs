//! `/v1/debug`: whose sessions are logged in detail, and what of them. Enters: conditions and topics. Leaves: what is set.
//! Every change is logged with the user who made it, because detailed logs hold names and addresses.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use causeway_shared::api::{Condition, DebugState, NewCondition, SetTopics};

use super::extract::{Body, Id};
use super::peer::Peer;
use super::problem::{ApiError, ProblemKind};
use crate::clock;
use crate::debug::{Board, BoardError};

pub(super) async fn state(State(board): State<Arc<Board>>) -> Json<DebugState> {
    Json(board.state(clock::now()))
}

pub(super) async fn add(
    State(board): State<Arc<Board>>,
    peer: Peer,
    Body(new): Body<NewCondition>,
) -> Result<(StatusCode, Json<Condition>), ApiError> {
    let condition = board.add(clock::now(), new).map_err(|error| match error {
        BoardError::Full => ApiError::new(
            ProblemKind::Full,
            "There are as many debug conditions as may be.",
            error.to_string(),
        ),
        BoardError::Bad(detail) => ApiError::bad_member("", detail),
    })?;
    tracing::info!(%peer, id = condition.id, condition = ?condition.whose, "debug condition set");
    Ok((StatusCode::CREATED, Json(condition)))
}

pub(super) async fn remove(
    State(board): State<Arc<Board>>,
    peer: Peer,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    let removed = id.parse().is_ok_and(|number| board.remove(number));
    if !removed {
        let detail = format!("There is no condition `{id}`, or no more.");
        let remedy = "`GET /v1/debug/conditions` lists them.";
        return Err(ApiError::new(ProblemKind::NoSuchCondition, detail, remedy).at_parameter("id"));
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
    Body(new): Body<SetTopics>,
) -> Result<Json<DebugState>, ApiError> {
    board.set_topics(&new.topics);
    let state = board.state(clock::now());
    tracing::info!(%peer, topics = ?state.topics, "debug topics set");
    Ok(Json(state))
}
