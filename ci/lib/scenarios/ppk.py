"""Post-quantum pre-shared keys (RFC 8784) with strongSwan: used, done without, demanded."""
from e2e import scenario
from scenarios.logins import check_tunnel
from shell import expect, expect_equal
from traffic import expect_ping

PPK = ("branch-2026", "ohP3theezohm7aedae9Aequ5Xie8eeph")
GATEWAY_PPK = {"auth.ppk": [{"id": PPK[0], "secret": PPK[1]}]}


def counted(appliance):
    ike = appliance.counters()["ike"]
    return {name: ike[f"ike_ppk_{name}"] for name in ("used", "declined", "refused")}


@scenario("ppk", "PPK beside certificate, shared key and EAP, demanded by both ends; rekeys inherit it")
def ppk(context):
    for number, auth in enumerate(("cert", "psk", "eap-mschapv2")):
        world = context.world()
        appliance = context.appliance(world, extra={"auth": {"ppk_required": True}}, lists=GATEWAY_PPK)
        client = context.client(world, auth=auth, ppk=PPK, connection="ppk_required = yes").connect()
        session = check_tunnel(context, world, appliance, client)
        expect_equal(session["ike"]["ppk"], True, f"the session's keys depend on a PPK ({auth})")
        expect(f"using PPK for PPK_ID '{PPK[0]}'" in client.log(), f"the client says so: {client.log_path}")
        client.rekey("child", "net")
        expect_ping(world, "c1", count=5)
        client.rekey("ike", "home")
        client.rekey("child", "net")
        expect_ping(world, "c1", count=5)
        expect_equal(counted(appliance), {"used": 1, "declined": 0, "refused": 0}, f"counters ({number})")
        world.close()


@scenario("ppk-optional", "PPK by choice: without one, and with one that the gateway does not know, clients get in")
def ppk_optional(context):
    world = context.world(nat_clients=2)
    appliance = context.appliance(world, lists=GATEWAY_PPK)
    for namespace, key, declined in (("c1", None, 0), ("c2", ("unknown", PPK[1]), 1)):
        client = context.client(world, namespace, auth="cert", ppk=key).connect()
        expect_equal(appliance.only_session()["ike"]["ppk"], False, f"PPK in the keys ({key})")
        expect_ping(world, namespace, count=3)
        expect_equal(counted(appliance), {"used": 0, "declined": declined, "refused": 0}, f"counters ({key})")
        client.control("--terminate", "--ike", "home")
        appliance.expect_empty()


@scenario("ppk-required", "PPK demanded: clients without one, with another, or with a wrong key stay outside")
def ppk_required(context):
    wrong = (PPK[0], "eiNahquu8aef2eizooShoh6ua5ieHaej")
    cases = (("psk", None, "no"), ("eap-mschapv2", None, "no"), ("cert", ("unknown", PPK[1]), "no"),
             ("cert", ("unknown", PPK[1]), "yes"), ("psk", wrong, "no"), ("eap-mschapv2", wrong, "yes"))
    world = context.world(nat_clients=len(cases))
    appliance = context.appliance(world, extra={"auth": {"ppk_required": True}}, lists=GATEWAY_PPK)
    for number, (auth, key, required) in enumerate(cases, start=1):
        client = context.client(world, f"c{number}", auth=auth, ppk=key, connection=f"ppk_required = {required}")
        connected, log = client.try_connect()
        expect(not connected, f"{auth} with {key} must not get in")
        expect("AUTHENTICATION_FAILED" in log, f"and is told so: {client.log_path}")
    expect_equal(counted(appliance), {"used": 0, "declined": 0, "refused": 4}, "counters")
    appliance.expect_empty()
