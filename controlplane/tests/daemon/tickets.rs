//! Clients that come back by a ticket (RFC 5723): over real sockets, with a real store, in both forms of tickets.

use causeway_ike::testing::{Initiator, InitiatorTicket, Notable, Outgoing, TestError};
use causeway_ike::wire::NotifyType;
use causeway_shared::api::{InactiveSessionList, ReconnectStats, Session};
use causeway_shared::config::{Config, OnClientDelete, TicketForm};

use crate::client::Client;
use crate::gateway::{Gateway, PASSWORD, USER};
use crate::http;

const FORMS: [TicketForm; 2] = [TicketForm::Value, TicketForm::Reference];

/// A gateway that notices silence within a second or two, and has no Auto Reconnect.
fn gateway(name: &str, form: TicketForm) -> Gateway {
    gateway_with(name, |config| {
        config.ike.tickets = form;
        config.ike.dpd_interval_secs = 1;
    })
}

fn gateway_with(name: &str, change: impl FnOnce(&mut Config)) -> Gateway {
    Gateway::start_reconnect(&format!("ticket-{name}"), "", |config| {
        config.reconnect.enabled = false;
        config.ike.retransmit_base_ms = 200;
        config.ike.retransmit_tries = 1;
        change(config);
    })
}

/// `total_incoming`, `success`, `failed`, then those that are active and inactive.
fn figures(gateway: &Gateway) -> [u64; 5] {
    let stats: ReconnectStats = http::get(&gateway.api, "/v1/stats/reconnect");
    [stats.total_incoming, stats.success, stats.failed, stats.active_capable, stats.inactive_capable]
}

fn login(gateway: &Gateway) -> (Client, InitiatorTicket) {
    let client = Client::eap_with(gateway, USER, PASSWORD, |config| config.ask_ticket = true).connect();
    let ticket = client.ike.ticket().unwrap().clone();
    (client, ticket)
}

fn resume(gateway: &Gateway, ticket: &InitiatorTicket) -> Client {
    Client::by_ticket(gateway, USER, ticket, |config| config.ask_ticket = true).connect()
}

fn refused(gateway: &Gateway, ticket: &InitiatorTicket) {
    let mut client = Client::by_ticket(gateway, USER, ticket, |_| {});
    client.connect_until(&Notable::Refused(NotifyType::TicketNack));
}

fn does(client: &mut Client, act: fn(&mut Initiator) -> Result<Vec<Outgoing>, TestError>, seen: &Notable) {
    client.seen.clear();
    let request = act(&mut client.ike).unwrap();
    client.send(request);
    client.until_seen(seen);
    client.until("nothing is outstanding", |client| !client.ike.is_waiting());
}

fn only_session(gateway: &Gateway) -> Session {
    let mut list = gateway.sessions();
    assert_eq!(list.total, 1);
    list.sessions.remove(0)
}

#[test]
fn a_silent_client_comes_back_by_its_ticket_with_its_address_and_no_password() {
    for form in FORMS {
        let gateway = gateway(&format!("silent-{form:?}"), form);
        let (client, ticket) = login(&gateway);
        let before = only_session(&gateway);
        assert!(before.ike.reconnect_capable && !before.ike.resumed);
        let inner = client.ike.address();
        drop(client);
        gateway.until("the session is inactive", |gateway| figures(gateway) == [0, 0, 0, 0, 1]);
        let waiting: InactiveSessionList = http::get(&gateway.api, "/v1/sessions?state=inactive");
        assert_eq!(waiting.sessions[0].inner_address, inner);

        let client = resume(&gateway, &ticket);
        assert_eq!(client.ike.address(), inner, "{form:?}");
        gateway.until("the session is back", |gateway| figures(gateway) == [1, 1, 0, 1, 0]);
        let after = only_session(&gateway);
        assert_eq!((after.user.as_str(), after.auth_method.as_str()), (USER, "eap-mschapv2"));
        assert!(after.ike.resumed && after.ike.by_ticket);
        let words = (after.ike.auth_verify.as_deref(), after.ike.auth_sign.as_deref());
        assert_eq!(words, (Some("Ticket"), Some("TICKET")));
        assert_eq!(after.ike.phase1_id.as_deref(), Some(USER));
        assert_eq!(gateway.health().pools["staff"].used, 1);
        assert_eq!((gateway.counter("ike_tickets_made"), gateway.counter("ike_tickets_used")), (2, 1));
    }
}

#[test]
fn a_ticket_takes_its_own_session_over_and_serves_once() {
    for form in FORMS {
        let gateway = gateway(&format!("once-{form:?}"), form);
        let (old, first) = login(&gateway);
        let mut client = resume(&gateway, &first);
        let second = client.ike.ticket().unwrap().clone();
        gateway.until("one session", |gateway| gateway.sessions().total == 1);
        assert!(!old.seen.contains(&Notable::Down), "the old IKE SA ends in silence");
        // The client uses the new keys: it has the new ticket, and the first is done with.
        does(&mut client, Initiator::liveness, &Notable::Answered);
        refused(&gateway, &first);
        assert_eq!(gateway.sessions().total, 1, "a used ticket, seen by anybody on its way, ends nothing");
        let mut last = Client::by_ticket(&gateway, USER, &second, |_| {}).connect();
        assert_eq!(last.ike.address(), client.ike.address());
        does(&mut last, Initiator::liveness, &Notable::Answered);
        assert!(last.ike.ticket().is_none(), "who asks for none has none");
        gateway.until("the ticket is revoked", |gateway| {
            let mut client = Client::by_ticket(gateway, USER, &second, |_| {});
            client.connect_until(&Notable::Refused(NotifyType::TicketNack));
            gateway.counter("ike_tickets_refused") >= 2
        });
        // Nobody could come back to it, so it does not wait.
        drop(last);
        gateway.until("the session is over", |gateway| gateway.health().pools["staff"].used == 0);
        // And the password still works.
        login(&gateway);
    }
}

#[test]
fn an_answer_that_is_lost_leaves_the_client_with_a_ticket_that_works() {
    for form in FORMS {
        let gateway = gateway(&format!("lost-{form:?}"), form);
        let (first, ticket) = login(&gateway);
        // Its last answer is thrown away with it; the client knows only the ticket that it came with.
        drop(resume(&gateway, &ticket));
        let second = resume(&gateway, &ticket);
        assert_eq!(second.ike.address(), first.ike.address());
        let third = resume(&gateway, second.ike.ticket().unwrap());
        assert_eq!(third.ike.address(), first.ike.address());
        gateway.until("one session", |gateway| gateway.sessions().total == 1);
    }
}

#[test]
fn tickets_outlive_the_control_plane_and_the_machines_power() {
    for form in FORMS {
        let mut gateway = gateway(&format!("outlived-{form:?}"), form);
        let (first, mut ticket) = login(&gateway);
        let inner = first.ike.address();
        for power_cut in [false, true, false] {
            if power_cut {
                gateway.power_cut()
            } else {
                gateway.crash()
            }
            gateway = gateway.again_there();
            let client = resume(&gateway, &ticket);
            assert_eq!(client.ike.address(), inner, "{form:?}, power cut {power_cut}");
            ticket = client.ike.ticket().unwrap().clone();
            gateway.until("one session", |gateway| gateway.sessions().total == 1);
        }
    }
}

#[test]
fn a_rekey_of_the_ike_sa_ends_its_ticket_and_there_is_another_for_the_asking() {
    for form in FORMS {
        let gateway = gateway(&format!("rekey-{form:?}"), form);
        let (mut client, first) = login(&gateway);
        does(&mut client, Initiator::rekey_ike, &Notable::IkeRekeyed);
        does(&mut client, Initiator::liveness, &Notable::Answered);
        gateway.until("the ticket is revoked", |gateway| {
            Client::by_ticket(gateway, USER, &first, |_| {})
                .connect_until(&Notable::Refused(NotifyType::TicketNack));
            true
        });
        does(&mut client, Initiator::ask_for_ticket, &Notable::Answered);
        let second = client.ike.ticket().unwrap().clone();
        assert_ne!(second.ticket, first.ticket);
        let back = resume(&gateway, &second);
        assert_eq!(back.ike.address(), client.ike.address());
    }
}

#[test]
fn a_ticket_goes_with_its_session() {
    let gateway = gateway_with("deleted", |config| config.reconnect.on_client_delete = OnClientDelete::Keep);
    let (mut client, ticket) = login(&gateway);
    does(&mut client, Initiator::delete_ike, &Notable::Down);
    gateway.until("it is over", |gateway| gateway.health().pools["staff"].used == 0);
    refused(&gateway, &ticket);
    let (client, ticket) = login(&gateway);
    let session = only_session(&gateway).id;
    http::request(&gateway.api, "DELETE", &format!("/v1/sessions/{session}"), None);
    gateway.until("it is over", |gateway| gateway.sessions().total == 0);
    drop(client);
    refused(&gateway, &ticket);
    // A ticket of another gateway, or none at all.
    refused(&gateway, &InitiatorTicket { ticket: vec![1; 200], ..ticket.clone() });
    refused(&gateway, &InitiatorTicket { ticket: Vec::new(), ..ticket });
}

#[test]
fn who_may_not_log_in_any_more_may_not_come_back_either() {
    type Change = (&'static str, fn(&mut Config));
    let changes: [Change; 3] = [
        ("user", |config| config.users.clear()),
        ("method", |config| config.auth.methods.retain(|method| !method.is_local_eap())),
        ("off", |config| config.ike.tickets = TicketForm::Off),
    ];
    for (what, change) in changes {
        let mut gateway = gateway(&format!("policy-{what}"), TicketForm::Value);
        let (_client, ticket) = login(&gateway);
        gateway.crash();
        gateway.change(change);
        gateway = gateway.again_there();
        refused(&gateway, &ticket);
    }
}

/// Who guesses a user's password locks the name, and a ticket does not go around that; when the lock is over, it is good again.
#[test]
fn a_locked_user_does_not_come_back_by_a_ticket() {
    let gateway = gateway_with("locked", |config| {
        config.lockout.user_failures = 1;
        config.lockout.lock_secs = 2;
    });
    let (_client, ticket) = login(&gateway);
    let mut guesses = Client::eap(&gateway, USER, "a guess");
    guesses.connect_until(&Notable::Refused(NotifyType::AuthenticationFailed));
    refused(&gateway, &ticket);
    assert_eq!(gateway.counter("ike_tickets_refused"), 1);
    gateway.until("the lock is over", |gateway| {
        let mut client = Client::by_ticket(gateway, USER, &ticket, |_| {});
        let request = client.ike.start().unwrap();
        client.send(request);
        let judged = |client: &Client| {
            client.seen.iter().any(|seen| matches!(seen, Notable::Up | Notable::Refused(_)))
        };
        client.until("an answer", judged);
        client.seen.contains(&Notable::Up)
    });
    assert_eq!(gateway.sessions().total, 1);
}

/// Auto Reconnect and tickets share the sessions, not the secrets: a session is resumed in one way only.
#[test]
fn a_client_of_auto_reconnect_gets_no_ticket() {
    let gateway = Gateway::start_reconnect("ticket-cisco", "", |_| {});
    let client = Client::anyconnect_as(&gateway, crate::client::AnyConnect::new(USER, PASSWORD), |config| {
        config.ask_ticket = true
    });
    let client = client.connect();
    assert!(client.told().is_some() && client.ike.ticket().is_none());
    assert_eq!(gateway.counter("ike_tickets_withheld"), 1);
}
