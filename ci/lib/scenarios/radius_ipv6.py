"""What RADIUS servers say and are told of IPv6 (RFC 3162, 4818, 6911), with Debian's FreeRADIUS."""
from e2e import scenario
from pki import USER
from radius import Radius, ask
from scenarios.radius import gateway
from shell import expect, expect_equal, wait_until
from swan import PASSWORD
from world import GATEWAY6_OUTSIDE, LAN_NET, POOL_NET

RADIUS = {"aaa.radius": {"nas_address": GATEWAY6_OUTSIDE}, "aaa.radius.dynamic": {"listen": "127.0.0.1"}}
DNS = "2001:db8:10::53"
# What the server grants; the pool's length of a client's prefix; the address that follows; what accounting says of it.
CASES = (
    ({"Framed-IPv6-Address": "2001:db8:20::77"}, 128, "2001:db8:20::77", {"Framed-IPv6-Address": "2001:db8:20::77"}),
    ({"Framed-IPv6-Prefix": "2001:db8:20:7::/64"}, 64, "2001:db8:20:7::1",
     {"Framed-IPv6-Address": "2001:db8:20:7::1", "Framed-IPv6-Prefix": "2001:db8:20:7::/64"}),
    ({"Delegated-IPv6-Prefix": "2001:db8:20:8::/64"}, 64, "2001:db8:20:8::1", {"Framed-IPv6-Prefix": "2001:db8:20:8::/64"}),
    ({"Framed-IPv6-Pool": '"others"'}, 128, "2001:db8:21::1", {"Framed-IPv6-Address": "2001:db8:21::1"}),
)


@scenario("radius-ipv6", "address, prefix, pool and DNS servers of IPv6 by RADIUS; accounting tells them; a disconnect goes by them")
def ipv6(context):
    for grant, length, address, told in CASES:
        world = context.world(ipv6=True)
        grant = {"Framed-IP-Address": "10.99.20.77", **grant} if "Framed-IPv6-Pool" not in grant else grant
        radius = Radius(world, context.certificates, users={USER: (PASSWORD, {**grant, "DNS-Server-IPv6-Address": DNS})}).start()
        pools = [{"name": "staff", "range": POOL_NET, "range6": "2001:db8:20::/48" if length == 64 else "2001:db8:20::/64",
                  "client_prefix6": length, "subnets": [LAN_NET]},
                 {"name": "others", "range": "10.99.21.0/24", "range6": "2001:db8:21::/64", "subnets": [LAN_NET]}]
        appliance = gateway(context, world, [radius.server()], extra=RADIUS, lists={"pool": pools})
        client = context.client(world, families=(4, 6)).connect()
        session = appliance.only_session()
        expect_equal(session["inner_prefix6"], f"{address}/{length}", f"what is the client's with {grant}")
        expect_equal(client.inner_address(6), address, "the client's view")
        expect(f"installing DNS server {DNS}" in client.log(), f"the client is told of {DNS}")
        start = radius.wait_for("Start")[0]
        for name, value in {**told, "NAS-IPv6-Address": GATEWAY6_OUTSIDE}.items():
            expect_equal(start.get(name), value, f"{name} of the start with {grant}")
        name, value = next(iter(told.items()))
        wrong = value.replace("2001:db8:2", "2001:db8:3")
        printed = ask(world, "disconnect", [f"{name} = {wrong}"])
        expect("Disconnect-NAK" in printed and "Session-Context-Not-Found" in printed, f"{wrong} means nobody: {printed}")
        printed = ask(world, "disconnect", [f"{name} = {value}", f"NAS-IPv6-Address = {GATEWAY6_OUTSIDE}"])
        expect("Disconnect-ACK" in printed, f"{value} means the session: {printed}")
        wait_until("the session is gone", 10, lambda: not appliance.sessions())
        expect_equal(radius.wait_for("Stop")[0].get(name), value, f"{name} of the stop")
        world.close()
