//! Child SAs for the resources of a client (RFC 9611): more of them with the same selectors, up to a bound.

use super::harness::*;
use crate::api::{DataPlaneEvent, Input, Operator};
use crate::counters::IkeCounter;
use crate::testing::*;
use crate::wire::{NotifyType, Payload};

fn says(client: &Client, kind: NotifyType) -> bool {
    let says = |payload: &Payload| matches!(payload, Payload::Notify(notify) if notify.kind == kind);
    client.initiator.last_answer().iter().any(says)
}

/// The gateway's SPI of the client's Child SA that was made last.
fn newest(client: &Client) -> u32 {
    client.child().outbound_spi
}

fn selected(gateway: &Gateway) -> u32 {
    *gateway.selected.values().next().unwrap()
}

#[test]
fn each_resource_gets_a_child_sa_until_there_are_enough() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |config| config.limits.children_per_session = 4);
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    let fallback = newest(&client);
    assert!(!says(&client, NotifyType::SaResourceInfo), "the first is for all");
    for cpu in 1..4u8 {
        client.initiator.for_resource(Some(&[b'c', b'p', b'u', cpu]));
        client.act(&mut gateway, |initiator| initiator.create_child(None, None));
        assert!(says(&client, NotifyType::SaResourceInfo));
        assert_eq!(client.initiator.children().len(), usize::from(cpu) + 1);
        let first = &gateway.installed[&fallback];
        let another = &gateway.installed[&newest(&client)];
        assert_eq!(
            (&first.local_selectors, &first.peer_selectors),
            (&another.local_selectors, &another.peer_selectors)
        );
        assert_ne!(first.inbound_keymat.expose(), another.inbound_keymat.expose());
        // The client uses it; what goes to the client stays where it was.
        gateway.input(Input::DataPlane(DataPlaneEvent::FirstInbound { inbound_spi: newest(&client) }));
        assert_eq!(selected(&gateway), fallback);
    }
    let refused = client.act(&mut gateway, |initiator| initiator.create_child(None, None));
    assert_eq!(refused, [Notable::Refused(NotifyType::TsMaxQueue)]);
    client.initiator.for_resource(None);
    let refused = client.act(&mut gateway, |initiator| initiator.create_child(None, None));
    assert_eq!(refused, [Notable::Refused(NotifyType::NoAdditionalSas)]);
    assert_eq!(gateway.count(IkeCounter::NoAdditionalSas), 2);
    assert_agreement(&client, &gateway);
}

#[test]
fn rekeys_by_either_side_keep_the_resource_and_deletes_leave_a_way_to_the_client() {
    let pki = Pki::new();
    let mut gateway = Gateway::new(&pki, 1, |_| {});
    let mut client = Client::new(psk_config(), 2);
    client.login(&mut gateway);
    let fallback = client.child();
    client.initiator.for_resource(Some(b"cpu1"));
    client.act(&mut gateway, |initiator| initiator.create_child(None, None));
    let bound = client.child();
    // The client need not say again what it is for.
    client.initiator.for_resource(None);
    client.act(&mut gateway, |initiator| initiator.create_child(Some(bound.inbound_spi), None));
    let of_client = newest(&client);
    gateway.input(Input::DataPlane(DataPlaneEvent::FirstInbound { inbound_spi: of_client }));
    assert_eq!(selected(&gateway), fallback.outbound_spi);
    gateway.input(Input::Operator(Operator::RekeyChild { inbound_spi: of_client }));
    client.exchange(&mut gateway, Vec::new());
    let of_gateway = newest(&client);
    assert_ne!(of_gateway, of_client);
    assert_eq!(selected(&gateway), fallback.outbound_spi);

    // It outlives the process as what it is.
    let snapshot = gateway.snapshot().unwrap();
    gateway.restart();
    gateway.restore(snapshot.expose(), 0).unwrap();
    gateway.input(Input::DataPlane(DataPlaneEvent::FirstInbound { inbound_spi: of_gateway }));
    assert_eq!(selected(&gateway), fallback.outbound_spi);

    // Without the first one it carries what goes to the client, and so does its successor.
    client.act(&mut gateway, |initiator| initiator.delete_child(fallback.inbound_spi));
    assert_eq!(selected(&gateway), of_gateway);
    gateway.input(Input::Operator(Operator::RekeyChild { inbound_spi: of_gateway }));
    client.exchange(&mut gateway, Vec::new());
    assert_eq!(selected(&gateway), newest(&client));
    gateway.advance(20_000);
    assert_agreement(&client, &gateway);
}
