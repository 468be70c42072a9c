//! Somebody on the way who answers in the gateway's place, with IKE SAs of its own and without the gateway's certificate:
//! a client must not throw its session away on such a word.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use causeway_client::control::{Reply, Request};
use causeway_controlplane::link::udp::UdpEndpoint;

use crate::client::Client;
use crate::gateway::{Gateway, PASSWORD, wait_until};

const METHODS: &str = "\"anyconnect-eap\"";
const RECONNECT: &str = "[reconnect]\nenabled = true\ntimeout_secs = 900\n[store]\nbackend = \"memory\"\n";

/// Passes what one client sends to the gateway, or to the impostor.
struct Way {
    ports: [u16; 2],
    honest: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Way {
    fn to(gateway: UdpEndpoint, impostor: UdpEndpoint) -> Way {
        let (honest, stop) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(false)));
        let pairs = [(gateway.ike_port, impostor.ike_port), (gateway.natt_port, impostor.natt_port)];
        let mut ports = [0; 2];
        let mut threads = vec![];
        for (port, (right, wrong)) in ports.iter_mut().zip(pairs) {
            let [front, back] = [socket(), socket()];
            *port = front.local_addr().unwrap().port();
            let (honest, stop) = (Arc::clone(&honest), Arc::clone(&stop));
            threads.push(std::thread::spawn(move || {
                let mut client = None;
                while !stop.load(Ordering::Relaxed) {
                    let target = if honest.load(Ordering::Relaxed) { right } else { wrong };
                    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
                    if let Some((datagram, from)) = next(&front) {
                        client = Some(from);
                        back.send_to(&datagram, to).unwrap();
                    }
                    if let (Some((datagram, _)), Some(client)) = (next(&back), client) {
                        front.send_to(&datagram, client).unwrap();
                    }
                }
            }));
        }
        Way { ports, honest, stop, threads }
    }

    fn lead_to_the_gateway(&self, honest: bool) {
        self.honest.store(honest, Ordering::Relaxed);
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
    socket
}

fn next(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 65_535];
    let (len, from) = socket.recv_from(&mut buffer).ok()?;
    Some((buffer[..len].to_vec(), from))
}

#[test]
fn a_refusal_by_who_has_proved_nothing_does_not_cost_the_session() {
    // One refusal; all that are taken before a login is tried, which meets an impostor as well.
    for (name, patience, refused) in [
        ("refused", "No connection: the gateway refused", 0),
        ("login", "the gateway is not authenticated", 1),
    ] {
        let gateway = Gateway::start(&format!("real-{name}"), METHODS, RECONNECT);
        let impostor = Gateway::start(&format!("impostor-{name}"), METHODS, RECONNECT);
        let way = Way::to(gateway.endpoint, impostor.endpoint);
        let [ike, natt] = way.ports;
        let lead = |text: String| {
            text.replace(&format!("ike_port = {}", gateway.endpoint.ike_port), &format!("ike_port = {ike}"))
                .replace(
                    &format!("natt_port = {}", gateway.endpoint.natt_port),
                    &format!("natt_port = {natt}"),
                )
        };
        let client = Client::start_as(&gateway, "", "[reconnect]\nretry_secs = 1\n", &[PASSWORD], lead);
        let before = client.connected();
        let file = client.directory.join("session.json");
        client.command(Request::Suspend);
        way.lead_to_the_gateway(false);
        let after = std::thread::scope(|scope| {
            let back = scope.spawn(|| client.ask(Request::Resume));
            wait_until(patience, || client.events().contains(patience));
            assert!(file.exists(), "the session is kept");
            way.lead_to_the_gateway(true);
            back.join().unwrap()
        });
        let Some(Reply::Done(after)) = after else { panic!("{after:?}") };
        assert_eq!((after.address, after.session_id.as_ref()), (before.address, before.session_id.as_ref()));
        assert_eq!((after.logins, after.resumes, after.resumes_refused), (1, 1, refused), "{name}");
    }
}
