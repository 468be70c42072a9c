"""Rekeying from either side under load: no packet may be lost to it."""
from e2e import scenario
from shell import expect, expect_equal, wait_until
from traffic import Iperf, PingStream


def rekey_under_load(context, start_rekey, changed):
    """Runs iperf3 and 50 pings a second through `start_rekey(appliance, client)`, twice; every ping must be answered."""
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world).connect()
    iperf = Iperf(world)
    load = iperf.start("c1")
    stream = PingStream(world, "c1")
    for _ in range(2):
        before = changed(appliance.only_session())
        start_rekey(appliance, client)
        wait_until("the gateway shows the new SA", 15,
                   lambda before=before: len(appliance.sessions()) == 1 and changed(appliance.only_session()) != before)
        wait_until("the old Child SA is gone", 15, lambda: len(appliance.only_session()["child_sas"]) == 1)
        stream.wait_more(75)
    sent, received = stream.finish()
    expect(load.poll() is None, f"iperf3 must still run: {iperf.log('c1')[-500:]}")
    expect_equal(received, sent, f"echo replies under rekey (missing {stream.missing()}; drops {appliance.drops()})")
    zero = [line for line in iperf.log("c1").splitlines() if " 0.00 bits/sec" in line]
    expect(len(zero) <= 1, f"iperf3 stood still: {zero}")
    session = appliance.only_session()
    expect(session["child_sas"][0]["in_packets"] > 0, "the new Child SA carries traffic")


def child_spi(session):
    return sorted(child["inbound_spi"] for child in session["child_sas"])


def ike_spis(session):
    return session["ike_spis"]


@scenario("rekey-child-by-client", "CREATE_CHILD_SA from strongSwan under iperf3 and pings; none lost")
def child_by_client(context):
    rekey_under_load(context, lambda appliance, client: client.control("--rekey", "--child", "net"), child_spi)


@scenario("rekey-child-by-gateway", "CREATE_CHILD_SA from us under iperf3 and pings; none lost")
def child_by_gateway(context):
    rekey_under_load(context, lambda appliance, client: appliance.request(
        "POST", f"/v1/sessions/{appliance.only_session()['id']}/rekey", {"what": "child"}), child_spi)


@scenario("rekey-ike-by-client", "IKE SA rekeyed by strongSwan under load; none lost")
def ike_by_client(context):
    rekey_under_load(context, lambda appliance, client: client.control("--rekey", "--ike", "home"), ike_spis)


@scenario("rekey-ike-by-gateway", "IKE SA rekeyed by us under load; none lost")
def ike_by_gateway(context):
    rekey_under_load(context, lambda appliance, client: appliance.request(
        "POST", f"/v1/sessions/{appliance.only_session()['id']}/rekey", {"what": "ike"}), ike_spis)


@scenario("rekey-child-pfs", "Child SA rekey with a Diffie-Hellman group (PFS), from both sides")
def child_pfs(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world, esp="aes256gcm16-ecp256").connect()
    stream = PingStream(world, "c1")
    for rekey in (lambda: client.control("--rekey", "--child", "net"),
                  lambda: appliance.request("POST", f"/v1/sessions/{appliance.only_session()['id']}/rekey", {"what": "child"})):
        before = child_spi(appliance.only_session())
        rekey()
        wait_until("the Child SA is rekeyed", 15, lambda before=before: child_spi(appliance.only_session()) != before
                   and len(appliance.only_session()["child_sas"]) == 1)
        stream.wait_more(25)
    sent, received = stream.finish()
    expect_equal(received, sent, "echo replies under rekey")


@scenario("rekey-by-lifetime", "both lifetimes of ours run out several times by themselves; no ping lost")
def by_lifetime(context):
    world = context.world()
    appliance = context.appliance(world, extra={"esp": {"rekey_secs": 10}, "ike": {"rekey_secs": 15}})
    context.client(world).connect()
    stream = PingStream(world, "c1")
    children, ike_sas = set(), set()

    def rekeyed():
        for session in appliance.sessions():
            children.update(child_spi(session))
            ike_sas.add(ike_spis(session))
        return len(children) >= 4 and len(ike_sas) >= 3
    wait_until("three rekeys of the Child SA and two of the IKE SA", 70, rekeyed)
    stream.wait_more(25)
    sent, received = stream.finish()
    expect_equal(received, sent, f"echo replies (missing {stream.missing()})")
