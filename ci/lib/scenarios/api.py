"""The live API beside its OpenAPI document: generated requests, with every right and without any."""
import os
import re

from e2e import scenario
from shell import Failure, expect, read, run
from swan import PASSWORD

VERSION = "4.26.0"
PORT = 8443
DOCUMENT = os.path.join(os.path.dirname(__file__), "../../openapi/causeway-v1.json")
# Below the gateway's own limit, which is tested elsewhere.
RATE = "40/s"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
# Who has no rights may be told to slow down (429) before anybody looks at the method.
ADMIN_CHECKS = f"{CHECKS},unsupported_method"


def program():
    """Where `install_schemathesis` of install.sh has put it."""
    target = os.environ.get("CARGO_TARGET_DIR") or os.path.join(os.path.dirname(__file__), "../../../target")
    path = os.path.join(os.path.abspath(target), f"schemathesis-{VERSION}", "bin", "schemathesis")
    if not os.path.exists(path):
        raise Failure(f"{path} is missing: `source ci/lib/install.sh; install_schemathesis` puts it there")
    return path


@scenario("api-schema", "requests generated from the OpenAPI document, with an admin's token and without: no 5xx, no answer beside the document")
def api_schema(context):
    world = context.world()
    certificate, key = (os.path.join(context.certificates, f"gateway.{kind}") for kind in ("pem", "key"))
    management = {"listen": "127.0.0.1", "port": PORT, "certificate_file": certificate, "private_key_file": key}
    appliance = context.appliance(world, extra={"management": management})
    context.client(world).connect()
    command = [os.path.join(context.binaries, "causeway"), "token", "create", "--socket", appliance.socket, "--name", "schema", "--role"]
    token = run([*command, "admin"]).stdout.strip()
    expect(re.fullmatch(r"cway_[0-9a-f]{12}_[0-9a-f]{64}", token), "`causeway token create` prints a token")
    bearer = ["-H", f"Authorization: Bearer {token}"]
    for rights, phases, checks, header in (("admin", "coverage,fuzzing", ADMIN_CHECKS, bearer), ("nobody", "coverage", CHECKS, [])):
        done = world.exec(
            # It keeps what it has found in the directory that it is started in.
            "gw", "sh", "-c", 'cd "$0" && exec "$@"', world.directory, program(), "run", os.path.abspath(DOCUMENT), "--url", f"https://127.0.0.1:{PORT}", "--tls-verify", "false",
            "--checks", checks, "--phases", phases, "--max-examples", "10", "--rate-limit", RATE, "--generation-deterministic",
            "--no-color", "--warnings", "off", "--workers", "1", *header, check=False, timeout=300)
        log = os.path.join(world.directory, f"schemathesis-{rights}.log")
        with open(log, "w", encoding="utf-8") as file:
            file.write(done.stdout + done.stderr)
        if done.returncode != 0:
            raise Failure(f"schemathesis ({rights}) ended with {done.returncode}:\n{read(log)[-4000:]}")
        generated = re.search(r"(\d+) generated", done.stdout)
        expect(generated and int(generated.group(1)) > 100, f"more than 100 requests ({rights}): {done.stdout[-500:]}")
    counters = appliance.counters()["ike"]
    expect(counters["driver_panics_caught"] == 0, "no panic was caught")
    expect(appliance.health()["status"] == "ok", "the appliance is well afterwards")
    expect(PASSWORD not in appliance.log(), "the log holds no password")
