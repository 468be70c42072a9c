//! The management API: HTTP/JSON over a Unix socket and over TLS, on a thread of its own (`docs/api.md`).
//!
//! Enters: connections of operators and of the `causeway` command. Leaves: what [`routes`] answers. Connections, header
//! sizes, bodies and times are bounded, so that a client can neither stall IKE nor eat the memory.

mod auth;
mod bulk;
mod debug;
mod extract;
pub mod idempotency;
mod keys;
pub mod manual;
pub mod metrics;
pub mod openapi;
mod peer;
mod precondition;
pub mod problem;
mod redirect;
mod route;
mod routes;
mod sessions;
pub mod socket;
pub mod tls;
mod tokens;
pub mod view;
mod watches;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::FromRef;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

pub use self::routes::rights;

use self::peer::Connection;
use self::tls::{TlsKeys, TlsListener};
use self::view::ViewPolicy;
use crate::access::rate::Caller;
use crate::access::{Access, locked};
use crate::debug::Board;
use crate::driver::DriverHandle;
use crate::keys as key_files;
use crate::watch::WatchDesk;

/// Connections of one listener at once; more wait in the kernel's queue.
pub const MAX_CONNECTIONS: usize = 64;
/// Of those over TLS: of one address, or of one /64.
pub const MAX_CONNECTIONS_OF_ONE: usize = 16;
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
    /// Tokens, audit log, limits.
    pub access: Arc<Access>,
    /// Packets under observation.
    pub watches: Arc<WatchDesk>,
    /// `management.allow_key_export`
    pub key_export: KeyExport,
}

/// Whether keys may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyExport(pub bool);

impl FromRef<ApiContext> for Arc<Access> {
    fn from_ref(context: &ApiContext) -> Arc<Access> {
        Arc::clone(&context.access)
    }
}

impl FromRef<ApiContext> for Arc<WatchDesk> {
    fn from_ref(context: &ApiContext) -> Arc<WatchDesk> {
        Arc::clone(&context.watches)
    }
}

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
    /// Serves both listeners on a new thread.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be made.
    pub fn start(
        local: std::os::unix::net::UnixListener,
        tls: Option<TlsListener>,
        context: ApiContext,
    ) -> io::Result<ApiServer> {
        local.set_nonblocking(true)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new().name("api".into()).spawn(move || {
            runtime.block_on(async move {
                let router = routes::router(context);
                let local = UnixListener::from_std(local).map(Listener::Local);
                let tls = tls.map(|tls| Ok(Listener::Tls(TcpListener::from_std(tls.listener)?, tls.keys)));
                let local = serve(local, router.clone(), stopped.clone());
                let remote = async {
                    if let Some(tls) = tls {
                        serve(tls, router, stopped).await;
                    }
                };
                tokio::join!(local, remote);
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

/// Where connections come from.
enum Listener {
    Local(UnixListener),
    Tls(TcpListener, Arc<TlsKeys>),
}

/// A connection before its handshake.
enum Accepted {
    Local(UnixStream),
    Tls(TcpStream, SocketAddr, Arc<TlsKeys>),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Listener::Local(listener) => listener.accept().await.map(|(stream, _)| Accepted::Local(stream)),
            Listener::Tls(listener, keys) => {
                let (stream, from) = listener.accept().await?;
                Ok(Accepted::Tls(stream, from, Arc::clone(keys)))
            }
        }
    }

    /// Looks at certificate files, if there are any, for ever.
    async fn refresh(&self) {
        let Listener::Tls(_, keys) = self else { return std::future::pending().await };
        loop {
            tokio::time::sleep(key_files::POLL).await;
            let keys = Arc::clone(keys);
            // Its end is all that matters: a disk may be slow.
            let _ = tokio::task::spawn_blocking(move || keys.refresh()).await;
        }
    }
}

async fn serve(listener: io::Result<Listener>, router: Router, mut stopped: watch::Receiver<bool>) {
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "the API cannot listen"),
    };
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let sources = Arc::new(Sources::default());
    let refreshing = listener.refresh();
    tokio::pin!(refreshing);
    loop {
        let accepted = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            accepted = accepted => accepted,
            () = refreshing.as_mut() => continue,
            () = stopping(&mut stopped) => break,
        };
        match accepted {
            Ok(accepted) => {
                let (router, stopped, sources) = (router.clone(), stopped.clone(), Arc::clone(&sources));
                tokio::spawn(async move {
                    begin(accepted, router, stopped, &sources).await;
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
    let all_ended = slots.acquire_many(u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX));
    if tokio::time::timeout(DRAIN_DEADLINE, all_ended).await.is_err() {
        tracing::debug!("API connections were cut");
    }
}

/// Connections by source, so that one cannot take all.
#[derive(Default)]
struct Sources(Mutex<HashMap<Caller, usize>>);

impl Sources {
    fn enter(&self, source: Caller) -> Option<Within<'_>> {
        let mut table = locked(&self.0);
        let count = table.entry(source.clone()).or_default();
        if *count >= MAX_CONNECTIONS_OF_ONE {
            return None;
        }
        *count += 1;
        Some(Within { sources: self, source })
    }
}

struct Within<'s> {
    sources: &'s Sources,
    source: Caller,
}

impl Drop for Within<'_> {
    fn drop(&mut self) {
        let mut table = locked(&self.sources.0);
        if let Some(count) = table.get_mut(&self.source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                table.remove(&self.source);
            }
        }
    }
}

async fn begin(accepted: Accepted, router: Router, stopped: watch::Receiver<bool>, sources: &Sources) {
    match accepted {
        Accepted::Local(stream) => {
            let router = router.layer(Extension(Connection::local(&stream)));
            connection(stream, router, stopped).await;
        }
        Accepted::Tls(stream, from, keys) => {
            let Some(_within) = sources.enter(Caller::at(from.ip())) else {
                return tracing::debug!("an API connection was refused: its source has too many");
            };
            match keys.accept(stream).await {
                Ok(stream) => {
                    let router = router.layer(Extension(keys.connection(&stream, from)));
                    connection(stream, router, stopped).await;
                }
                Err(error) => tracing::debug!(%error, "a TLS handshake of the API failed"),
            }
        }
    }
}

async fn connection<S>(stream: S, router: Router, mut stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
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
