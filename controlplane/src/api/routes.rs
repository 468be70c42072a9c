//! Every route of the API, declared once, and the router made of them.
//!
//! Enters: handlers. Leaves: [`all`], of which [`router`], the rights, the OpenAPI document ([`super::openapi`]) and the
//! tables of `docs/api.md` ([`super::manual`]) are made.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use causeway_shared::api::{
    AuditList, Capture, CaptureList, Cleared, Condition, Counters, CreatedToken, DebugState, ExportedKeys,
    Health, NewCapture, NewCondition, NewToken, NewTrace, PortList, ReconnectStats, RedirectOrder,
    RekeyOrder, Role, Session, SetTopics, TokenList, Trace,
};

use super::idempotency::{self, Idempotency};
use super::peer::Peer;
use super::precondition;
use super::problem::{ApiError, ProblemKind};
use super::route::Route;
use super::sessions::{DeleteQuery, ListQuery};
use super::{ApiContext, auth, bulk, debug, keys, metrics, openapi, redirect, sessions, tokens, watches};
use crate::driver::{DriverHandle, Request as Ask};

/// How long one request may take in all.
pub const HANDLER_DEADLINE: Duration = Duration::from_secs(10);

/// Every route, in the order of the manual.
pub fn all() -> Vec<Route> {
    let mut routes = of_sessions();
    routes.extend(of_the_gateway());
    routes.extend(of_debugging());
    routes.extend(of_watching());
    routes.extend(of_access());
    routes
}

/// Who may do what: method, path and the least role of every route.
pub fn rights() -> Vec<(&'static str, &'static str, Role)> {
    all().iter().map(Route::right).collect()
}

fn of_sessions() -> Vec<Route> {
    const MISSING: &[ProblemKind] = &[ProblemKind::NoSuchSession];
    let (ok, accepted, gone) = (StatusCode::OK, StatusCode::ACCEPTED, StatusCode::NO_CONTENT);
    vec![
        Route::get("/v1/sessions", "list_sessions", sessions::list)
            .role(Role::Viewer)
            .summary(
                "A page of sessions: those that are up, ordered by id, or those that wait, longest waiting first.",
            )
            .query::<ListQuery>()
            .answer::<openapi::AnySessions>(ok, "A page."),
        Route::get("/v1/sessions/{id}", "get_session", sessions::one)
            .role(Role::Viewer)
            .summary("One session that is up.")
            .answer::<Session>(ok, "The session.")
            .problems(MISSING),
        Route::delete("/v1/sessions/{id}", "delete_session", sessions::delete)
            .role(Role::Operator)
            .summary("End a session, or forget one that waits.")
            .query::<DeleteQuery>()
            .no_body(
                accepted,
                "The client is being told; the session is gone when it has answered or was given up.",
            )
            .no_body(gone, "The session that waited is forgotten, its address free.")
            .problems(MISSING),
        Route::delete("/v1/sessions", "delete_sessions", bulk::delete_sessions)
            .role(Role::Operator)
            .summary("End many sessions, named by a filter.")
            .query::<bulk::BulkQuery>()
            .answer::<Cleared>(accepted, "The clients are being told, or those that waited are forgotten."),
        Route::post("/v1/sessions/{id}/keys", "export_keys", keys::export)
            .role(Role::Admin)
            .summary("The keys of a session's SAs, as rows for Wireshark.")
            .answer::<ExportedKeys>(ok, "The rows.")
            .problems(&[ProblemKind::NotAllowed, ProblemKind::NoSuchSession]),
        Route::post("/v1/sessions/{id}/rekey", "rekey_session", sessions::rekey)
            .role(Role::Operator)
            .summary("Give a session new keys.")
            .body::<RekeyOrder>()
            .no_body(accepted, "The rekey has begun.")
            .problems(MISSING),
        Route::post("/v1/sessions/{id}/redirect", "redirect_session", redirect::session)
            .role(Role::Operator)
            .summary("Send a session's client to another gateway (RFC 5685).")
            .body::<RedirectOrder>()
            .no_body(accepted, "The client is being told.")
            .problems(&[ProblemKind::NoSuchSession, ProblemKind::NotPossible]),
    ]
}

fn of_the_gateway() -> Vec<Route> {
    let (ok, gone) = (StatusCode::OK, StatusCode::NO_CONTENT);
    vec![
        Route::post("/v1/redirect", "redirect_newcomers", redirect::newcomers)
            .role(Role::Operator)
            .summary("Send new clients that can follow to another gateway, until the control plane ends.")
            .body::<RedirectOrder>()
            .no_body(gone, "They are sent there."),
        Route::delete("/v1/redirect", "serve_newcomers", redirect::stop)
            .role(Role::Operator)
            .summary("Serve new clients again.")
            .no_body(gone, "They are served."),
        Route::get("/v1/stats/reconnect", "get_reconnect_stats", reconnect_stats)
            .role(Role::Viewer)
            .summary("Attempts to come back, and how many sessions can.")
            .answer::<ReconnectStats>(ok, "The figures."),
        Route::delete("/v1/stats/reconnect", "reset_reconnect_stats", reset_reconnect_stats)
            .role(Role::Operator)
            .summary("Count attempts to come back from zero again.")
            .no_body(gone, "They are counted from zero."),
        Route::get("/v1/counters", "get_counters", counters)
            .role(Role::Viewer)
            .summary("Every counter with its meaning, and what to do when it grows.")
            .answer::<Counters>(ok, "The counters."),
        Route::get("/v1/ports", "get_ports", ports)
            .role(Role::Viewer)
            .summary("The data plane's ports: link, queues, who spreads packets, ESP engine and why.")
            .answer::<PortList>(ok, "The ports."),
        Route::get("/v1/health", "get_health", health)
            .role(Role::Viewer)
            .summary("What runs, what is full, what is wrong.")
            .answer::<Health>(ok, "How things stand, well or not."),
        Route::get("/metrics", "get_metrics", metrics::serve)
            .role(Role::Viewer)
            .summary("Counters and figures of health, for Prometheus.")
            .text(ok, "Text format 0.0.4."),
        Route::get("/v1/openapi.json", "get_openapi", openapi::serve)
            .role(Role::Viewer)
            .summary("This document.")
            .answer::<serde_json::Map<String, serde_json::Value>>(ok, "An OpenAPI 3.1 document."),
    ]
}

fn of_debugging() -> Vec<Route> {
    let (ok, gone) = (StatusCode::OK, StatusCode::NO_CONTENT);
    vec![
        Route::get("/v1/debug/conditions", "get_debug", debug::state)
            .role(Role::Viewer)
            .summary("Conditions and topics that are set, lines logged and left out.")
            .answer::<DebugState>(ok, "What is set."),
        Route::post("/v1/debug/conditions", "add_condition", debug::add)
            .role(Role::Operator)
            .summary("Log the sessions that match in detail.")
            .body::<NewCondition>()
            .answer::<Condition>(StatusCode::CREATED, "It is set.")
            .problems(&[ProblemKind::Full]),
        Route::delete("/v1/debug/conditions", "reset_conditions", debug::reset)
            .role(Role::Operator)
            .summary("Remove all conditions.")
            .no_body(gone, "None is set."),
        Route::delete("/v1/debug/conditions/{id}", "remove_condition", debug::remove)
            .role(Role::Operator)
            .summary("Remove one condition.")
            .no_body(gone, "It is removed.")
            .problems(&[ProblemKind::NoSuchCondition]),
        Route::post("/v1/debug/topics", "set_topics", debug::set_topics)
            .role(Role::Operator)
            .summary("What is logged of the sessions that match.")
            .body::<SetTopics>()
            .answer::<DebugState>(ok, "What is set now."),
    ]
}

fn of_watching() -> Vec<Route> {
    const MISSING: &[ProblemKind] = &[ProblemKind::NoSuchWatch];
    const REFUSED: &[ProblemKind] =
        &[ProblemKind::NoSuchSession, ProblemKind::NoDataPlane, ProblemKind::Full];
    let (ok, created, gone) = (StatusCode::OK, StatusCode::CREATED, StatusCode::NO_CONTENT);
    vec![
        Route::get("/v1/captures", "list_captures", watches::captures)
            .role(Role::Operator)
            .summary("Captures of packets, running and over.")
            .answer::<CaptureList>(ok, "The captures."),
        Route::post("/v1/captures", "add_capture", watches::capture)
            .role(Role::Admin)
            .summary("Capture packets of one session, before and after crypto, until a bound is reached.")
            .body::<NewCapture>()
            .answer::<Capture>(created, "It runs.")
            .problems(REFUSED),
        Route::get("/v1/captures/{id}/pcapng", "get_capture_file", watches::download)
            .role(Role::Admin)
            .summary(
                "A capture's packets so far, as a pcapng file with an interface for each side of the crypto.",
            )
            .file(ok, watches::PCAPNG, "The file.")
            .problems(MISSING),
        Route::delete("/v1/captures/{id}", "remove_capture", watches::remove_capture)
            .role(Role::Admin)
            .summary("End a capture and forget its packets.")
            .no_body(gone, "It is forgotten.")
            .problems(MISSING),
        Route::post("/v1/traces", "add_trace", watches::trace)
            .role(Role::Operator)
            .summary("Follow the next packets that match through the data plane's stages.")
            .body::<NewTrace>()
            .answer::<Trace>(created, "It runs.")
            .problems(REFUSED),
        Route::get("/v1/traces/{id}", "get_trace", watches::traced)
            .role(Role::Operator)
            .summary("What each stage did with the packets so far, and why they were dropped.")
            .answer::<Trace>(ok, "The packets.")
            .problems(MISSING),
        Route::delete("/v1/traces/{id}", "remove_trace", watches::remove_trace)
            .role(Role::Operator)
            .summary("End a trace and forget it.")
            .no_body(gone, "It is forgotten.")
            .problems(MISSING),
    ]
}

fn of_access() -> Vec<Route> {
    let (ok, gone) = (StatusCode::OK, StatusCode::NO_CONTENT);
    vec![
        Route::get("/v1/tokens", "list_tokens", tokens::list)
            .role(Role::Admin)
            .summary("Tokens that are valid, without what proves them.")
            .answer::<TokenList>(ok, "The tokens."),
        Route::post("/v1/tokens", "create_token", tokens::create)
            .role(Role::Admin)
            .summary("Make a token.")
            .body::<NewToken>()
            .answer::<CreatedToken>(StatusCode::CREATED, "The token, which is never shown again.")
            .problems(&[ProblemKind::Full, ProblemKind::NotStored]),
        Route::delete("/v1/tokens/{id}", "revoke_token", tokens::revoke)
            .role(Role::Admin)
            .summary("Make a token void.")
            .no_body(gone, "It is void.")
            .problems(&[ProblemKind::NoSuchToken, ProblemKind::NotStored]),
        Route::get("/v1/audit", "get_audit", tokens::audit)
            .role(Role::Admin)
            .summary("Who changed what: the audit log, oldest first.")
            .query::<tokens::AuditQuery>()
            .answer::<AuditList>(ok, "A page."),
    ]
}

/// The router.
pub fn router(context: ApiContext) -> Router {
    let answers = Arc::new(idempotency::Answers::default());
    // Layers from the inside out: the right to ask is looked at first.
    let add = |router: Router<ApiContext>, route: Route| {
        let mut handler = route.handler.clone();
        if route.wants_match {
            handler = handler.route_layer(middleware::from_fn(precondition::required));
        }
        if route.hears_key() {
            let once = Idempotency { answers: Arc::clone(&answers), max_body: route.max_body };
            handler = handler.route_layer(middleware::from_fn_with_state(once, idempotency::once));
        }
        let allow = middleware::from_fn_with_state(route.role, auth::allow);
        let limit = DefaultBodyLimit::max(route.max_body);
        router.route(route.path, handler.route_layer(allow).route_layer(limit))
    };
    let identify = middleware::from_fn_with_state(Arc::clone(&context.access), auth::identify);
    all()
        .into_iter()
        .fold(Router::new(), add)
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(no_such_path)
        .layer(middleware::from_fn(within_deadline))
        .layer(identify)
        .with_state(context)
}

async fn method_not_allowed() -> ApiError {
    let remedy = "The `Allow` header names the methods of this path.";
    ApiError::new(ProblemKind::MethodNotAllowed, "This path does not know the method.", remedy)
}

async fn no_such_path(uri: Uri) -> ApiError {
    let detail = format!("There is nothing at `{}`.", uri.path());
    ApiError::new(
        ProblemKind::NoSuchPath,
        detail,
        "The paths are listed in docs/api.md and /v1/openapi.json.",
    )
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

async fn within_deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(HANDLER_DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let remedy = "Try again in a few seconds.";
            ApiError::new(ProblemKind::Timeout, "The request was given up.", remedy).into_response()
        }
    }
}
