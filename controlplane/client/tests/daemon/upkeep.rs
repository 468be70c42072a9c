//! A connection that is left alone: NATs are reminded, keys are renewed, name servers are set and put back.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use causeway_client::control::Request;

use crate::client::Client;
use crate::gateway::{Gateway, PASSWORD, wait_until};

const METHODS: &str = "\"anyconnect-eap\"";
const RECONNECT: &str = "[reconnect]\nenabled = true\n[store]\nbackend = \"memory\"\n";

/// A NAT in front of one of the gateway's ports, that counts what only it has a use for.
struct Nat {
    port: u16,
    reminders: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Nat {
    fn before(gateway_port: u16) -> Nat {
        let [inside, outside] = [0, 1].map(|_| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
            socket
        });
        let port = inside.local_addr().unwrap().port();
        let (reminders, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (reminders.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let (mut client, mut buffer) = (None::<SocketAddr>, vec![0; 65_535]);
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((octets, from)) = inside.recv_from(&mut buffer) {
                    client = Some(from);
                    counted.fetch_add(u64::from(buffer[..octets] == [0xff]), Ordering::Relaxed);
                    outside.send_to(&buffer[..octets], (Ipv4Addr::LOCALHOST, gateway_port)).unwrap();
                }
                if let (Ok((octets, _)), Some(client)) = (outside.recv_from(&mut buffer), client) {
                    inside.send_to(&buffer[..octets], client).unwrap();
                }
            }
        });
        Nat { port, reminders, stop, thread: Some(thread) }
    }
}

impl Drop for Nat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

#[test]
fn a_nat_is_reminded_of_a_client_that_has_nothing_to_say() {
    let gateway = Gateway::start("nat", METHODS, RECONNECT);
    let nats = [gateway.endpoint.ike_port, gateway.endpoint.natt_port].map(Nat::before);
    let (ike, natt) = (nats[0].port, nats[1].port);
    let mut client = Client::start_as(
        &gateway,
        "",
        "[ike]\ndpd_interval_secs = 0\nnat_keepalive_secs = 1\n",
        &[PASSWORD],
        |text| {
            text.replace(&format!("ike_port = {}", gateway.endpoint.ike_port), &format!("ike_port = {ike}"))
                .replace(
                    &format!("natt_port = {}", gateway.endpoint.natt_port),
                    &format!("natt_port = {natt}"),
                )
        },
    );
    client.connected();
    wait_until("reminders", || nats[1].reminders.load(Ordering::Relaxed) >= 2);
    assert_eq!(nats[0].reminders.load(Ordering::Relaxed), 0, "only the second port is in use");
    // Whoever sleeps says nothing, not even that.
    client.command(Request::Suspend);
    let said = nats[1].reminders.load(Ordering::Relaxed);
    client.command(Request::Resume);
    assert!(nats[1].reminders.load(Ordering::Relaxed) <= said + 1);
    client.command(Request::Disconnect);
    client.end().unwrap();
}

#[test]
fn both_kinds_of_keys_are_renewed_on_demand_and_in_time() {
    let gateway = Gateway::start("renew", METHODS, RECONNECT);
    let mut client =
        Client::start(&gateway, "", "[ike]\nlifetime_secs = 2\ndpd_interval_secs = 1\n", &[PASSWORD]);
    let before = client.connected();
    client.command(Request::RekeyIke);
    let after = client.until("a new IKE SA", |status| status.ike_rekeys >= 1);
    assert_ne!(after.ike_spis, before.ike_spis);
    client.command(Request::Rekey);
    client.until("a new Child SA, and a new IKE SA by the clock", |status| {
        status.rekeys >= 1 && status.ike_rekeys >= 2 && status.dpd_answered >= 2
    });
    // The session is the same one to the gateway.
    client.command(Request::Suspend);
    let back = client.command(Request::Resume);
    assert_eq!((back.address, back.session_id, back.logins), (before.address, before.session_id, 1));
    client.command(Request::Disconnect);
    client.end().unwrap();
    assert!(client.events().contains("The IKE SA was rekeyed."));
}

#[test]
fn name_servers_are_the_tunnel_s_while_it_is_there() {
    let gateway = Gateway::start("names", METHODS, RECONNECT);
    let file = gateway.directory.join("resolv.conf");
    let old = "# the machine's own\nnameserver 192.0.2.53\n";
    std::fs::write(&file, old).unwrap();
    let mut client = Client::start_as(&gateway, "", "", &[PASSWORD], |text| {
        text.replace("enabled = false", &format!("enabled = false\nresolv_conf = \"{}\"", file.display()))
    });
    client.connected();
    let text = || std::fs::read_to_string(&file).unwrap();
    assert!(text().contains("nameserver 10.99.10.53\n") && !text().contains("192.0.2.53"), "{}", text());
    client.command(Request::Suspend);
    assert!(text().contains("10.99.10.53"), "as the tunnel's address, through a suspend");
    client.command(Request::Resume);
    client.command(Request::Disconnect);
    client.end().unwrap();
    assert_eq!(text(), old);
}
