//! A client on a thread, with no device, and a user who answers from a list.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use causeway_client::agent::{self, AgentError, Ask, Options};
use causeway_client::config::Config;
use causeway_client::control::{self, ConnectionState, Reply, Request, Status};
use zeroize::Zeroizing;

use crate::gateway::{Gateway, NAME, USER, wait_until};

/// A running client.
pub struct Client {
    /// Where its files are.
    pub directory: PathBuf,
    /// What it told its user.
    pub user: Arc<User>,
    socket: PathBuf,
    thread: Option<JoinHandle<Result<(), AgentError>>>,
}

/// Somebody who has answers ready.
#[derive(Default)]
pub struct User {
    answers: Mutex<Vec<String>>,
    told: Mutex<Vec<String>>,
}

impl User {
    /// What was told so far.
    pub fn told(&self) -> String {
        self.told.lock().unwrap().join("\n")
    }
}

impl Ask for User {
    fn show(&self, text: &str) {
        self.told.lock().unwrap().push(text.to_owned());
    }

    fn ask(&self, _label: &str, _hidden: bool) -> Option<Zeroizing<String>> {
        let mut answers = self.answers.lock().unwrap();
        (!answers.is_empty()).then(|| Zeroizing::new(answers.remove(0)))
    }
}

impl Client {
    /// Starts one; `login` and `extra` are TOML. The user answers with these, in order.
    pub fn start(gateway: &Gateway, login: &str, extra: &str, answers: &[&str]) -> Client {
        Client::start_as(gateway, login, extra, answers, |text| text)
    }

    /// Starts one whose configuration is changed first.
    pub fn start_as(
        gateway: &Gateway,
        login: &str,
        extra: &str,
        answers: &[&str],
        change: impl FnOnce(String) -> String,
    ) -> Client {
        let directory = gateway.directory.join("client");
        std::fs::create_dir_all(&directory).unwrap();
        let endpoint = gateway.endpoint;
        let text = format!(
            r#"
directory = "{directory}"
[gateway]
address = "127.0.0.1"
name = "{NAME}"
display_name = "IKEv2_Gateway"
ca_file = "{ca}"
ike_port = {ike}
natt_port = {natt}
[tunnel]
enabled = false
[login]
user = "{USER}"
{login}
{extra}
"#,
            directory = directory.display(),
            ca = gateway.directory.join("ca.pem").display(),
            ike = endpoint.ike_port,
            natt = endpoint.natt_port,
        );
        let path = directory.join("client.toml");
        std::fs::write(&path, change(text)).unwrap();
        let config = Config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let socket = config.control_socket();
        let user = Arc::new(User::default());
        *user.answers.lock().unwrap() = answers.iter().map(|answer| (*answer).to_owned()).collect();
        let ask = user.clone();
        let thread = std::thread::spawn(move || agent::run(config, Options::default(), ask));
        Client { directory, user, socket, thread: Some(thread) }
    }

    /// Asks it; `None` while it does not listen.
    pub fn ask(&self, request: Request) -> Option<Reply> {
        control::ask(&self.socket, request).ok()
    }

    /// Its status when the condition holds.
    pub fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) -> Status {
        let mut last = None;
        wait_until(what, || {
            assert!(
                !self.thread.as_ref().unwrap().is_finished(),
                "{what}: the client ended: {}",
                self.user.told()
            );
            last = match self.ask(Request::Status) {
                Some(Reply::Done(status)) => Some(*status),
                _ => None,
            };
            last.as_ref().is_some_and(&holds)
        });
        last.unwrap()
    }

    /// Its status when it is connected.
    pub fn connected(&self) -> Status {
        self.until("connected", |status| status.state == ConnectionState::Connected)
    }

    /// Does this, and says how it stands then.
    pub fn command(&self, request: Request) -> Status {
        match self.ask(request) {
            Some(Reply::Done(status)) => *status,
            other => panic!("{request:?}: {other:?}: {}", self.user.told()),
        }
    }

    /// Waits for its end.
    pub fn end(&mut self) -> Result<(), AgentError> {
        wait_until("the client's end", || self.thread.as_ref().unwrap().is_finished());
        self.thread.take().unwrap().join().unwrap()
    }

    /// The event log.
    pub fn events(&self) -> String {
        std::fs::read_to_string(self.directory.join("events.log")).unwrap()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            // Twice: the second one does not wait for the gateway.
            let _ = control::ask(&self.socket, Request::Disconnect);
            let _ = control::ask(&self.socket, Request::Disconnect);
            let _ = thread.join();
        }
    }
}
