//! A control plane on loopback, with a certificate made for it, on a thread of its own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use causeway_controlplane::daemon::{self, DaemonError};
use causeway_controlplane::driver::Stop;
use causeway_controlplane::link::udp::{UdpEndpoint, UdpLink};
use causeway_shared::config::Config;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::sync::watch;

/// Longest wait for anything.
pub const DEADLINE: Duration = Duration::from_secs(40);
/// The name that clients dial.
pub const NAME: &str = "vpn.example.test";
/// The one user.
pub const USER: &str = "user1";
/// Its password.
pub const PASSWORD: &str = "user1-secret";
/// MD4 of the password in UTF-16LE.
const NT_HASH_OF_PASSWORD: fn() -> String = || {
    let hash = causeway_eap::NtHash::of_password(PASSWORD);
    hash.as_bytes().iter().map(|octet| format!("{octet:02x}")).collect()
};

/// A running control plane.
pub struct Gateway {
    /// Its files; clients may put theirs here too.
    pub directory: PathBuf,
    /// Where it listens.
    pub endpoint: UdpEndpoint,
    stop: watch::Sender<Stop>,
    thread: Option<JoinHandle<Result<(), DaemonError>>>,
}

impl Gateway {
    /// Starts one that knows these login methods; `extra` is more TOML.
    pub fn start(name: &str, methods: &str, extra: &str) -> Gateway {
        Gateway::start_with(name, methods, "", extra)
    }

    /// Starts one that takes certificates of its own authority; `user.pem` and `user.key` are the user's.
    pub fn start_for_certificates(name: &str, methods: &str, extra: &str) -> Gateway {
        Gateway::start_with(name, methods, "ca.pem", extra)
    }

    fn start_with(name: &str, methods: &str, client_authority: &str, extra: &str) -> Gateway {
        let directory = std::env::temp_dir().join(format!("causeway-cl-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        write_certificates(&directory);
        let config = write_config(&directory, methods, client_authority, extra);
        let (stop, stopped) = watch::channel(Stop::Not);
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let any = UdpEndpoint { address: Ipv4Addr::LOCALHOST.into(), ike_port: 0, natt_port: 0 };
                let link = UdpLink::bind(&[any]).await.unwrap();
                sender.send(link.endpoints()[0]).unwrap();
                daemon::serve(&config, link, std::sync::Arc::default(), "test", stopped).await
            })
        });
        let endpoint = receiver.recv_timeout(DEADLINE).unwrap();
        Gateway { directory, endpoint, stop, thread: Some(thread) }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.send_replace(Stop::Goodbye);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Polls a condition until it holds.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < DEADLINE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn write_certificates(directory: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(directory.join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    for (file, holder) in [("gateway", NAME), ("user", USER)] {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![holder.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        std::fs::write(directory.join(file).with_extension("pem"), leaf.pem()).unwrap();
        std::fs::write(directory.join(file).with_extension("key"), key.serialize_pem()).unwrap();
    }
}

fn write_config(directory: &Path, methods: &str, client_authority: &str, extra: &str) -> Config {
    let client_ca = match client_authority {
        "" => String::new(),
        file => format!("client_ca_file = \"{}\"", directory.join(file).display()),
    };
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
methods = [{methods}]
{client_ca}
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
        directory = directory.display(),
        hash = NT_HASH_OF_PASSWORD(),
    );
    let path = directory.join("causeway.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(&path).unwrap_or_else(|mistakes| panic!("{mistakes}"))
}
