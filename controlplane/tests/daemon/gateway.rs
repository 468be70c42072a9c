//! A control plane on loopback, with a certificate made for it, on a thread of its own.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use causeway_controlplane::daemon::{self, DaemonError};
use causeway_controlplane::driver::Stop;
use causeway_controlplane::link::Link;
use causeway_controlplane::link::udp::{UdpEndpoint, UdpLink};
use causeway_controlplane::store::sqlite::SqliteStore;
use causeway_controlplane::store::{Cursor, SessionRecord, SessionStore, WallSecs};
use causeway_eap::NtHash;
use causeway_ike::cert::TrustStore;
use causeway_shared::api::{Counters, Health, SessionList};
use causeway_shared::config::Config;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::sync::watch;

use crate::http;

/// Longest wait for anything.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// IDr.
pub const NAME: &str = "vpn.example.test";
/// The key of every PSK client.
pub const PSK: &str = "a shared key of the test";
/// The one user.
pub const USER: &str = "carol";
/// Her password.
pub const PASSWORD: &str = "carol-secret";

/// Ports of the system's choice.
const ANY: UdpEndpoint = UdpEndpoint { address: IpAddr::V4(Ipv4Addr::LOCALHOST), ike_port: 0, natt_port: 0 };

/// A running control plane.
pub struct Gateway {
    directory: PathBuf,
    /// Where it listens.
    pub endpoint: UdpEndpoint,
    /// The API's socket.
    pub api: PathBuf,
    /// Who signed its certificate.
    pub authority: String,
    config: Config,
    stop: watch::Sender<Stop>,
    crash: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<(), DaemonError>>>,
}

impl Gateway {
    /// Starts one; `extra` is TOML for the sections `ike` and `esp`.
    pub fn start(name: &str, extra: &str) -> Gateway {
        Gateway::start_over(name, extra, |link| link)
    }

    /// Starts one over a link that `wrap` makes of UDP sockets.
    pub fn start_over<L: Link>(
        name: &str,
        extra: &str,
        wrap: impl FnOnce(UdpLink) -> L + Send + 'static,
    ) -> Gateway {
        let directory = fresh_directory(name);
        let authority = write_certificates(&directory);
        let config = write_config(&directory, PSK_AND_PASSWORD, extra);
        Gateway::run(directory, authority, config, ANY, wrap)
    }

    /// Starts one whose clients can come back; `change` changes what the configuration says.
    pub fn start_reconnect(name: &str, extra: &str, change: impl FnOnce(&mut Config)) -> Gateway {
        let directory = fresh_directory(name);
        let authority = write_certificates(&directory);
        let mut config = write_config(&directory, ANYCONNECT, extra);
        change(&mut config);
        Gateway::run(directory, authority, config, ANY, |link| link)
    }

    /// Changes what the configuration says in its next run.
    pub fn change(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
    }

    /// The next run of a gateway that was stopped or has crashed.
    pub fn again(mut self) -> Gateway {
        assert!(self.thread.is_none(), "it still runs");
        let directory = std::mem::take(&mut self.directory);
        Gateway::run(directory, self.authority.clone(), self.config.clone(), ANY, |link| link)
    }

    /// The same at the same address, as its clients know it.
    pub fn again_there(mut self) -> Gateway {
        assert!(self.thread.is_none(), "it still runs");
        let directory = std::mem::take(&mut self.directory);
        Gateway::run(directory, self.authority.clone(), self.config.clone(), self.endpoint, |link| link)
    }

    fn run<L: Link>(
        directory: PathBuf,
        authority: String,
        config: Config,
        at: UdpEndpoint,
        wrap: impl FnOnce(UdpLink) -> L + Send + 'static,
    ) -> Gateway {
        let api = config.management.socket.clone();
        let _ = std::fs::remove_file(&api);
        let (stop, stopped) = watch::channel(Stop::Not);
        let (crash, mut crashed) = watch::channel(false);
        let (sender, receiver) = mpsc::channel();
        let of_thread = config.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let link = UdpLink::bind(&[at]).await.unwrap();
                sender.send(link.endpoints()[0]).unwrap();
                tokio::select! {
                    ended = daemon::serve(&of_thread, wrap(link), Arc::default(), "test", stopped) => ended,
                    _ = crashed.wait_for(|crashed| *crashed) => Ok(()),
                }
            })
        });
        let endpoint = receiver.recv_timeout(DEADLINE).unwrap();
        let thread = Some(thread);
        let mut gateway = Gateway { directory, endpoint, api, authority, config, stop, crash, thread };
        gateway.wait_for_api();
        gateway
    }

    /// Ends it at once, whatever it is doing: nobody is told, nothing is tidied up.
    pub fn crash(&mut self) {
        self.crash.send_replace(true);
        self.thread.take().unwrap().join().unwrap().unwrap();
    }

    /// As [`Gateway::crash`], with the machine: IKE states are of another run of it then, and count no more.
    pub fn power_cut(&mut self) {
        self.crash();
        let mut store = SqliteStore::open(&self.config.store.path).unwrap();
        let sessions = store.page(Cursor::START, 1000).unwrap().records;
        store.begin().unwrap();
        for SessionRecord { id, generation, .. } in sessions {
            let _ = store.delete_ike_state(&id, generation).unwrap();
        }
        store.commit(WallSecs(0)).unwrap();
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(&mut self) {
        self.begin_stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }

    /// Asks it to stop.
    pub fn begin_stop(&self) {
        self.stop.send_replace(Stop::Goodbye);
    }

    /// Asks it to stop and to leave its sessions to the next one, and waits for its end.
    pub fn leave(&mut self) {
        self.stop.send_replace(Stop::Leave);
        self.thread.take().unwrap().join().unwrap().unwrap();
    }

    /// `GET /v1/sessions`.
    pub fn sessions(&self) -> SessionList {
        http::get(&self.api, "/v1/sessions")
    }

    /// `GET /v1/health`.
    pub fn health(&self) -> Health {
        http::get(&self.api, "/v1/health")
    }

    /// One of the counters of IKE and driver.
    pub fn counter(&self, name: &str) -> u64 {
        let counters: Counters = http::get(&self.api, "/v1/counters");
        counters.ike.iter().find(|counter| counter.name == name).unwrap().value
    }

    /// Waits until the API says so.
    pub fn until(&self, what: &str, holds: impl Fn(&Gateway) -> bool) {
        wait_until(what, || holds(self));
    }

    /// Replaces its certificate by one of another authority, which clients trust from now on.
    pub fn renew_certificate(&mut self) {
        self.authority = write_certificates(&self.directory);
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Who signs the gateway's certificate, for clients.
    pub fn trust(&self) -> TrustStore {
        TrustStore::from_pem(self.authority.as_bytes()).unwrap()
    }

    fn wait_for_api(&mut self) {
        let api = self.api.clone();
        let thread = self.thread.take().unwrap();
        wait_until("the API's socket", || thread.is_finished() || api.exists());
        if thread.is_finished() {
            panic!("the gateway ended: {:?}", thread.join().unwrap());
        }
        self.thread = Some(thread);
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if !self.directory.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}

/// Polls a condition until it holds.
pub fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn write_certificates(directory: &Path) -> String {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec![NAME.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    std::fs::write(directory.join("gateway.pem"), leaf.pem()).unwrap();
    std::fs::write(directory.join("gateway.key"), key.serialize_pem()).unwrap();
    ca_pem
}

const PSK_AND_PASSWORD: &str = r#"
methods = ["eap-mschapv2", "psk"]
[[auth.psk]]
identity = "*"
secret = "a shared key of the test"
"#;

const ANYCONNECT: &str = r#"
methods = ["eap-mschapv2", "anyconnect-eap"]
[reconnect]
enabled = true
[aaa]
authorize_group = "staff"
"#;

fn fresh_directory(name: &str) -> PathBuf {
    let directory = std::env::temp_dir().join(format!("causeway-cp-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn write_config(directory: &Path, methods: &str, extra: &str) -> Config {
    let hash: String =
        NtHash::of_password(PASSWORD).as_bytes().iter().map(|octet| format!("{octet:02x}")).collect();
    let text = format!(
        r#"
[gateway]
identity = "{NAME}"
run_directory = "{directory}"
[dataplane]
sa_capacity = 1024
[[port]]
name = "wan"
device = "net_null0"
role = "outside"
address = "192.0.2.1/24"
[[port]]
name = "lan"
device = "net_null1"
role = "inside"
address = "10.99.10.1/24"
[auth]
certificate_file = "{directory}/gateway.pem"
private_key_file = "{directory}/gateway.key"
{methods}
[store]
path = "{directory}/sessions.db"
[[group]]
name = "staff"
domain = "staff.example.test"
banner = "Welcome"
[[pool]]
name = "staff"
range = "10.99.20.0/26"
dns = ["10.99.10.53"]
subnets = ["10.99.10.0/24"]
[[user]]
name = "{USER}"
password_nt_hash = "{hash}"
{extra}
"#,
        directory = directory.display()
    );
    let path = directory.join("causeway.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}
