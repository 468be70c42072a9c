"""ESP against a Linux kernel (in User-Mode Linux): every suite, ESN on and off, protocol 50 and UDP."""
import re

from e2e import scenario
from shell import Failure, expect, expect_equal, say
from traffic import expect_ping
from world import LAN_HOST

HARMLESS_DROPS = {"unknown_ether_type", "not_our_mac", "not_for_us", "policy_denied", "no_session"}


def check_suite(world, appliance, guest, client, suite, esn, udp):
    """One Child SA with these parameters: pings of several sizes both ways, nothing dropped by ESP."""
    name = f"{suite}{'-esn' if esn else ''} over {'udp' if udp else 'protocol 50'}"
    client.reload(esp_proposals=f"{suite}{'-esn' if esn else ''}", encap="yes" if udp else "no")
    drops = appliance.drops()
    done = client.control("--initiate", "--child", "net", "--timeout", "20", check=False)
    if done.returncode != 0:
        raise Failure(f"{name}: no connection:\n{client.last_log()}")
    session = appliance.only_session()
    child = session["child_sas"][0]
    expect_equal((child["esp_suite"], child["encapsulation"]), (suite + ("-esn" if esn else ""), "udp" if udp else "esp"), name)
    kernel = guest.run("ip xfrm state").stdout
    expect_equal("espinudp" in kernel, udp, f"{name}: the kernel's encapsulation\n{kernel}")
    expect_equal(bool(re.search(r"flag .*esn", kernel)), esn, f"{name}: the kernel's ESN\n{kernel}")
    answers = guest.ping(LAN_HOST, sizes=(0, 1, 13, 56, 1300))
    expect(all(received == 2 for received in answers.values()),
           f"{name}: two pings of each size from the kernel, answered: {answers}; drops {appliance.drops()}")
    expect_ping(world, "lan", target=session["inner_address"], size=900, count=3)
    grown = {key: value - drops.get(key, 0) for key, value in appliance.drops().items()
             if key not in HARMLESS_DROPS and value != drops.get(key, 0)}
    expect(not grown, f"{name}: packets were dropped: {grown}")
    client.control("--terminate", "--ike", "home")
    appliance.expect_empty()
    say(f"  {name}: ok")


@scenario("esp-kernel-matrix", "every ESP suite, ESN on and off, protocol 50 and UDP, against a Linux kernel")
def matrix(context):
    from appliance import ESP
    from uml import KernelClient
    world = context.world(nat_clients=0)
    appliance = context.appliance(world)
    guest = context.guest(world)
    client = KernelClient(guest, context.certificates, "swan", auth="psk", connection="encap = no").start()
    for suite in ESP:
        for esn in (False, True):
            for udp in (False, True):
                check_suite(world, appliance, guest, client, suite, esn, udp)


@scenario("esp-kernel-rekey", "rekeys of ESN SAs over protocol 50 with a Linux kernel, from both sides, no ping lost")
def kernel_rekey(context):
    from shell import wait_until
    from traffic import PingStream
    from uml import KernelClient
    world = context.world(nat_clients=0)
    appliance = context.appliance(world)
    guest = context.guest(world)
    client = KernelClient(guest, context.certificates, "swan", auth="psk", esp="aes256gcm16-esn").start().connect()
    stream = PingStream(world, "lan", target=appliance.only_session()["inner_address"])
    for start in (lambda: client.control("--rekey", "--child", "net"),
                  lambda: appliance.request("POST", f"/v1/sessions/{appliance.only_session()['id']}/rekey", {"what": "child"})):
        before = appliance.only_session()["child_sas"][0]["inbound_spi"]
        start()
        wait_until("the Child SA is rekeyed", 15, lambda before=before: [
            child["inbound_spi"] for child in appliance.only_session()["child_sas"] if child["inbound_spi"] != before]
            and len(appliance.only_session()["child_sas"]) == 1)
        stream.wait_more(25)
    sent, received = stream.finish()
    expect_equal(received, sent, f"echo replies (missing {stream.missing()})")
