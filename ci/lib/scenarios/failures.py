"""Logins that must fail: each ends with the notify its RFC names and leaves no state."""
from e2e import scenario
from shell import expect


def refused(context, wanted, unwanted=(), **client_options):
    """The client must not get in, its log must show `wanted`, and the gateway must hold nothing afterwards."""
    world = context.world()
    appliance = context.appliance(world)
    worked, log = context.client(world, **client_options).try_connect()
    expect(not worked, "the client must not get in")
    expect(wanted in log, f"the client's log must show {wanted}; it ends with:\n{log[-1500:]}")
    for text in unwanted:
        expect(text not in log, f"the client's log must not show {text}")
    appliance.expect_empty(25)
    # The gateway is as good as before: somebody else gets in.
    context.client(world, world.add_nat_client(2), auth="psk").connect()


@scenario("wrong-password", "EAP-MSCHAPv2 failure, then AUTHENTICATION_FAILED")
def wrong_password(context):
    refused(context, "ERROR_AUTHENTICATION_FAILURE", password="not it", unwanted=("installing new virtual IP",))


@scenario("unknown-user", "looks to the client exactly like a wrong password")
def unknown_user(context):
    refused(context, "ERROR_AUTHENTICATION_FAILURE", user="nobody@example.test", unwanted=("installing new virtual IP",))


@scenario("wrong-psk", "AUTHENTICATION_FAILED")
def wrong_psk(context):
    refused(context, "AUTHENTICATION_FAILED", auth="psk", psk="some other key")


@scenario("expired-certificate", "AUTHENTICATION_FAILED")
def expired_certificate(context):
    refused(context, "AUTHENTICATION_FAILED", auth="cert", certificate="client-expired")


@scenario("no-common-ike-proposal", "NO_PROPOSAL_CHOSEN to IKE_SA_INIT")
def no_common_ike_proposal(context):
    refused(context, "NO_PROPOSAL_CHOSEN", ike="aes192ctr-sha256-modp3072")


@scenario("no-common-esp-proposal", "NO_PROPOSAL_CHOSEN in IKE_AUTH")
def no_common_esp_proposal(context):
    refused(context, "NO_PROPOSAL_CHOSEN", esp="3des-sha1")


@scenario("no-common-selectors", "TS_UNACCEPTABLE in IKE_AUTH")
def no_common_selectors(context):
    refused(context, "TS_UNACCEPT", remote_ts="172.31.0.0/24")
