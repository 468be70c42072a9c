"""Our own client over days: new keys under load, Cisco's fragmentation, NATs that forget, the machine's name servers."""
import os

from e2e import scenario
from shell import expect, expect_equal, read, wait_until
from traffic import PingStream, expect_ping
from vpn_client import VpnClient

USERS = {"user1": "cisco"}
GATEWAY = {
    "auth": {"methods": ["anyconnect-eap"]},
    "ike": {"proposals": ["aes256-sha512-ecp256"]},
    "reconnect": {"enabled": True},
}


def connected(context, world, **options):
    """A gateway and our client."""
    appliance = context.appliance(world, users=USERS, psks=[], extra=GATEWAY)
    return appliance, VpnClient(world, "c1", context.certificates, context.binaries, **options).start()


def keys(session):
    """What names the IKE SA and its Child SAs."""
    return session["ike_spis"], sorted(child["inbound_spi"] for child in session["child_sas"])


def wait_for_new_keys(appliance, before, what):
    """Waits until the session has other keys than `before`, and one Child SA."""
    wait_until(f"new keys after {what}", 15, lambda: keys(appliance.only_session()) != keys(before))
    wait_until("the old Child SA is gone", 15, lambda: len(appliance.only_session()["child_sas"]) == 1)


@scenario("client-keys", "our client and the gateway renew keys in turn under pings, with long sequence numbers; none lost")
def client_keys(context):
    for suite in ("aes256gcm16", "aes256-sha384"):
        world = context.world()
        appliance, user = connected(context, world, ike={"esp": [f"{suite}-esn-noesn"]})
        expect_equal(appliance.only_session()["child_sas"][0]["esp_suite"], f"{suite}-esn", "ESP suite")
        stream = PingStream(world, "c1")
        for what in (["rekey", "--ike"], ["rekey"], ["rekey", "--ike"]):
            before = appliance.only_session()
            user.ask(what)
            wait_for_new_keys(appliance, before, what)
            stream.wait_more(40)
        # The gateway's own rekeys meet a client that has made its IKE SA itself.
        for what in ("ike", "child"):
            before = appliance.only_session()
            appliance.request("POST", f"/v1/sessions/{before['id']}/rekey", {"what": what})
            wait_for_new_keys(appliance, before, what)
            stream.wait_more(40)
        sent, received = stream.finish()
        expect_equal(received, sent, f"echo replies under rekey (missing {stream.missing()}; drops {appliance.drops()})")
        status = user.status()
        expect(status["ike_rekeys"] >= 3 and status["rekeys"] >= 2, f"the client counts: {status}")
        expect_equal(appliance.only_session()["child_sas"][0]["esp_suite"], f"{suite}-esn", "ESP suite after the rekeys")
        user.suspend()
        expect_equal(user.resume()["address"], status["address"], "inner address after a resume")
        expect_ping(world, "c1")
        world.close()


@scenario("client-cisco-fragments", "our client without RFC 7383: login, rekey and resume in payload-132 pieces")
def client_cisco_fragments(context):
    world = context.world()
    appliance, user = connected(context, world, ike={"fragmentation": False, "fragment_octets": 508})
    expect_equal(appliance.only_session()["ike"]["fragmentation"], "cisco", "fragmentation at the gateway")
    address = user.status()["address"]
    expect_ping(world, "c1")
    user.ask(["rekey", "--ike"])
    wait_until("a new IKE SA", 15, lambda: user.status()["ike_rekeys"] == 1)
    user.suspend()
    expect_equal(user.resume()["address"], address, "inner address after the resume")
    expect_equal(appliance.only_session()["ike"]["fragmentation"], "cisco", "fragmentation after the resume")
    expect_ping(world, "c1")
    expect_equal(appliance.counters()["ike"]["ike_drop_fragment"], 0, "pieces that were refused")


@scenario("client-upkeep", "our client reminds NATs of itself and sets the machine's name servers, and puts them back")
def client_upkeep(context):
    world = context.world()
    resolver = os.path.join(world.directory, "resolv.conf")
    before = "nameserver 192.0.2.53\n"
    with open(resolver, "w", encoding="utf-8") as file:
        file.write(before)
    appliance, user = connected(context, world, ike={"dpd_interval_secs": 0, "nat_keepalive_secs": 1},
                                tunnel={"resolv_conf": resolver})
    expect("nameserver 10.99.10.53\n" in read(resolver), f"the tunnel's name server:\n{read(resolver)}")
    wait_until("reminders of the NAT", 20, lambda: appliance.counters()["flow"]["nat_keepalives"] >= 3)
    expect_ping(world, "lan", target=user.status()["address"])
    # A client that is killed leaves the tunnel's servers; the next one puts the machine's back when it ends.
    user.kill()
    wait_until("the client is gone", 10, lambda: user.process.poll() is not None)
    expect("10.99.10.53" in read(resolver), "a killed client cannot tidy up")
    user.start()
    expect("10.99.10.53" in read(resolver), f"the tunnel's name server again:\n{read(resolver)}")
    user.ask(["disconnect"])
    wait_until("the client is gone", 10, lambda: user.process.poll() is not None)
    expect_equal(read(resolver), before, "the machine's own name server")
