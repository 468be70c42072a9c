"""IKE behaviour that only shows with special policies or clients."""
from e2e import scenario
from shell import expect, expect_equal, wait_until
from traffic import expect_ping


@scenario("cookie", "above the half-open threshold the client must return a cookie (RFC 7296 §2.6), and gets in")
def cookie(context):
    world = context.world()
    appliance = context.appliance(world, extra={"ike": {"cookie_threshold": 0}})
    client = context.client(world).connect()
    expect("N(COOKIE)" in client.log(), "the client was asked for a cookie")
    expect_ping(world, "c1")
    appliance.only_session()


@scenario("chacha20", "ChaCha20-Poly1305 (RFC 7634) for IKE and ESP with strongSwan: login, pings, new keys for both under pings")
def chacha20(context):
    world = context.world()
    appliance = context.appliance(world, extra={"ike": {"proposals": ["chacha20poly1305-prfsha256-curve25519"]},
                                                "esp": {"suites": ["chacha20poly1305"]}})
    client = context.client(world, ike="chacha20poly1305-prfsha256-x25519", esp="chacha20poly1305").connect()
    expect_ping(world, "c1")
    session = appliance.only_session()
    expect_equal(session["ike_suite"], "chacha20poly1305-prfsha256-curve25519", "IKE suite")
    expect_equal(session["child_sas"][0]["esp_suite"], "chacha20poly1305", "ESP suite")
    for what in ("child", "ike"):
        appliance.request("POST", f"/v1/sessions/{session['id']}/rekey", {"what": what})
        wait_until(f"new keys after a rekey ({what})", 15, lambda: names(appliance.only_session()) != names(session)
                   and len(appliance.only_session()["child_sas"]) == 1)
        session = appliance.only_session()
        expect_ping(world, "c1")
    expect("CHACHA20_POLY1305" in client.log(), "the client says that it used it")


def names(session):
    """What names the IKE SA and its Child SAs."""
    return session["ike_spis"], sorted(child["inbound_spi"] for child in session["child_sas"])


@scenario("fragmentation", "long certificates in small IKE fragments (RFC 7383), both ways")
def fragmentation(context):
    world = context.world()
    context.appliance(world, certificate="gateway-rsa", extra={"ike": {"fragment_size": 576}})
    client = context.client(world, auth="cert", certificate="client-rsa", fragment_size=576).connect()
    log = client.log()
    expect("EF(" in log and "received fragment" in log, "both sides used fragments")
    expect_ping(world, "c1")


@scenario("no-fragmentation", "a client without RFC 7383: long messages travel as IP fragments from us")
def no_fragmentation(context):
    world = context.world()
    context.appliance(world, certificate="gateway-rsa")
    client = context.client(world, connection="fragmentation = no").connect()
    expect("EF(" not in client.log(), "no IKE fragment was used")
    expect_ping(world, "c1")


@scenario("invalid-ke", "the client guesses a group we do not take: INVALID_KE_PAYLOAD, second try works")
def invalid_ke(context):
    world = context.world()
    appliance = context.appliance(world, extra={"ike": {"proposals": ["aes256-sha256-ecp256"]}})
    client = context.client(world, ike="aes256-sha256-modp2048-ecp256").connect()
    expect("INVAL_KE" in client.log(), "the client was told the group")
    expect(appliance.only_session()["ike_suite"].endswith("ecp256"), "group 19 is used")


@scenario("retransmission", "a lossy network: every third IKE and ESP packet vanishes each way, the login works and pings flow")
def retransmission(context):
    world = context.world()
    appliance = context.appliance(world)
    world.exec("wan", "nft", "-f", "-", stdin="""table bridge lossy {
  chain forward {
    type filter hook forward priority 0;
    udp dport { 500, 4500 } numgen inc mod 3 == 0 drop
    udp sport { 500, 4500 } numgen inc mod 3 == 1 drop
  }
}
""")
    client = context.client(world, connection="").connect(60)
    world.exec("wan", "nft", "flush", "ruleset")
    expect_ping(world, "c1")
    expect(client.inner_address() == appliance.only_session()["inner_address"], "both agree on the address")
