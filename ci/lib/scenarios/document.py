"""The published example of Auto Reconnect, replayed: its configuration imported, its show commands compared line by line."""
import os
import re

from e2e import scenario
from scenarios.reconnect import Echo, statistics, wait_inactive
from shell import expect, expect_equal, run
from traffic import expect_ping
from vpn_client import VpnClient

# What `show crypto session detail` prints in the document, with what differs from lab to lab as patterns.
SESSION_DETAIL = r"""Crypto session current status
Code: C - IKE Configuration mode, D - Dead Peer Detection
K - Keepalives, N - NAT-traversal, T - cTCP encapsulation
X - IKE Extended Authentication, F - IKE Fragmentation
R - IKE Auto Reconnect
Interface: Virtual-Access{access}
Profile: AnyConnect-EAP
Uptime: 00:\d\d:\d\d
Session status: UP-ACTIVE
Peer: {peer} port \d+ fvrf: \(none\) ivrf: \(none\)
Phase1_id: {identity}
Desc: \(none\)
Session ID: \d+
IKEv2 SA: local 10\.99\.1\.1/4500 remote {peer}/\d+ Active
Capabilities:{letters} connid:1 lifetime:(24:00:00|23:5\d:\d\d)
IPSEC FLOW: permit ip 0\.0\.0\.0/0\.0\.0\.0 host 192\.168\.20\.5
Active SAs: 2, origin: crypto map
Inbound: #pkts dec'ed \d+ drop (\d+|-) life \(KB/Sec\) \d+/\d+
Outbound: #pkts enc'ed \d+ drop (\d+|-) life \(KB/Sec\) \d+/\d+"""
# Lines of `show crypto ikev2 session detailed` that say who the peer is and how both proved themselves.
IKEV2_SESSION = [r"Status:UP-ACTIVE, IKE count:1, CHILD count:1",
                 r"Encr: AES-CBC, keysize: 256, PRF: SHA512, Hash: SHA512, DH Grp:19, Auth sign: {sign}, Auth verify: {verify}",
                 r"Life/Active Time: 86400/\d+ sec", r"Remote id: {identity}", r"DPD configured for 45 seconds, retry 2",
                 r"NAT-T is detected outside", r"Assigned host addr: 192\.168\.20\.5", r"Initiator of SA : No",
                 r"local selector 0\.0\.0\.0/0 - 255\.255\.255\.255/65535",
                 r"remote selector 192\.168\.20\.5/0 - 192\.168\.20\.5/65535",
                 r"Encr: AES-CBC, keysize: 256, esp_hmac: SHA384"]


def compare(shown, patterns, what):
    """Every line of `shown` must match its pattern, in order; blank lines and indentation do not count."""
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    for line, pattern in zip(lines, patterns):
        expect(re.fullmatch(pattern, line), f"{what}: line `{line}` is not like the document's `{pattern}` in\n{shown}")
    expect_equal(len(lines), len(patterns), f"lines of {what}\n{shown}")


def compare_session(appliance, access, peer, identity, letters, verify):
    """Both show commands against the document."""
    fill = {"access": access, "peer": re.escape(peer), "identity": identity, "letters": letters}
    compare(appliance.show("crypto", "session", "detail"),
            [pattern.format(**fill) for pattern in SESSION_DETAIL.splitlines()], "show crypto session detail")
    shown = appliance.show("crypto", "ikev2", "session", "detailed")
    for pattern in IKEV2_SESSION:
        wanted = pattern.format(identity=identity, sign="RSA", verify=verify)
        expect(re.search(wanted, shown), f"show crypto ikev2 session detailed lacks `{wanted}`:\n{shown}")
    expect_equal("Remote EAP id: user1" in shown, verify != "PSK", f"the EAP id in\n{shown}")


def imported(context, world):
    """The document's configuration, imported and its blanks filled in, written to the appliance's place."""
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), *[".."] * 3, "controlplane/cli/tests/data")
    with open(os.path.join(here, "reconnect-headend.ios"), encoding="utf-8") as file:
        text = file.read() + "\nusername user1 password 0 cisco\n"
    source, target = os.path.join(world.directory, "headend.ios"), os.path.join(world.directory, "imported.toml")
    with open(source, "w", encoding="utf-8") as file:
        file.write(text)
    explained = run([os.path.join(context.binaries, "causeway"), "config", "import-ios", source, "-o", target])
    expect("reconnect timeout 900" in explained.stdout, f"the import explains each line:\n{explained.stdout[-2000:]}")
    with open(target, encoding="utf-8") as file:
        toml = file.read()
    fills = {"#identity = ": 'identity = "vpn.example.test"', "certificate_file = ":
             f'certificate_file = "{context.certificates}/gateway-rsa.pem"',
             "private_key_file = ": f'private_key_file = "{context.certificates}/gateway-rsa.key"'}
    lines, ports = [], iter([("net_af_packet0,iface=wan0", "10.99.1.1/24"), ("net_af_packet1,iface=lan0", "192.168.10.1/24")])
    port = None
    for line in toml.splitlines():
        if line == "[[port]]":
            port = next(ports)
        for start, value in fills.items():
            if line.startswith(start):
                line = value
        if line.startswith("#device = "):
            line = f'device = "{port[0]}"'
        if line.startswith("#address = ") and port:
            line = f'address = "{port[1]}"'
        lines.append(line)
    return "\n".join(lines) + "\n"


@scenario("document-replay", "the published example: imported configuration, login of user1, both show outputs, sleep past DPD, resume elsewhere")
def document_replay(context):
    world = context.world()
    # The document's LAN behind the gateway.
    world.exec("lan", "ip", "addr", "add", "192.168.10.2/24", "dev", "eth0")
    world.exec("lan", "ip", "route", "replace", "default", "via", "192.168.10.1")
    appliance = context.appliance(world, start=False)
    toml = imported(context, world).replace("[gateway]\n", f'[gateway]\nrun_directory = "{appliance.run_directory}"\n', 1)
    with open(appliance.config_path, "w", encoding="utf-8") as file:
        file.write(toml + f"""
[dataplane]
cores = [{os.cpu_count() - 1}]
hugepages = "never"
memory_mib = 256
buffers = 16384
sa_capacity = 1024
idle_sleep_usecs = 50

[management]
socket = "{appliance.socket}"
""")
    appliance.start()
    user = VpnClient(world, "c1", context.certificates, context.binaries, ike={"fragmentation": False}).start()
    expect_equal(user.status()["address"], "192.168.20.5", "the first address of the document's pool")
    expect_ping(world, "c1", target="192.168.10.2")
    echo = Echo(world, "c1", "192.168.10.2")
    echo.check()
    compare_session(appliance, 1, "10.99.1.3", r"\*\$AnyConnectClient\$\*", "DN", "AnyConnect-EAP")
    expect_equal(statistics(appliance), [0, 0, 0, 1, 0], "show crypto ikev2 stats reconnect before")
    user.suspend()
    wait_inactive(appliance, seconds=120)
    world.rebind_nat()
    expect_equal(user.resume()["address"], "192.168.20.5", "inner address after the resume")
    session_id = user.reconnect_ids()[-1]
    compare_session(appliance, 2, "10.99.1.4", session_id.encode().hex().upper(), "DNR", "PSK")
    shown = appliance.show("crypto", "ikev2", "stats", "reconnect")
    expect_equal([line.strip() for line in shown.splitlines() if line.strip()], [
        "Total incoming reconnect connection: 1", "Success reconnect connection: 1", "Failed reconnect connection: 0",
        "Reconnect capable active session count: 1", "Reconnect capable inactive session count: 0"],
        "show crypto ikev2 stats reconnect after")
    expect_ping(world, "c1", target="192.168.10.2")
    echo.check()
