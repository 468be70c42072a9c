"""Runs the interop matrix. Started by `ci/interop`; the matrix is `interop_matrix.py`, the document `interop_table.py`."""
import argparse
import json
import os
import shutil
import signal
import sys
import time
import traceback

import interop_table as table
import pki
from interop_matrix import Cell, CLIENTS, NETWORKS, SUITES, brief, cells, impossible, quick
from shell import Failure, expect, expect_equal, say, wait_until

CELL_SECS = 90
SITE_SECS = 150
FORGED = {"bad_icv", "replay", "bad_esp_format", "selector_mismatch"}


def check(site, cell):
    """One cell, from the login to the delete; fails with what is wrong, returns what is worth a remark."""
    appliance, suite = site.appliance, SUITES[cell.suite]
    drops = appliance.drops()
    site.take(cell)
    site.peer.connect()
    session = wait_until("the gateway has one session", 10, lambda: appliance.sessions() and appliance.only_session())
    child = session["child_sas"][0]
    udp = site.network.nat or not site.guest
    expect_equal((session["auth_method"], session["ike_suite"], child["esp_suite"], child["encapsulation"], session["nat_detected"]),
                 (site.method(cell.auth), suite.ike, suite.esp, "udp" if udp else "esp", udp),
                 "method, IKE suite, ESP suite, encapsulation, NAT")
    site.pings(session)
    for what, show in (("child", lambda one: sorted(child["inbound_spi"] for child in one["child_sas"])), ("ike", lambda one: one["ike_spis"])):
        for who in ("client", "gateway"):
            rekey(site, what, who, show)
    site.pings(session)
    site.leave()
    appliance.expect_empty()
    grown = {name: count for name, count in appliance.drops().items() if name in FORGED and count != drops.get(name, 0)}
    expect(not grown, f"packets of the tunnel were dropped: {grown}")
    return "a ping was lost and sent again" if site.repeated else None


def rekey(site, what, who, show):
    """A rekey by one side: afterwards one session with one Child SA, and other SPIs."""
    session = site.appliance.only_session()
    before = show(session)
    if who == "client":
        site.rekey(what)
    else:
        site.appliance.request("POST", f"/v1/sessions/{session['id']}/rekey", {"what": what})

    def rekeyed():
        now = [one for one in site.appliance.sessions() if one["state"] == "active"]
        return len(now) == 1 and len(now[0]["child_sas"]) == 1 and show(now[0]) != before
    wait_until(f"the {what} SA is rekeyed by the {who}", 15, rekeyed, poll=0.05)


class Runner:
    """Runs cells one after another, on as few sites as they need."""

    def __init__(self, binaries, root, kept):
        from interop_peers import Site, site_key
        self.binaries, self.root, self.kept = binaries, root, kept
        self.make, self.key_of = Site, site_key
        self.site, self.key, self.serial = None, None, 0
        self.certificates = pki.make(os.path.join(root, "pki"))

    def run(self, cell):
        """The result of one cell."""
        from interop_peers import why
        reason = impossible(cell)
        if reason:
            return {"status": table.IMPOSSIBLE, "reason": reason, "seconds": 0.0}
        start, text, remark = time.monotonic(), None, None
        try:
            if self.key != self.key_of(cell):
                self.leave_site()
                self.limit(SITE_SECS, "the network, the gateway and the client were not ready")
                self.serial += 1
                self.site = self.make(cell, os.path.join(self.root, f"site{self.serial}"), self.certificates, self.binaries)
                self.key = self.key_of(cell)
            start = time.monotonic()
            self.limit(CELL_SECS, "the cell did not end")
            remark = check(self.site, cell)
        except Failure as failure:
            reason, text = why(failure), str(failure)
        except (OSError, ValueError, KeyError, IndexError):
            text = traceback.format_exc()
            reason = f"the harness: {text.splitlines()[-1]}"
        finally:
            signal.alarm(0)
        if text is not None:
            self.keep(cell, text)
            self.leave_site()
        return {"status": table.PASS if reason is None else table.FAIL, "reason": reason or remark, "seconds": round(time.monotonic() - start, 1)}

    @staticmethod
    def limit(seconds, what):
        """Whatever runs now fails after `seconds`."""
        def late(*_):
            raise Failure(f"{what} within {seconds} s")
        signal.signal(signal.SIGALRM, late)
        signal.alarm(seconds)

    def keep(self, cell, text):
        """What a failed cell leaves to read."""
        os.makedirs(self.kept, exist_ok=True)
        with open(os.path.join(self.kept, str(cell).replace(" / ", "_") + ".txt"), "w", encoding="utf-8") as file:
            file.write(f"{text}\n{self.site.evidence() if self.site else ''}")

    def leave_site(self):
        """Ends the site, if there is one."""
        site, self.site, self.key = self.site, None, None
        if site:
            site.close()


def merge(paths):
    """Writes the sections of the clients that these files hold all cells of. A cell that is in several has its last result, and a
    remark of what it was before if that was another."""
    results, seconds, known, date = {}, dict.fromkeys(CLIENTS, 0.0), None, None
    runs = {client: set() for client in CLIENTS}
    for path in paths:
        with open(path, encoding="utf-8") as file:
            run = json.load(file)
        if known not in (None, run["versions"]):
            print(f"{path}: has other versions than the files before: {run['versions']}, not {known}", file=sys.stderr)
            return 2
        known, date = run["versions"], run["date"][:10]
        for one in run["cells"]:
            cell = Cell(*(one[name] for name in ("client", "auth", "suite", "network")))
            before = results.get(cell)
            if before and before["status"] != one["status"]:
                one = {**one, "reason": f"{one['reason'] + '; ' if one['reason'] else ''}an earlier run: {before['status']}"
                                        f"{' (' + before['reason'] + ')' if before['reason'] else ''}"}
            results[cell] = one
            runs[cell.client].add(path)
            seconds[cell.client] += one["seconds"]
    clients = [client for client in CLIENTS if all(cell in results for cell in cells() if cell.client == client)]
    table.write({client: table.section(client, results, facts(known, client, seconds[client], date, len(runs[client]))) for client in clients})
    print(f"written: {', '.join(clients) or 'nothing, because no client has all of its cells in these files'}")
    return 0 if clients else 2


def write_some(results, known, spent):
    """Puts the results of some cells into the document."""
    new = {}
    for client in CLIENTS:
        mine = {cell: result for cell, result in results.items() if cell.client == client and result["status"] != table.IMPOSSIBLE}
        if mine:
            old, lines = table.known(client)
            networks = ", ".join(name for name in NETWORKS if any(cell.network == name for cell in mine))
            run = facts(known, client, spent[client]).removeprefix("Run on ")
            lines = [line for line in lines if not line.startswith(f"Cells of {networks} ")]
            new[client] = table.section(client, {**old, **mine}, "  \n".join([*lines, f"Cells of {networks} ({len(mine)}): {run}"]))
    table.write(new)


def facts(versions, client, seconds, date=None, runs=1):
    """When and with which versions a client's cells ran, and of how many runs their results were put together."""
    peer, _, kernel = client.partition("-")
    with_kernel = f", User-Mode Linux {versions['user-mode-linux']}" if kernel == "kernel" else ""
    return (f"Run on {date or time.strftime('%Y-%m-%d')} in {seconds:.0f} s: Causeway {versions['causeway']}, "
            f"{'strongSwan' if peer == 'strongswan' else 'libreswan'} {versions[peer]}{with_kernel}."
            f"{f' Put together of {runs} runs.' if runs > 1 else ''}")


def main():
    parser = argparse.ArgumentParser(prog="ci/interop", description="The interop matrix; without options all of it, into docs/interop.md.")
    parser.add_argument("--bin", help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="a pairwise subset; the document stays as it is")
    parser.add_argument("--brief", action="store_true", help="every client on every network, every method and suite once")
    parser.add_argument("--json", action="store_true", help="results as JSON on standard output")
    parser.add_argument("--list", action="store_true", help="print the cells and run nothing")
    parser.add_argument("--check", action="store_true", help="compare the document with the matrix and run nothing")
    parser.add_argument("--client", action="append", choices=list(CLIENTS), help="this client only (may be repeated)")
    parser.add_argument("--network", action="append", choices=list(NETWORKS), help="this network only; the document stays as it is")
    parser.add_argument("--write", action="store_true", help="write what a run of some cells says into the document, which keeps the others")
    parser.add_argument("--merge", nargs="+", metavar="FILE",
                        help="run nothing: write the document from results of --json, such as of runs side by side")
    parser.add_argument("--only", action="append", default=[], metavar="TEXT",
                        help="only cells whose name has TEXT (may be repeated: all of them); the document stays as it is")
    options = parser.parse_args()
    if options.check:
        wrong = table.faults()
        print("\n".join(wrong) if wrong else "docs/interop.md is what the matrix says", flush=True)
        return 1 if wrong else 0
    chosen = [cell for cell in (brief() if options.brief else quick() if options.quick else cells())
              if (not options.client or cell.client in options.client)
              and (not options.network or cell.network in options.network) and all(text in str(cell) for text in options.only)]
    if options.merge:
        return merge(options.merge)
    if options.list:
        for cell in chosen:
            print(f"{cell}{f'  (not possible: {impossible(cell)})' if impossible(cell) else ''}")
        return 0
    if not chosen:
        print("no cell has such a name; `ci/interop --list` prints them", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    root = os.path.join("/var/tmp", f"causeway-interop-{os.getpid()}")
    os.makedirs(root)
    return run_all(chosen, options, root)


def run_all(chosen, options, root):
    """Runs these cells and writes what they said."""
    from interop_peers import versions
    runner = Runner(options.bin, root, os.path.join(os.getcwd(), ".interop"))
    results, spent, real, done = {}, dict.fromkeys(CLIENTS, 0.0), [cell for cell in chosen if not impossible(cell)], 0
    start = time.monotonic()
    try:
        # Cells of one site stand together: sites are dear.
        order = {name: number for number, name in enumerate([*CLIENTS, *NETWORKS])}
        for cell in sorted(chosen, key=lambda cell: (order[cell.client], order[cell.network], runner.key_of(cell)[2])):
            begun = time.monotonic()
            result = results[cell] = runner.run(cell)
            if result["status"] != table.IMPOSSIBLE:
                done += 1
                spent[cell.client] += time.monotonic() - begun
                left = (time.monotonic() - start) / done * (len(real) - done)
                say(f"[{done}/{len(real)}, {left:.0f} s left] {cell}: {result['status']} ({result['seconds']} s)"
                    f"{': ' + result['reason'] if result['reason'] else ''}")
    finally:
        runner.leave_site()
        shutil.rmtree(root, ignore_errors=True)
    known = versions(options.bin)
    if options.write:
        write_some(results, known, spent)
    elif not (options.quick or options.brief or options.only or options.network):
        table.write({client: table.section(client, results, facts(known, client, spent[client]))
                     for client in CLIENTS if not options.client or client in options.client})
    counts = {status: sum(result["status"] == status for result in results.values()) for status in (table.PASS, table.FAIL, table.IMPOSSIBLE)}
    if options.json:
        print(json.dumps({"date": time.strftime("%Y-%m-%dT%H:%M:%S%z"), "versions": known, "seconds": round(time.monotonic() - start, 1),
                          "counts": counts, "cells": [{**cell.__dict__, **results[cell]} for cell in chosen]}, indent=1))
    else:
        print(", ".join(f"{count} {status}" for status, count in counts.items()) + f" in {time.monotonic() - start:.0f} s", flush=True)
    return 1 if counts[table.FAIL] else 0


if __name__ == "__main__":
    sys.exit(main())
