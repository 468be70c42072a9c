//! `/v1/captures` and `/v1/traces`: packets of the data plane, and what became of them.
//!
//! Enters: whose packets, and bounds. Leaves: pcapng files and traced ways. Captures hold users' plain text, so each is logged as a
//! warning with the one who ordered it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use causeway_shared::api::{Capture, CaptureList, NewCapture, NewTrace, Trace};
use causeway_shared::wire::TraceFilter;

use super::extract::{Body, Id};
use super::peer::Peer;
use super::problem::{ApiError, ProblemKind};
use crate::clock;
use crate::driver::{DriverHandle, Request as Ask};
use crate::sessions::Record;
use crate::watch::pcapng::FileTime;
use crate::watch::{WatchDesk, WatchError};

/// Media type of the files.
pub(super) const PCAPNG: &str = "application/x-pcapng";

pub(super) async fn captures(State(desk): State<Arc<WatchDesk>>) -> Json<CaptureList> {
    Json(CaptureList { captures: desk.captures(clock::now()) })
}

pub(super) async fn capture(
    State(desk): State<Arc<WatchDesk>>,
    State(driver): State<DriverHandle>,
    peer: Peer,
    Body(new): Body<NewCapture>,
) -> Result<(StatusCode, Json<Capture>), ApiError> {
    let session = session(&driver, &new.session).await?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = FileTime { monotonic: clock::now(), wall };
    let capture = desk.capture(now, session.id(), &new).map_err(refused)?;
    tracing::warn!(%peer, id = capture.id, session = new.session, side = ?new.side, "packets of a session are captured");
    Ok((StatusCode::CREATED, Json(capture)))
}

pub(super) async fn download(
    State(desk): State<Arc<WatchDesk>>,
    peer: Peer,
    Id(id): Id,
) -> Result<Response, ApiError> {
    let file = id.parse().ok().and_then(|number| desk.file(number)).ok_or_else(|| no_such_watch(&id))?;
    tracing::warn!(%peer, id, octets = file.len(), "captured packets were fetched");
    Ok(([(header::CONTENT_TYPE, PCAPNG)], file).into_response())
}

pub(super) async fn remove_capture(
    State(desk): State<Arc<WatchDesk>>,
    peer: Peer,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    removed(id.parse().is_ok_and(|number| desk.remove_capture(number)), &id)?;
    tracing::info!(%peer, id, "a capture was removed");
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn trace(
    State(desk): State<Arc<WatchDesk>>,
    State(driver): State<DriverHandle>,
    peer: Peer,
    Body(new): Body<NewTrace>,
) -> Result<(StatusCode, Json<Trace>), ApiError> {
    let mut filter = TraceFilter { peer: new.peer, spi: new.spi, inner: new.inner };
    if let Some(id) = &new.session {
        if filter.inner.is_some() {
            return Err(ApiError::bad_member("/session", "`session` and `inner` exclude each other."));
        }
        let session = session(&driver, id).await?;
        let inner6 = || session.inner_prefix6()?.split('/').next()?.parse().ok();
        filter.inner = session.inner_address().map(Into::into).or_else(inner6);
    }
    let trace = desk.trace(clock::now(), filter, &new).map_err(refused)?;
    tracing::info!(%peer, id = trace.id, "packets are traced");
    Ok((StatusCode::CREATED, Json(trace)))
}

pub(super) async fn traced(State(desk): State<Arc<WatchDesk>>, Id(id): Id) -> Result<Json<Trace>, ApiError> {
    let trace = id.parse().ok().and_then(|number| desk.traced(clock::now(), number));
    trace.map(Json).ok_or_else(|| no_such_watch(&id))
}

pub(super) async fn remove_trace(
    State(desk): State<Arc<WatchDesk>>,
    Id(id): Id,
) -> Result<StatusCode, ApiError> {
    removed(id.parse().is_ok_and(|number| desk.remove_trace(number)), &id)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn session(driver: &DriverHandle, id: &str) -> Result<Arc<Record>, ApiError> {
    let missing = || ApiError::no_such_session(id);
    let number = id.parse().map_err(|_| missing())?;
    driver.ask(Ask::Snapshot).await?.get(number).ok_or_else(missing)
}

fn removed(removed: bool, id: &str) -> Result<(), ApiError> {
    if removed { Ok(()) } else { Err(no_such_watch(id)) }
}

fn no_such_watch(id: &str) -> ApiError {
    let detail = format!("There is no `{id}`, or no more.");
    let remedy = "`GET /v1/captures` lists captures; a trace is named by the answer that began it.";
    ApiError::new(ProblemKind::NoSuchWatch, detail, remedy).at_parameter("id")
}

fn refused(error: WatchError) -> ApiError {
    match error {
        WatchError::Range { member, .. } => ApiError::bad_member(format!("/{member}"), error.to_string()),
        WatchError::Full(_) => ApiError::new(ProblemKind::Full, error.to_string(), "`DELETE` forgets one."),
        WatchError::NoDataPlane => ApiError::new(
            ProblemKind::NoDataPlane,
            error.to_string(),
            "`causeway show health` says why; without a data plane there are no packets to look at.",
        ),
    }
}
