"""Every EAP method against strongSwan's peer: right and wrong secrets, what a peer refuses, both TLS versions where it speaks them."""
from e2e import scenario
from pki import USER
from scenarios.logins import check_tunnel
from shell import expect, expect_equal
from swan import PASSWORD

CLEAR = {USER: {"name": USER, "password_clear": PASSWORD}}


def gateway(context, world, methods, eap=None, **options):
    """A gateway with these methods, first offered first."""
    return context.appliance(world, psks=[], extra={"auth": {"methods": methods}, "eap": eap or {}}, **options)


def logs_in(context, methods, auth, method, eap=None, users=None, of="gateway", **client):
    """A login whose session says this method, with traffic both ways."""
    world = context.world()
    appliance = gateway(context, world, methods, eap, users=users, certificate=of)
    peer = context.client(world, auth=auth, **client).connect()
    session = check_tunnel(context, world, appliance, peer)
    expect_equal((session["auth_method"], session["user"]), (method, USER), "method and user")
    world.close()
    return peer


def is_refused(context, methods, auth, eap=None, users=None, **client):
    """A login that fails and leaves nothing behind."""
    world = context.world()
    appliance = gateway(context, world, methods, eap, users=users)
    ok, log = context.client(world, auth=auth, **client).try_connect()
    expect(not ok, f"the client must not get in with {client}:\n{log[-2000:]}")
    expect("EAP_FAILURE" in log or "AUTH_FAILED" in log or "EAP/FAIL" in log, f"the client is told:\n{log[-2000:]}")
    appliance.expect_empty()
    world.close()


@scenario("eap-tls", "EAP-TLS: ECDSA and RSA certificates, TLS 1.2; the certificate names the user")
def eap_tls(context):
    for gateway_certificate, certificate in (("gateway", "client"), ("gateway-rsa", "client-rsa")):
        logs_in(context, ["eap-tls"], "eap-tls", "eap-tls", of=gateway_certificate, certificate=certificate)


@scenario("eap-tls-refused", "EAP-TLS: an expired certificate, and one that names no listed user")
def eap_tls_refused(context):
    is_refused(context, ["eap-tls"], "eap-tls", certificate="client-expired")
    is_refused(context, ["eap-tls"], "eap-tls", {"certificate_user_listed": True}, certificate="client",
               users={"somebody@else.test": PASSWORD})


@scenario("eap-ttls", "EAP-TTLS with EAP-MSCHAPv2, EAP-GTC and EAP-MD5 inside")
def eap_ttls(context):
    for inner in ("mschapv2", "gtc", "md5"):
        logs_in(context, ["eap-ttls"], "eap-ttls", f"eap-ttls/eap-{inner}", {"inner_methods": [f"eap-{inner}"]}, CLEAR,
                plugins=f"eap-ttls {{\nphase2_method = {inner}\nphase2_piggyback = no\n}}")


@scenario("eap-ttls-refused", "EAP-TTLS: a wrong password inside, and an inner method that the gateway does not allow")
def eap_ttls_refused(context):
    inner = "eap-ttls {\nphase2_method = mschapv2\n}"
    is_refused(context, ["eap-ttls"], "eap-ttls", plugins=inner, password="wrong")
    is_refused(context, ["eap-ttls"], "eap-ttls", {"ttls_inner": ["pap"]}, plugins=inner)


@scenario("eap-gtc", "EAP-GTC: the right password, a wrong one")
def eap_gtc(context):
    logs_in(context, ["eap-gtc"], "eap-gtc", "eap-gtc")
    is_refused(context, ["eap-gtc"], "eap-gtc", password="wrong")


@scenario("eap-md5", "EAP-MD5, where the operator has switched it on: the right password, a wrong one")
def eap_md5(context):
    logs_in(context, ["eap-md5"], "eap-md5", "eap-md5", users=CLEAR)
    is_refused(context, ["eap-md5"], "eap-md5", users=CLEAR, password="wrong")


@scenario("eap-nak", "the client refuses what is offered first; the gateway goes on in the operator's order, or gives up")
def eap_nak(context):
    every = ["eap-peap", "eap-tls", "eap-ttls", "eap-mschapv2", "eap-gtc", "eap-md5"]
    for auth, method in (("eap-tls", "eap-tls"), ("eap-mschapv2", "eap-mschapv2"), ("eap-gtc", "eap-gtc"), ("eap-md5", "eap-md5")):
        peer = logs_in(context, every, auth, method, users=CLEAR)
        expect("EAP/RES/NAK" in peer.log(), f"the client refused the first offer:\n{peer.log()[-2000:]}")
    is_refused(context, ["eap-peap", "eap-gtc"], "eap-mschapv2")
