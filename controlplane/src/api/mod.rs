//! The management API: HTTP/JSON over a Unix socket, on a thread of its own (`docs/api.md`).
//!
//! Enters: connections of operators and of the `causeway` command. Leaves: what [`routes`] answers. Connections, header
//! sizes, bodies and times are bounded, so that a client can neither stall IKE nor eat the memory.

mod bulk;
mod debug;
mod extract;
mod keys;
pub mod manual;
pub mod openapi;
mod peer;
pub mod problem;
mod redirect;
mod route;
mod routes;
mod sessions;
pub mod socket;
pub mod view;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use self::view::ViewPolicy;
use crate::debug::Board;
use crate::driver::DriverHandle;

/// Connections at once; more wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 64;
/// How long a client may take to send a request's header, and how long a connection may be idle.
pub const HEADER_DEADLINE: Duration = Duration::from_secs(15);
/// Octets of a request's header.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Lines of a request's header.
pub const MAX_HEADERS: usize = 64;
/// How long requests under way may still take when the daemon stops.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(1);

/// What the handlers work with.
#[derive(Clone)]
pub struct ApiContext {
    /// The driver.
    pub driver: DriverHandle,
    /// What is logged in detail.
    pub board: Arc<Board>,
    /// What the configuration says about every session.
    pub policy: Arc<ViewPolicy>,
    /// `management.allow_key_export`
    pub key_export: KeyExport,
}

/// Whether keys may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyExport(pub bool);

impl FromRef<ApiContext> for KeyExport {
    fn from_ref(context: &ApiContext) -> KeyExport {
        context.key_export
    }
}

impl FromRef<ApiContext> for DriverHandle {
    fn from_ref(context: &ApiContext) -> DriverHandle {
        context.driver.clone()
    }
}

impl FromRef<ApiContext> for Arc<ViewPolicy> {
    fn from_ref(context: &ApiContext) -> Arc<ViewPolicy> {
        Arc::clone(&context.policy)
    }
}

impl FromRef<ApiContext> for Arc<Board> {
    fn from_ref(context: &ApiContext) -> Arc<Board> {
        Arc::clone(&context.board)
    }
}

/// The running API; it ends with [`ApiServer::stop`] or when dropped.
pub struct ApiServer {
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ApiServer {
    /// Serves `listener` on a new thread.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(listener: std::os::unix::net::UnixListener, context: ApiContext) -> io::Result<ApiServer> {
        listener.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("api".into()).spawn(move || {
            runtime.block_on(async move {
                match UnixListener::from_std(listener) {
                    Ok(listener) => serve(listener, routes::router(context), stopped).await,
                    Err(error) => tracing::error!(%error, "the API cannot listen"),
                }
            });
        })?;
        Ok(ApiServer { stop, thread: Some(thread) })
    }

    /// Lets requests under way end, at most [`DRAIN_DEADLINE`], and waits for the thread.
    pub fn stop(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the API's thread had panicked");
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.finish();
    }
}

async fn serve(listener: UnixListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = stopping(&mut stopped) => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, stopped) = (router.clone(), stopped.clone());
                tokio::spawn(async move {
                    connection(stream, router, stopped).await;
                    drop(slot);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: others must end before this can succeed.
                tracing::warn!(%error, "an API connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let all_ended = slots.acquire_many(u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX));
    if tokio::time::timeout(DRAIN_DEADLINE, all_ended).await.is_err() {
        tracing::debug!("API connections were cut");
    }
}

async fn connection(stream: UnixStream, router: Router, mut stopped: watch::Receiver<bool>) {
    let router = router.layer(Extension(peer::Peer::of(&stream)));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_DEADLINE)
        .max_buf_size(MAX_HEADER_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopping(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an API connection ended badly");
    }
}

async fn stopping(stopped: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which stops as well.
    let _ = stopped.wait_for(|stop| *stop).await;
}
