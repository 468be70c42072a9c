"""IPv6 inside and outside of the tunnel, with stock strongSwan: both families in one Child SA over either, with and without UDP;
moves between the families, paths with small MTUs, and the neighbours on the links."""
import os
import re

from e2e import scenario
from scenarios.mobility import expect_update
from shell import Failure, expect, expect_equal, read, wait_until
from swan import Client
from traffic import Iperf, PingStream, expect_ping
from vpn_client import VpnClient
from world import (GATEWAY6_INSIDE, GATEWAY6_OUTSIDE, GATEWAY_INSIDE, GATEWAY_OUTSIDE, LAN6_HOST, LAN6_NET, LAN_HOST, LAN_NET)

BOTH_NETS = f"{LAN_NET}, {LAN6_NET}"
# What two families on a quiet link drop without a fault: multicast of hosts that look for each other.
HARMLESS_DROPS = {"unknown_ether_type", "not_our_mac", "not_for_us", "no_session"}
FORGED = {"bad_icv", "replay", "bad_esp_format", "selector_mismatch"}
# What a tunnel inside of a path of 1280 octets leaves is less than IPv6 asks of a link, so the path is a bit wider.
NARROW_MTU = 1400
LARGE = 1300


def client(context, world, namespace="d1", gateway=GATEWAY_OUTSIDE, families=(4, 6), **options):
    """A strongSwan client that asks for these families, connected."""
    nets = ", ".join({4: LAN_NET, 6: LAN6_NET}[family] for family in families)
    return context.client(world, namespace, gateway=gateway, families=families, remote_ts=nets, **options).connect()


def both_ways(world, one, families, **options):
    """Pings of each family from the client to the LAN host, and back."""
    for family in families:
        expect_ping(world, one.namespace, target={4: LAN_HOST, 6: LAN6_HOST}[family], **options)
        expect_ping(world, "lan", target=one.inner_address(family), **options)


def expect_nothing_forged(appliance):
    """No packet of a tunnel was dropped as forged, repeated or foreign."""
    dropped = {name: count for name, count in appliance.drops().items() if name in FORGED}
    expect(not dropped, f"packets of the tunnel were dropped: {dropped}")


@scenario("ipv6-inner", "both families inside of a tunnel over IPv4: pings of all sizes, TCP both ways, the gateway itself")
def inner(context):
    world = context.world(ipv6=True)
    appliance = context.appliance(world)
    one = client(context, world, "c1")
    session = appliance.only_session()
    expect_equal(len(session["child_sas"]), 1, "one Child SA for both families")
    for size in (0, 1, 13, 56, 1200):
        both_ways(world, one, (4, 6), size=size, count=5)
    iperf = Iperf(world)
    for target in (LAN_HOST, LAN6_HOST):
        for down in (False, True):
            rate = iperf.run("c1", seconds=2, down=down, target=target)
            expect(rate > 1, f"TCP {'from' if down else 'to'} {target}: {rate:.1f} Mbit/s")
    expect_nothing_forged(appliance)
    one.control("--terminate", "--ike", "home")
    appliance.expect_empty()


@scenario("ipv6-gateway", "echo requests to the gateway's own IPv6 addresses, from outside and from the LAN, global and link-local")
def gateway_itself(context):
    world = context.world(nat_clients=0, direct_clients=1, ipv6=True)
    context.appliance(world)
    for namespace, target in (("d1", GATEWAY6_OUTSIDE), ("lan", GATEWAY6_INSIDE)):
        expect_ping(world, namespace, target=target, count=5)
        expect_ping(world, namespace, target=target, count=3, size=1400)
    for namespace, target, interface in (("d1", GATEWAY6_OUTSIDE, "eth0"), ("lan", GATEWAY6_INSIDE, "eth0")):
        neighbour = world.exec(namespace, "ip", "-6", "neigh", "show", target, "dev", interface).stdout
        expect(re.search(r"lladdr ([0-9a-f:]{17})", neighbour), f"{namespace} knows {target} by neighbour discovery: {neighbour!r}")


@scenario("ipv6-neighbours", "the LAN host finds clients' packets by way of the gateway, and the gateway finds the LAN host by itself (RFC 4861)")
def neighbours(context):
    world = context.world(ipv6=True)
    context.appliance(world)
    one = client(context, world, "c1")
    # The LAN host has said nothing yet: the gateway must ask for it.
    world.exec("lan", "ip", "-6", "neigh", "flush", "all")
    expect_ping(world, "c1", target=LAN6_HOST, count=5)
    entry = lambda: world.exec("lan", "ip", "-6", "neigh", "show", GATEWAY6_INSIDE).stdout
    expect("lladdr" in entry(), f"the LAN host knows the gateway from its solicitation: {entry()!r}")
    # The host confirms what it has learnt, by unicast; only the answer says that we are a router.
    world.exec("lan", "ip", "-6", "neigh", "change", GATEWAY6_INSIDE, "dev", "eth0", "nud", "probe", check=False)
    wait_until("the gateway confirms itself, as a router", 20, lambda: "REACHABLE" in entry() and "router" in entry())
    expect_ping(world, "lan", target=one.inner_address(6), count=5)


def outer(context, families, nat=False, **options):
    """A tunnel over IPv6 with these families inside."""
    world = context.world(nat_clients=int(nat), direct_clients=int(not nat), ipv6=True)
    appliance = context.appliance(world)
    one = client(context, world, "c1" if nat else "d1", gateway=GATEWAY6_OUTSIDE, families=families, **options)
    session = appliance.only_session()
    expect(session["peer"].startswith("[2001:db8:"), f"the client is on IPv6: {session['peer']}")
    for size in (0, 1, 13, 56, 1200):
        both_ways(world, one, families, size=size, count=5)
    for what in ("child", "ike"):
        before = appliance.only_session()
        appliance.request("POST", f"/v1/sessions/{before['id']}/rekey", {"what": what})
        kept = (lambda now: now["ike_spis"]) if what == "ike" else (lambda now: now["child_sas"][0]["inbound_spi"])
        wait_until(f"the {what} SA is rekeyed", 15, lambda before=before, kept=kept: len(appliance.sessions()) == 1
                   and len(appliance.only_session()["child_sas"]) == 1 and kept(appliance.only_session()) != kept(before))
        both_ways(world, one, families, count=5)
    expect_nothing_forged(appliance)
    one.control("--terminate", "--ike", "home")
    appliance.expect_empty()


@scenario("ipv6-outer-inner4", "IPv4 inside of a tunnel over IPv6 (UDP, since this client's ESP is in user space), rekeyed")
def outer_inner4(context):
    outer(context, (4,))


@scenario("ipv6-outer-inner6", "IPv6 inside of a tunnel over IPv6, rekeyed")
def outer_inner6(context):
    outer(context, (6,))


@scenario("ipv6-outer-both", "both families inside of a tunnel over IPv6 whose client insists on UDP, rekeyed")
def outer_both(context):
    outer(context, (4, 6), connection="encap = yes")


@scenario("ipv6-outer-nat", "both families over IPv6 through a NAT that changes ports, rekeyed")
def outer_nat(context):
    outer(context, (4, 6), nat=True)


@scenario("ipv6-mobike", "the client's IPv4 address vanishes under pings: the session goes on at its IPv6 address, and back")
def mobike(context):
    world = context.world(nat_clients=0, direct_clients=1, ipv6=True)
    appliance = context.appliance(world)
    one = client(context, world)
    before = appliance.only_session()
    expect(before["peer"].startswith("10.99.1.101"), f"the client begins on IPv4: {before['peer']}")
    for family, target in ((4, LAN_HOST), (6, LAN6_HOST)):
        expect_ping(world, "d1", target=target, count=5)
    stream = PingStream(world, "d1", target=LAN6_HOST)
    world.exec("d1", "ip", "-4", "addr", "del", "10.99.1.101/24", "dev", "eth0")
    wait_until("the session is at the client's IPv6 address", 40, lambda: appliance.only_session()["peer"].startswith("[2001:db8:1::"))
    stream.wait_more(50, seconds=40)
    stream.finish()
    both_ways(world, one, (4, 6), count=10)
    expect_update(one)
    after = appliance.only_session()
    for key in ("id", "inner_address", "inner_prefix6", "ike_spis", "user"):
        expect_equal(after[key], before[key], f"{key} after the move")
    world.exec("d1", "ip", "-4", "addr", "add", "10.99.1.121/24", "dev", "eth0")
    world.exec("d1", "ip", "-6", "addr", "del", "2001:db8:1::101/64", "dev", "eth0")
    wait_until("the session is at the client's new IPv4 address", 40, lambda: appliance.only_session()["peer"].startswith("10.99.1.121"))
    both_ways(world, one, (4, 6), count=10)
    expect_equal(appliance.only_session()["id"], before["id"], "the session")


@scenario("ipv6-pmtu", "packets that are too large for the tunnel: the sender is told by ICMPv6 Packet Too Big, and TCP and pings go on")
def pmtu(context):
    world = context.world(ipv6=True)
    appliance = context.appliance(world)
    one = client(context, world, "c1")
    address = one.inner_address(6)
    # 1452 octets of echo fill the LAN's frame and cannot fit into a tunnel over a link of the same MTU.
    told = world.exec("lan", "ping", "-6", "-n", "-M", "do", "-s", "1452", "-c", "3", "-i", "0.2", "-W", "2", address, check=False).stdout
    mtu = re.search(r"Packet too big: mtu=(\d+)", told) or re.search(r"mtu = (\d+)", told)
    expect(mtu and 1280 <= int(mtu.group(1)) < 1500, f"the LAN host is told an MTU: {told}")
    # IPv6 routers do not fragment; the sender does, once it knows.
    expect_ping(world, "lan", target=address, count=5, size=1452)
    rate = Iperf(world).run("c1", seconds=2, down=True, target=LAN6_HOST)
    expect(rate > 1, f"TCP down to the client: {rate:.1f} Mbit/s")
    expect_nothing_forged(appliance)


@scenario("ipv6-own-client", "our own client: both families inside, over IPv4 through a NAT and over IPv6, through a suspend and rekeys")
def own_client(context):
    world = context.world(nat_clients=1, direct_clients=1, ipv6=True)
    extra = {"auth": {"methods": ["anyconnect-eap"]}, "ike": {"proposals": ["aes256-sha512-ecp256"]}, "reconnect": {"enabled": True}}
    appliance = context.appliance(world, users={"user1": "cisco"}, psks=[], extra=extra)
    for namespace, gateway, peer in (("c1", GATEWAY_OUTSIDE, "10.99.1.3:"), ("d1", GATEWAY6_OUTSIDE, "[2001:db8:1::101]:")):
        user = VpnClient(world, namespace, context.certificates, context.binaries, gateway={"address": gateway}).start()
        session = appliance.only_session()
        expect(session["peer"].startswith(peer), f"the client comes from {peer}: {session['peer']}")
        before = user.status()
        inner = [before["address"], before["address6"]]

        def pings():
            for target, address in ((LAN_HOST, inner[0]), (LAN6_HOST, inner[1])):
                expect_ping(world, namespace, target=target)
                expect_ping(world, "lan", target=address)
        pings()
        for what, counted in ((["rekey"], "rekeys"), (["rekey", "--ike"], "ike_rekeys")):
            user.ask(what)
            wait_until(f"the client has done {what}", 15, lambda: user.status()[counted] == 1)
        pings()
        user.suspend()
        after = user.resume()
        expect_equal([after["address"], after["address6"]], inner, "inner addresses after a resume")
        pings()
        user.ask(["disconnect"])
        wait_until("the client is gone", 20, lambda: user.process.poll() is not None)
        appliance.expect_empty()
    expect_nothing_forged(appliance)
