"""EAP alone (RFC 5998): strongSwan asks for no certificate of the gateway, FreeRADIUS proves itself to it inside EAP."""
from e2e import scenario
from pki import USER
from radius import SERVER_NAME, Radius
from scenarios.radius import gateway
from shell import expect, expect_equal, wait_until
from traffic import expect_ping

ALLOWED = {"auth": {"methods": ["eap-radius"], "eap_only": True}}


@scenario("eap-only", "EAP-TLS and EAP-TTLS prove both sides; methods that do not are refused")
def eap_only(context):
    world = context.world()
    radius = Radius(world, context.certificates).start()
    appliance = gateway(context, world, [radius.server()], extra=ALLOWED)
    for number, auth in enumerate(("eap-tls", "eap-ttls"), start=10):
        name = world.add_nat_client(number)
        client = context.client(world, name, auth=auth, aaa_id=SERVER_NAME, gateway_auth="eap").connect()
        session = appliance.only_session()
        expect_equal((session["user"], session["ike"]["auth_sign"]), (USER, "EAP"), f"user, and the gateway's proof, by {auth}")
        expect("N(EAP_ONLY)" in client.log(), f"the client asks for EAP alone: {client.log_path}")
        answer = next(line for line in client.log().splitlines() if "parsed IKE_AUTH response 1 " in line)
        expect("AUTH" not in answer.split("[", 2)[-1] and "CERT" not in answer, f"nothing is signed in the first answer: {answer}")
        expect_ping(world, name, count=3)
        client.control("--terminate", "--ike", "home")
        client.stop()
        wait_until(f"the session of {auth} is gone", 10, lambda: not appliance.sessions())
    # strongSwan asks for EAP alone with every EAP method, also where it is configured to want a certificate.
    for number, (auth, proof) in enumerate((("eap-md5", "eap"), ("eap-mschapv2", "eap"), ("eap-mschapv2", "pubkey")), start=20):
        name = world.add_nat_client(number)
        client = context.client(world, name, auth=auth, gateway_auth=proof)
        connected, log = client.try_connect()
        expect(not connected and "AUTH_FAILED" in log, f"{auth} proves no gateway: {client.log_path}")
        client.stop()
    expect_equal(appliance.counters()["ike"]["ike_method_refused"], 3, "refused for the method")
    appliance.expect_empty()
