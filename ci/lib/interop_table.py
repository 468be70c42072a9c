"""The document of the interop matrix: written from results, and compared with the matrix without running anything.

A run writes the sections of the clients that it ran wholly; those of other clients stay as they are. A run of some cells may
write, too (`--write`): what it did not run stays as the document has it.
"""
import os
import re

from interop_matrix import AUTHS, CLIENTS, NETWORKS, SUITES, Cell, cells, impossible

DOCUMENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/interop.md")
PASS, FAIL, IMPOSSIBLE, NOT_RUN = "pass", "fail", "not possible", "not run"


def head():
    """What stands above the results; it depends on the matrix only."""
    def listed(entries):
        return "".join(f"| `{name}` | {text} |\n" for name, text in entries)
    return f"""# Interoperability

Written by `./ci/interop`; a test compares its rows with the matrix (`ci/lib/interop_matrix.py`). Each cell is one login of a
stock client with one suite only, and then: pings of several sizes from the client and to it; the Child SA and the IKE SA
rekeyed by the client; both rekeyed by the gateway; pings again; a delete by the client, after which the gateway holds nothing.
What the gateway says of the session (method, suites, NAT, encapsulation) must be what the cell means, and no packet of the
tunnel may be dropped as forged, replayed or foreign.

`pass`, `fail`, `no` (not possible) and `-` (not run yet), with the number of the reason or remark below the table. A ping that a busy machine lost
is sent again, once, and the cell says so. `./ci/interop --quick` runs a subset in
which every pair of values is seen, except authentication with suite (they share no code).

| authentication | |
|---|---|
{listed(AUTHS.items())}
| suite | IKE SA; Child SA |
|---|---|
{listed((name, f"{suite.ike}; {suite.esp}") for name, suite in SUITES.items())}
Networks: `ipv4` and `ipv6` directly, `-nat` behind a NAT that changes ports. Without a NAT, and where the client does not insist
on UDP, ESP is protocol 50.
"""


def section(client, results, facts):
    """One client's section: `results` by cell, `facts` a line on when and with which versions."""
    reasons = []

    def shown(result):
        if result["status"] == PASS and not result["reason"]:
            return "pass"
        if result["status"] == NOT_RUN:
            return "-"
        if result["reason"] not in reasons:
            reasons.append(result["reason"])
        return f"{'no' if result['status'] == IMPOSSIBLE else result['status']} [{reasons.index(result['reason']) + 1}]"
    rows = [[auth, network, *(shown(results[Cell(client, auth, suite, network)]) for suite in SUITES)]
            for auth in AUTHS for network in NETWORKS]
    counts = [sum(results[cell]["status"] == status for cell in results if cell.client == client)
              for status in (PASS, FAIL, IMPOSSIBLE, NOT_RUN)]
    lines = [f"## {client}", "", f"{CLIENTS[client]}.", "", facts, "",
             f"{counts[0]} passed, {counts[1]} failed, {counts[2]} not possible{f', {counts[3]} not run' if counts[3] else ''}.", "",
             "| authentication | network | " + " | ".join(SUITES) + " |", "|---" * (2 + len(SUITES)) + "|"]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += [""] + [f"{number}. {reason}" for number, reason in enumerate(reasons, start=1)]
    return "\n".join(lines).rstrip() + "\n"


def sections(text):
    """The document's sections by client."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    return {part.splitlines()[0][3:]: part for part in parts if part.startswith("## ")}


def known(client):
    """What the document says of a client's cells, {cell: result}, and its lines on when they ran. A cell that it says nothing of, or
    that could not be when it was written and can be now, is not run."""
    results = {cell: {"status": IMPOSSIBLE, "reason": impossible(cell)} if impossible(cell) else {"status": NOT_RUN, "reason": None}
               for cell in cells() if cell.client == client}
    try:
        with open(DOCUMENT, encoding="utf-8") as file:
            text = sections(file.read()).get(client, "")
    except FileNotFoundError:
        text = ""
    reasons = dict(re.findall(r"^(\d+)\. (.+)$", text, flags=re.MULTILINE))
    rows = [[word.strip() for word in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    suites = rows[0][2:] if rows else []
    for auth, network, *shown in rows[2:]:
        for suite, word in zip(suites, shown):
            cell, found = Cell(client, auth, suite, network), re.fullmatch(r"(pass|fail)(?: \[(\d+)\])?", word)
            if found and results.get(cell, {}).get("status") == NOT_RUN:
                results[cell] = {"status": found[1], "reason": reasons.get(found[2] or "")}
    # Without the two spaces that end a line of the document: who writes them anew adds their own.
    return results, [line.rstrip() for line in re.findall(r"^(?:Run on|Cells of) .+$", text, flags=re.MULTILINE)]


def write(new):
    """Replaces the sections of `new`, {client: text}."""
    try:
        with open(DOCUMENT, encoding="utf-8") as file:
            old = sections(file.read())
    except FileNotFoundError:
        old = {}
    both = {**old, **new}
    text = "\n".join([head()] + [both[client].rstrip() + "\n" for client in CLIENTS if client in both])
    with open(DOCUMENT, "w", encoding="utf-8") as file:
        file.write(text)


def faults():
    """What of the committed document is not what the matrix says: a list of sentences, empty if all is well."""
    with open(DOCUMENT, encoding="utf-8") as file:
        text = file.read()
    found, wrong = sections(text), []
    if text.split("\n## ")[0].strip() != head().strip():
        wrong.append("the text above the results is not the one that the matrix makes")
    for name in found:
        if name not in CLIENTS:
            wrong.append(f"{name}: the matrix has no such client")
    for client in CLIENTS:
        if client not in found:
            wrong.append(f"{client}: has no section")
        else:
            wrong += section_faults(client, found[client])
    return wrong


def section_faults(client, text):
    """The same for one client's section."""
    lines = [[word.strip() for word in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    reasons = dict(re.findall(r"^(\d+)\. (.+)$", text, flags=re.MULTILINE))
    if not lines or lines[0] != ["authentication", "network", *SUITES]:
        return [f"{client}: the columns are not the suites of the matrix"]
    wanted = [(auth, network) for auth in AUTHS for network in NETWORKS]
    if [tuple(line[:2]) for line in lines[2:]] != wanted:
        return [f"{client}: the rows are not every authentication with every network"]
    wrong = []
    for auth, network, *shown in lines[2:]:
        if len(shown) != len(SUITES):
            wrong.append(f"{client} / {auth} / {network}: wanted {len(SUITES)} results, got {len(shown)}")
            continue
        for suite, text in zip(SUITES, shown):
            cell = Cell(client, auth, suite, network)
            kind, number = re.fullmatch(r"(\w+|-)(?: \[(\d+)\])?", text).groups() if re.fullmatch(r"(\w+|-)(?: \[\d+\])?", text) else ("", "")
            reason = reasons.get(number or "")
            if impossible(cell):
                good = kind == "no" and reason == impossible(cell)
            else:
                good = (kind in ("pass", "-") and number is None) or (kind in ("pass", "fail") and reason is not None)
            if not good:
                wrong.append(f"{cell}: `{text}` ({reason}); the matrix says: {impossible(cell) or 'it can be'}")
    return wrong


assert len(set(cells())) == len(CLIENTS) * len(AUTHS) * len(SUITES) * len(NETWORKS)
