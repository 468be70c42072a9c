"""What `causeway debug export-keys` writes opens captured packets, and nothing leaves without the configuration's leave."""
import os
import re
import signal

from e2e import scenario
from shell import expect, expect_equal, read, run, wait_until
from traffic import expect_ping
from world import LAN_HOST

PINGS = 5
# One of each kind of ESP suite.
SUITES = {"c1": "aes256gcm16", "c2": "aes128-sha256", "c3": "aes256-sha384"}
# Wireshark's Boolean as a field.
YES = ("1", "True")


def dissect(directory, capture, display, *fields, check=True):
    """tshark's rows of the packets that `display` selects, with the tables in `directory`; one list of fields each."""
    done = run(["env", f"WIRESHARK_CONFIG_DIR={directory}", "tshark", "-r", capture, "-o", "esp.enable_encryption_decode:TRUE",
                "-o", "esp.enable_authentication_check:TRUE", "-Y", display, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=l",
                *[part for field in fields for part in ("-e", field)]], check=check)
    return [line.split("\t") for line in done.stdout.splitlines()]


@scenario("export-keys", "exported keys open captured ESP of three suites and IKE in tshark; a gateway that must not give keys does not")
def export_keys(context):
    world = context.world(nat_clients=len(SUITES))
    users = {f"{name}@example.test": f"secret of {name}" for name in SUITES}
    appliance = context.appliance(world, users=users, extra={"management": {"allow_key_export": True}})
    capture, log = os.path.join(world.directory, "outside.pcap"), "tshark.log"
    # On the gateway's side of the NAT, where the addresses are those of the tables.
    sniffer = world.spawn("wan", ["tshark", "-i", "p-gw", "-F", "pcap", "-w", capture, "-f", "udp"], log)
    wait_until("tshark listens", 20, lambda: "Capture started" in read(os.path.join(world.directory, log))
               or os.path.exists(capture) and os.path.getsize(capture) > 0)
    for name, suite in SUITES.items():
        context.client(world, name, esp=suite, user=f"{name}@example.test", password=f"secret of {name}").connect()
        expect_ping(world, name, count=PINGS)
    tables = os.path.join(world.directory, "wireshark")
    os.makedirs(tables)
    suites = {}
    for session in appliance.sessions():
        out = os.path.join(world.directory, f"keys-{session['id']}")
        run([os.path.join(context.binaries, "causeway"), "debug", "export-keys", "--session", session["id"], "-o", out,
             "--socket", appliance.socket])
        for table in ("esp_sa", "ikev2_decryption_table"):
            path = os.path.join(out, table)
            expect_equal(os.stat(path).st_mode & 0o777, 0o600, f"mode of {path}")
            with open(os.path.join(tables, table), "a", encoding="utf-8") as file:
                file.write(read(path))
        suites[session["inner_address"]] = session["child_sas"][0]["esp_suite"]
        expect("keys of a session were exported" in appliance.log(), "the export is in the log")
    expect_equal(sorted(suites.values()), sorted(SUITES.values()), "suites of the sessions")
    empty = os.path.join(world.directory, "no-keys")
    os.makedirs(empty)
    # The last packet may be cut while tshark writes it.
    wait_until("all pings are captured", 20, lambda: len(dissect(empty, capture, "esp", "esp.spi", check=False)) >= 2 * PINGS * len(SUITES))
    sniffer.send_signal(signal.SIGINT)
    sniffer.wait(10)
    expect_equal(dissect(empty, capture, "icmp", "frame.number"), [], "ICMP that is seen without keys")
    rows = dissect(tables, capture, "icmp && esp", "ip.src", "ip.dst", "icmp.type", "icmp.checksum.status", "esp.icv_good")
    for address, suite in suites.items():
        asked = [row for row in rows if row[:3] == [address, LAN_HOST, "8"]]
        answered = [row for row in rows if row[:3] == [LAN_HOST, address, "0"]]
        expect_equal((len(asked), len(answered)), (PINGS, PINGS), f"echoes of {suite} that tshark opens: {rows}")
        expect(all(row[3] == "1" for row in asked + answered), f"ICMP checksums of {suite}: {rows}")
        if "-" in suite:
            expect(all(row[4] in YES for row in asked + answered), f"ICVs of {suite}: {rows}")
    opened = dissect(tables, capture, "isakmp.exchangetype == 35 && isakmp.typepayload == 41", "frame.number")
    expect(opened, "tshark opens IKE_AUTH messages")


@scenario("export-keys-refused", "without management.allow_key_export no key leaves, and who asked is in the log")
def export_keys_refused(context):
    world = context.world()
    appliance = context.appliance(world)
    context.client(world).connect()
    session = appliance.only_session()["id"]
    out = os.path.join(world.directory, "keys")
    refused = run([os.path.join(context.binaries, "causeway"), "debug", "export-keys", "--session", session, "-o", out, "--socket",
                   appliance.socket], check=False)
    expect(refused.returncode != 0 and "allow_key_export" in refused.stderr, f"it is refused with the remedy: {refused.stderr}")
    expect(not os.path.exists(os.path.join(out, "esp_sa")), "no file is written")
    expect(re.search(r"keys of a session were asked for and refused", appliance.log()), "the attempt is in the log")
