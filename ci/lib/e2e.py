"""Runs the end-to-end scenarios. Started by `ci/e2e`; each scenario is a function in `scenarios/` with a line of text."""
import argparse
import importlib
import json
import os
import pkgutil
import shutil
import signal
import sys
import time
import traceback

import pki
import scenarios
from shell import Failure

REGISTRY = {}


def scenario(name, text):
    """Declares a scenario: `name` for the command line, `text` for `--list`."""
    def register(function):
        assert name not in REGISTRY, f"two scenarios are called {name}"
        REGISTRY[name] = (text, function)
        return function
    return register


class Context:
    """What a scenario gets: where binaries, certificates and logs are. Worlds made through it are closed at its end."""

    def __init__(self, binaries, certificates, directory):
        self.binaries, self.certificates, self.directory = binaries, certificates, directory
        self.closers, self.appliances, self.witnesses = [], [], []

    def world(self, **options):
        """A new set of namespaces."""
        from world import World
        world = World(os.path.join(self.directory, f"world{len(self.closers)}"), **options)
        self.closers.append(world.close)
        return world

    def appliance(self, world, start=True, **options):
        """A new appliance in `world`, running."""
        from appliance import Appliance
        appliance = Appliance(world, self.certificates, self.binaries, **options)
        self.appliances.append(appliance)
        return appliance.start() if start else appliance

    def client(self, world, namespace="c1", **options):
        """A new strongSwan client, started but not connected."""
        from swan import Client
        return Client(world, namespace, self.certificates, **options).start()

    def guest(self, world):
        """A guest kernel in `world`, running."""
        from uml import Guest
        guest = Guest(world)
        self.witnesses.append(lambda: guest.run("ip -s link; ip -s xfrm state; cat /proc/net/snmp /proc/net/xfrm_stat",
                                                check=False, timeout=10).stdout)
        return guest

    def keep_evidence(self):
        """What is still alive of a failed scenario tells how it stands; best effort."""
        witnesses = [lambda one=one: json.dumps([one.counters(), one.sessions()], indent=1) for one in self.appliances]
        for number, witness in enumerate(witnesses + self.witnesses):
            try:
                with open(os.path.join(self.directory, f"evidence-{number}.txt"), "w", encoding="utf-8") as file:
                    file.write(witness())
            except (Failure, OSError, ValueError) as gone:
                print(f"  (no evidence {number}: {gone})", flush=True)

    def close(self):
        """Ends everything the scenario started."""
        for closer in reversed(self.closers):
            closer()


def load():
    """Imports every module of `scenarios/`, which fills the registry."""
    for module in pkgutil.iter_modules(scenarios.__path__):
        importlib.import_module(f"scenarios.{module.name}")


def main():
    parser = argparse.ArgumentParser(prog="ci/e2e")
    parser.add_argument("--bin")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    load()
    if options.list:
        width = max(map(len, REGISTRY))
        for name, (text, _) in REGISTRY.items():
            print(f"{name:<{width}}  {text}")
        return 0
    unknown = [name for name in options.names if name not in REGISTRY]
    if unknown:
        print(f"no scenario is called {', '.join(unknown)}; `ci/e2e --list` names them", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    root = os.path.join("/var/tmp", f"causeway-e2e-{os.getpid()}")
    os.makedirs(root)
    certificates = pki.make(os.path.join(root, "pki"))
    passed = failed = 0
    for name in options.names or REGISTRY:
        good = run_one(name, options.bin, certificates, os.path.join(root, name))
        passed, failed = passed + good, failed + (not good)
    if not failed:
        shutil.rmtree(root)
    print(f"{passed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


def run_one(name, binaries, certificates, directory):
    """Runs one scenario; prints its line; returns whether it passed."""
    context = Context(binaries, certificates, directory)
    start, error = time.monotonic(), None
    try:
        REGISTRY[name][1](context)
    except Failure as failure:
        error = str(failure)
    except Exception:  # a bug of the harness is a failure of the scenario, with its trace
        error = traceback.format_exc()
    finally:
        if error is not None:
            context.keep_evidence()
        try:
            context.close()
        except Failure as failure:
            error = f"{error or ''}\nclean-up: {failure}"
    seconds = time.monotonic() - start
    if error is None:
        shutil.rmtree(directory, ignore_errors=True)
        print(f"ok {name} ({seconds:.1f} s)", flush=True)
        return True
    kept = os.path.join(os.getcwd(), ".e2e", name)
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(directory, kept, ignore=lambda folder, names: [
        one for one in names if not (os.path.isfile(os.path.join(folder, one)) or os.path.isdir(os.path.join(folder, one)))],
        symlinks=True)
    print(f"FAIL {name} ({seconds:.1f} s): {error}\n  logs: {kept}", flush=True)
    return False


if __name__ == "__main__":
    # Scenario modules import `e2e`; it must be this very module, not a second copy.
    sys.modules["e2e"] = sys.modules["__main__"]
    sys.exit(main())
