//! A control plane on loopback, with a certificate made for it, on a thread of its own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use causeway_controlplane::daemon::{self, DaemonError};
use causeway_controlplane::link::Link;
use causeway_controlplane::link::udp::{UdpEndpoint, UdpLink};
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

/// A running control plane.
pub struct Gateway {
    directory: PathBuf,
    /// Where it listens.
    pub endpoint: UdpEndpoint,
    /// The API's socket.
    pub api: PathBuf,
    /// Who signed its certificate.
    pub authority: String,
    stop: watch::Sender<bool>,
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
        let directory = std::env::temp_dir().join(format!("causeway-cp-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let authority = write_certificates(&directory);
        let config = write_config(&directory, extra);
        let api = config.management.socket.clone();
        let (stop, stopped) = watch::channel(false);
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let any = UdpEndpoint { address: Ipv4Addr::LOCALHOST, ike_port: 0, natt_port: 0 };
                let link = UdpLink::bind(&[any]).await.unwrap();
                sender.send(link.endpoints()[0]).unwrap();
                daemon::serve(&config, wrap(link), "test", stopped).await
            })
        });
        let endpoint = receiver.recv_timeout(DEADLINE).unwrap();
        let mut gateway = Gateway { directory, endpoint, api, authority, stop, thread: Some(thread) };
        gateway.wait_for_api();
        gateway
    }

    /// Asks it to stop and waits for its end.
    pub fn stop(&mut self) {
        self.begin_stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
    }

    /// Asks it to stop.
    pub fn begin_stop(&self) {
        self.stop.send_replace(true);
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
        let _ = std::fs::remove_dir_all(&self.directory);
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

fn write_config(directory: &Path, extra: &str) -> Config {
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
methods = ["eap-mschapv2", "psk"]
[[auth.psk]]
identity = "*"
secret = "{PSK}"
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
