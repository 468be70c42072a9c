"""Every way to log in, and that traffic flows both ways afterwards."""
import os

from e2e import scenario
from pki import GATEWAY_NAME, USER
from shell import expect, expect_equal
from swan import PASSWORD
from traffic import Iperf, expect_ping
from vpn_client import VpnClient

# Our own client logs in as Cisco's does; every gateway of these scenarios can resume.
ANYCONNECT = {
    "auth": {"methods": ["anyconnect-eap"]},
    "ike": {"proposals": ["aes256-sha512-ecp256"]},
    "reconnect": {"enabled": True},
}


def check_tunnel(context, world, appliance, client, namespace="c1", nat=True):
    """The session is what the client thinks it is, packets flow both ways, nothing is dropped for a wrong reason."""
    session = appliance.only_session()
    expect_equal(session["inner_address"], client.inner_address(), "inner address at the gateway")
    expect_equal(session["nat_detected"], nat, "NAT detected")
    expect_equal(len(session["child_sas"]), 1, "Child SAs")
    for size in (0, 56, 1200):
        expect_ping(world, namespace, size=size, count=3)
    expect_ping(world, "lan", target=client.inner_address(), count=3)
    child = appliance.only_session()["child_sas"][0]
    expect(child["in_packets"] >= 9 and child["out_packets"] >= 9, f"the Child SA counts packets: {child}")
    bad = {name for name in appliance.drops()} & {"bad_icv", "replay", "bad_esp_format", "selector_mismatch", "unknown_spi"}
    expect(not bad, f"no packet of the tunnel is dropped: {appliance.drops()}")
    return session


@scenario("login-eap-mschapv2", "user name and password behind a NAT; TCP both ways")
def login_eap(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world).connect()
    session = check_tunnel(context, world, appliance, client)
    expect_equal(session["auth_method"], "eap-mschapv2", "method")
    expect_equal(session["user"], "carol@example.test", "user")
    iperf = Iperf(world)
    expect(iperf.run("c1", 2) > 1 and iperf.run("c1", 2, down=True) > 1, "iperf3 moves more than 1 Mbit/s both ways")


@scenario("login-eap-mschapv2-direct", "the same without a NAT (strongSwan's user-space ESP still uses UDP)")
def login_eap_direct(context):
    world = context.world(nat_clients=0, direct_clients=1)
    appliance = context.appliance(world)
    client = context.client(world, "d1").connect()
    # kernel-libipsec fakes the NAT detection hash so that it gets UDP encapsulation: a NAT is seen though there is none.
    check_tunnel(context, world, appliance, client, "d1", nat=True)


@scenario("login-certificate", "client certificate (ECDSA), gateway certificate (ECDSA), RFC 7427 signatures")
def login_certificate(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world, auth="cert").connect()
    session = check_tunnel(context, world, appliance, client)
    expect_equal(session["auth_method"], "certificate", "method")


@scenario("login-certificate-rsa", "client certificate (RSA), gateway certificate (RSA 3072), RFC 7427 signatures")
def login_certificate_rsa(context):
    world = context.world()
    appliance = context.appliance(world, certificate="gateway-rsa")
    client = context.client(world, auth="cert", certificate="client-rsa").connect()
    check_tunnel(context, world, appliance, client)


@scenario("login-signatures", "RFC 7427 in every kind: RSA-PSS, RSA PKCS#1, ECDSA and Ed25519, of the client and of the gateway")
def login_signatures(context):
    kinds = [("gateway-rsa", "client-rsa", True, "RSA_EMSA_PSS_SHA2"), ("gateway-rsa", "client-rsa", False, "RSA_EMSA_PKCS1_SHA2"),
             ("gateway", "client", False, "ECDSA_WITH_SHA"), ("gateway-ed25519", "client-ed25519", False, "ED25519")]
    for gateway, certificate, rsa_pss, name in kinds:
        world = context.world()
        appliance = context.appliance(world, certificate=gateway)
        client = context.client(world, auth="cert", certificate=certificate, rsa_pss=rsa_pss).connect()
        check_tunnel(context, world, appliance, client)
        log = client.log()
        for who in (GATEWAY_NAME, "(myself)"):
            lines = [line for line in log.splitlines() if "authentication of" in line and who in line and "success" in line]
            expect(any(name in line for line in lines), f"{name} for {who} in {client.log_path}: {lines}")
        world.close()


@scenario("login-certificate-old-signatures", "the client knows no RFC 7427: methods 1 (RSA) and 9 (ECDSA)")
def login_old_signatures(context):
    for gateway, certificate in (("gateway-rsa", "client-rsa"), ("gateway", "client")):
        world = context.world()
        appliance = context.appliance(world, certificate=gateway)
        client = context.client(world, auth="cert", certificate=certificate, signature_authentication=False).connect()
        check_tunnel(context, world, appliance, client)
        world.close()


@scenario("login-psk", "pre-shared key")
def login_psk(context):
    world = context.world()
    appliance = context.appliance(world)
    client = context.client(world, auth="psk").connect()
    session = check_tunnel(context, world, appliance, client)
    expect_equal(session["auth_method"], "psk", "method")


@scenario("ike-suites", "every IKE suite and group we offer carries a login")
def ike_suites(context):
    suites = ["aes128-sha256-modp2048", "aes256-sha256-ecp256", "aes256-sha384-ecp384", "aes256-sha512-ecp521",
              "aes128gcm16-prfsha256-x25519", "aes256gcm16-prfsha384-ecp384", "aes256gcm16-prfsha512-x25519"]
    world = context.world()
    appliance = context.appliance(world, extra={"ike": {"proposals": suites}})
    for number, suite in enumerate(suites, start=2):
        namespace = world.add_nat_client(number)
        client = context.client(world, namespace, ike=suite, auth="psk").connect()
        sessions = [one for one in appliance.sessions() if one["inner_address"] == client.inner_address()]
        expect_equal([one["ike_suite"] for one in sessions], [suite.replace("x25519", "curve25519") if "curve25519" in sessions[0]["ike_suite"] else suite], "IKE suite")
        expect_ping(world, namespace, count=2)
        client.control("--terminate", "--ike", "home")
    appliance.expect_empty()


@scenario("esp-suites", "every ESP suite we offer carries traffic with strongSwan's user-space ESP")
def esp_suites(context):
    from appliance import ESP
    world = context.world()
    appliance = context.appliance(world)
    for number, suite in enumerate(ESP, start=2):
        namespace = world.add_nat_client(number)
        client = context.client(world, namespace, esp=suite, auth="psk").connect()
        expect_equal(appliance.only_session()["child_sas"][0]["esp_suite"], suite, "ESP suite")
        for size in (0, 1, 56, 1250):
            expect_ping(world, namespace, count=2, size=size)
        client.control("--terminate", "--ike", "home")
        appliance.expect_empty()


def through_device(context, device, suites):
    """A login and traffic for each suite on an appliance with this crypto device; packets that were ESP, and by the device."""
    world = context.world()
    appliance = context.appliance(world, extra={"dataplane": {"crypto_device": device}})
    shown = appliance.show("ports")
    expect(f"ESP engine  lookaside: crypto_device {device} " in shown, f"`show ports` names {device}: {shown}")
    iperf = Iperf(world)
    for number, suite in enumerate(suites, start=2):
        namespace = world.add_nat_client(number)
        client = context.client(world, namespace, esp=suite, auth="psk").connect()
        expect_equal(appliance.only_session()["child_sas"][0]["esp_suite"], suite, "ESP suite")
        for size in (0, 1, 56, 1250):
            expect_ping(world, namespace, count=3, size=size)
        expect(iperf.run(namespace, 1) > 1 and iperf.run(namespace, 1, down=True) > 1, f"{suite}: iperf3 moves more than 1 Mbit/s")
        client.control("--terminate", "--ike", "home")
        appliance.expect_empty()
    # What is still under way when a client leaves has no SA any more; nothing else may be lost.
    bad = set(appliance.drops()) - {"unknown_spi", "no_session", "not_for_us", "unknown_ether_type", "policy_denied", "no_neighbour"}
    expect(not bad, f"no packet of the tunnels is dropped: {appliance.drops()}")
    flow = appliance.counters()["flow"]
    return flow["esp_in_packets"] + flow["esp_out_packets"], flow["crypto_device_packets"] + flow["crypto_device_full"]


@scenario("crypto-device", "ESP through lookaside crypto devices with strongSwan: every suite, and the choice is shown")
def crypto_device(context):
    from appliance import ESP
    for device, suites in (("crypto_openssl0", [suite for suite in ESP if suite.startswith("aes")]), ("crypto_aesni_mb0", ["aes256gcm16", "aes256-sha384"])):
        esp, by_device = through_device(context, device, suites)
        expect(by_device >= esp > 100, f"{device}: {by_device} of {esp} packets by the device")


@scenario("crypto-device-without-suites", "a crypto device that has none of our suites: everything in software")
def crypto_device_without_suites(context):
    esp, by_device = through_device(context, "crypto_null0", ["aes256gcm16"])
    expect(esp > 100 and by_device == 0, f"{by_device} of {esp} packets by the device")


def anyconnect(context, world, form, namespace="c1", groups=(), **options):
    """A gateway with this login form, and our client, which has logged in."""
    appliance = context.appliance(world, psks=[], extra={**ANYCONNECT, "anyconnect": form}, groups=groups)
    user = VpnClient(world, namespace, context.certificates, context.binaries, user=USER, **options).start()
    session = appliance.only_session()
    expect_equal((session["user"], session["auth_method"]), (USER, "anyconnect-eap"), "user and method")
    expect_ping(world, namespace)
    return appliance, user


def sleep_and_wake(user, world):
    """A resume, for which nobody types anything."""
    address = user.status()["address"]
    user.suspend()
    status = user.resume()
    expect_equal((status["address"], status["logins"], status["resumes"]), (address, 1, 1), "address, logins, resumes")
    expect_ping(world, "c1")


@scenario("anyconnect-second-guess", "AnyConnect-EAP: two wrong passwords, then the right one; the banner is shown")
def anyconnect_second_guess(context):
    world = context.world()
    _, user = anyconnect(context, world, {"banner": "Authorised use only."}, password="first guess",
                         typed=["second guess", PASSWORD])
    expect_equal(user.output().count("Login failed."), 2, f"failures that the user was shown:\n{user.output()}")
    expect("Authorised use only." in user.output(), f"the banner:\n{user.output()}")
    sleep_and_wake(user, world)


@scenario("anyconnect-groups", "AnyConnect-EAP: the group chosen in the form decides the rules of the session, also after a resume")
def anyconnect_groups(context):
    groups = [{"name": "staff", "banner": "Hello, colleague."},
              {"name": "guests", "banner": "Hello, guest.", "subnets": ["10.99.10.0/25"]}]
    for group, banner, reached in (("guests", "Hello, guest.", ["10.99.10.0/25"]), ("staff", "Hello, colleague.", None)):
        world = context.world()
        appliance, user = anyconnect(context, world, {"groups": ["staff", "guests"]}, groups=groups, password=PASSWORD,
                                     login={"group": group})
        for resumed in (False, True):
            expect_equal(appliance.only_session()["ike"]["group"], group, f"group at the gateway, resumed: {resumed}")
            expect(banner in user.output(), f"the group's banner:\n{user.output()}")
            if reached:
                expect_equal(user.status()["subnets"], reached, f"what the group may reach, resumed: {resumed}")
            if not resumed:
                sleep_and_wake(user, world)
        world.close()


@scenario("anyconnect-certificate", "AnyConnect-EAP: certificate (RSA, ECDSA) and password are both needed; a resume needs neither")
def anyconnect_certificate(context):
    for name in ("client", "client-rsa"):
        world = context.world()
        base = os.path.join(context.certificates, name)
        files = {"certificate_file": f"{base}.pem", "private_key_file": f"{base}.key"}
        _, user = anyconnect(context, world, {"certificate": "required"}, password=PASSWORD, login=files)
        sleep_and_wake(user, world)
        world.close()
    # Without a certificate, and with one that has expired, the right password does not help.
    base = os.path.join(context.certificates, "client-expired")
    for login in ({}, {"certificate_file": f"{base}.pem", "private_key_file": f"{base}.key"}):
        world = context.world()
        appliance = context.appliance(world, psks=[], extra={**ANYCONNECT, "anyconnect": {"certificate": "required"}})
        user = VpnClient(world, "c1", context.certificates, context.binaries, user=USER, password=PASSWORD, login=login)
        expect(user.fails(), f"the client must not get in with {login}:\n{user.output()}")
        appliance.expect_empty()
        world.close()
