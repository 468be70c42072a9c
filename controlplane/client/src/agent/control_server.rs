//! The control socket's server side: lines of JSON to and from the agent's loop.
//!
//! Enters: connections. Leaves: requests with a way back. One request per connection, few connections at a time.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::control::{MAX_LINE, Reply, Request};

/// Connections that are served at a time.
const MAX_CONNECTIONS: usize = 16;
/// How long the last replies may take to be written.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long a connection may take to say what it wants.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// A request and the way back.
pub(super) type Asked = (Request, oneshot::Sender<Reply>);

/// A listening socket; removed when dropped.
pub(super) struct ControlServer {
    path: PathBuf,
    places: Arc<Semaphore>,
    task: tokio::task::JoinHandle<()>,
}

impl ControlServer {
    /// Listens. A socket that nobody serves any more is replaced.
    pub(super) fn start(path: &Path) -> std::io::Result<(ControlServer, mpsc::Receiver<Asked>)> {
        if path.exists() {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::AddrInUse,
                    "another client is running with this directory",
                ));
            }
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
        let (sender, receiver) = mpsc::channel(MAX_CONNECTIONS);
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let task = tokio::spawn(accept(listener, places.clone(), sender));
        Ok((ControlServer { path: path.to_owned(), places, task }, receiver))
    }

    /// Accepts nothing more, and lets the last replies be written.
    pub(super) async fn finish(self) {
        self.task.abort();
        // All places are free when nobody is served.
        let all = u32::try_from(MAX_CONNECTIONS).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(FAREWELL, self.places.acquire_many(all)).await;
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.task.abort();
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, places: Arc<Semaphore>, sender: mpsc::Sender<Asked>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let sender = sender.clone();
        tokio::spawn(async move {
            // Whoever asked and went away misses the answer, no more.
            let _ = serve(stream, sender).await;
            drop(place);
        });
    }
}

async fn serve(stream: UnixStream, sender: mpsc::Sender<Asked>) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut lines = BufReader::new(read.take(MAX_LINE));
    tokio::time::timeout(REQUEST_TIMEOUT, lines.read_line(&mut line)).await??;
    let reply = match serde_json::from_str(&line) {
        Ok(request) => {
            let (back, answer) = oneshot::channel();
            let gone = || Reply::Refused("the client is ending".into());
            match sender.send((request, back)).await {
                Ok(()) => answer.await.unwrap_or_else(|_| gone()),
                Err(_) => gone(),
            }
        }
        Err(error) => Reply::Refused(error.to_string()),
    };
    let mut octets = serde_json::to_vec(&reply)?;
    octets.push(b'\n');
    write.write_all(&octets).await
}
