"""Clients that change their address while their session goes on: MOBIKE (RFC 4555) with strongSwan, and NATs that map anew."""
from e2e import scenario
from shell import expect, expect_equal, wait_until
from traffic import PingStream, expect_ping
from world import NAT_OUTSIDE, NAT_OUTSIDE_MOVED

NEW_ADDRESS = "10.99.1.121"
# Pings (20 ms apart) that may be lost while the client has no address, or while its NAT box has none.
MOST_LOST = 100


def expect_update(client):
    """The log of the client shows the whole exchange: announced, moved, asked, answered."""
    log = client.log()
    for sign in ("N(MOBIKE_SUP)", "N(UPD_SA_ADDR)", "N(COOKIE2)"):
        expect(sign in log, f"{sign} in {client.log_path}")


def move(context, world, namespace, client, appliance, change, peer):
    """`change()` takes the client's address away under pings; afterwards the session is the same, at `peer`."""
    before = appliance.only_session()
    stream = PingStream(world, namespace)
    change()
    wait_until(f"the session is at {peer}", 30, lambda: appliance.only_session()["peer"].startswith(peer))
    stream.wait_more(100, seconds=40)
    sent, received = stream.finish()
    expect(sent - received <= MOST_LOST, f"{sent - received} of {sent} pings lost, at most {MOST_LOST} expected")
    expect_ping(world, namespace, count=20)
    expect_ping(world, "lan", target=client.inner_address(), count=20)
    after = appliance.only_session()
    for key in ("id", "inner_address", "ike_spis", "user"):
        expect_equal(after[key], before[key], f"{key} after the move")
    appliance.request("POST", f"/v1/sessions/{after['id']}/rekey", {"what": "ike"})
    wait_until("the IKE SA is rekeyed at the new address", 15,
               lambda: appliance.only_session()["ike_spis"] != before["ike_spis"])
    expect_ping(world, namespace, count=10)


@scenario("mobike-move", "strongSwan's address changes under pings: UPDATE_SA_ADDRESSES, COOKIE2, the same session goes on")
def mobike_move(context):
    world = context.world(nat_clients=0, direct_clients=1)
    appliance = context.appliance(world)
    client = context.client(world, "d1").connect()

    def change():
        world.exec("d1", "ip", "addr", "add", f"{NEW_ADDRESS}/25", "dev", "eth0")
        world.exec("d1", "ip", "addr", "del", "10.99.1.101/24", "dev", "eth0")
    move(context, world, "d1", client, appliance, change, NEW_ADDRESS)
    expect_update(client)
    expect_equal(appliance.counters()["ike"]["ike_address_updates"], 1, "moves counted")


@scenario("mobike-roam", "strongSwan leaves its NAT for another network: the same session goes on without the NAT")
def mobike_roam(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world).connect()

    def change():
        world.link("c1", "wlan0", "wan", "p-c1w")
        world.exec("wan", "ip", "link", "set", "p-c1w", "master", "br0")
        world.exec("c1", "ip", "addr", "add", f"{NEW_ADDRESS}/24", "dev", "wlan0")
        world.exec("c1", "ip", "addr", "flush", "dev", "eth0")
    move(context, world, "c1", client, appliance, change, NEW_ADDRESS)
    expect_update(client)


@scenario("mobike-nat-rebinding", "the NAT box gets another address under pings: ESP is followed at once, IKE by MOBIKE")
def mobike_nat_rebinding(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world, dpd="2s").connect()
    move(context, world, "c1", client, appliance, world.rebind_nat, NAT_OUTSIDE_MOVED)


@scenario("mobike-nat-rebinding-idle", "the same while nothing flows: the client's liveness checks see it, and it says so")
def mobike_nat_rebinding_idle(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world, dpd="2s").connect()
    expect(appliance.only_session()["peer"].startswith(NAT_OUTSIDE), "the session begins behind the NAT's first address")
    # What strongSwan compares later answers with is the first one of its liveness checks.
    wait_until("the client has asked once for its mapping", 20,
               lambda: "parsed INFORMATIONAL response" in client.log())
    world.rebind_nat()
    wait_until("the session is at the NAT's new address", 40,
               lambda: appliance.only_session()["peer"].startswith(NAT_OUTSIDE_MOVED))
    expect_ping(world, "lan", target=client.inner_address(), count=20)
    expect_update(client)
