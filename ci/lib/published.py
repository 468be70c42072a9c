"""The published example's show output (controlplane/cli/tests/data/published/), as what each line of ours must be like.

Three tables say where ours may differ, and nothing else may: what is a fact of a run, where the example contradicts itself,
and where we deviate. Deviations stand in docs/operator.md, too.
"""
import os
import re

from shell import expect, expect_equal, read

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = os.path.join(HERE, *[".."] * 2, "controlplane/cli/tests/data/published")
MANUAL = os.path.join(HERE, *[".."] * 2, "docs/operator.md")

# What the example has as this, we have as that: addresses, numbers, SPIs, times and counters. Names in braces are filled in.
FACTS = [
    (r"10\.106\.45\.225", "{gateway}"),
    (r"10\.106\.69\.69/\d+", r"{peer}/\d+"),
    (r"10\.106\.69\.69 port \d+", r"{peer} port \d+"),
    (r"Virtual-Access\d+", "Virtual-Access{serial}"),
    (r"Session ID: \d+", "Session ID: {serial}"),
    (r"Session-id:\d+", "Session-id:{serial}"),
    (r"CE id: \d+, Session-id: \d+", "CE id: {ce}, Session-id: {serial}"),
    (r"724955484B63634452695574465441547771", "{session_id}"),
    (r"Uptime: \d\d:\d\d:\d\d", r"Uptime: 00:\d\d:\d\d"),
    (r"lifetime:\d\d:\d\d:\d\d", r"lifetime:(24:00:00|23:5\d:\d\d)"),
    (r"#pkts (dec|enc)'ed \d+", r"#pkts (dec|enc)'ed \d+"),
    (r"\(KB/Sec\) \d+/\d+", r"\(KB/Sec\) (4608000|4607\d\d\d)/(3600|3[0-5]\d\d)"),
    (r"86400/\d+ sec", r"86400/\d{{1,4}} sec"),
    (r"Local spi: [0-9A-F]{16} Remote spi: [0-9A-F]{16}", "Local spi: [0-9A-F]{{16}} Remote spi: [0-9A-F]{{16}}"),
    (r"ESP spi in/out: 0x[0-9A-F]+/0x[0-9A-F]+", "ESP spi in/out: 0x[1-9A-F][0-9A-F]*/0x[1-9A-F][0-9A-F]*"),
    (r"Remote (req msg id|next msg id|req queued): \d+", r"Remote (req msg id|next msg id|req queued): \d+"),
]
# The example was put together from several runs: what it says in one place, and what it says of the same thing elsewhere.
CONTRADICTIONS = [
    ("host 10.10.10.1", "host 192.168.20.5"),
    ("Session-id:39,", "Session-id:17,"),
]
# The example's line, ours, and why.
DEVIATIONS = [
    ("Local window: 5", "Local window: 1", "the gateway takes one request of a client at a time and announces no larger window"),
]


class Published:
    """Compares, and remembers which rows of the tables were needed."""

    def __init__(self):
        self.used = set()

    def text(self, name):
        """The example's lines, without its contradictions."""
        text = read(os.path.join(TEXTS, f"{name}.txt"))
        expect(text, f"the example has {name}")
        for wrong, right in CONTRADICTIONS:
            if wrong in text:
                self.used.add(wrong)
                text = text.replace(wrong, right)
        return text.splitlines()

    def pattern(self, line, facts):
        """What a line of ours must match in full."""
        for theirs, ours, _ in DEVIATIONS:
            if theirs in line:
                self.used.add(theirs)
                line = line.replace(theirs, ours)
        place, pattern = 0, ""
        while place < len(line):
            found = [(match.start(), -match.end(), match, ours) for theirs, ours in FACTS
                     for match in [re.compile(theirs).search(line, place)] if match]
            if not found:
                break
            _, _, match, ours = min(found, key=lambda one: one[:2])
            self.used.add(match.re.pattern)
            pattern += re.escape(line[place:match.start()]) + ours.format(**{key: re.escape(str(value)) for key, value in facts.items()})
            place = match.end()
        return pattern + re.escape(line[place:])

    def compare(self, shown, lines, facts, what):
        """Every line of `shown` must be like the example's, in order; blank lines and indentation do not count."""
        ours = [line.strip() for line in shown.splitlines() if line.strip()]
        for line, published in zip(ours, lines):
            pattern = self.pattern(published.strip(), facts)
            expect(re.fullmatch(pattern, line), f"{what}: `{line}` is not like the example's `{published}` ({pattern}) in\n{shown}")
        expect_equal(len(ours), len(lines), f"lines of {what}\n{shown}")
        # The example's three Message IDs of a quiet client are one.
        remote = re.findall(r"Remote (?:req msg id|next msg id|req queued): (\d+)", shown)
        expect_equal(len(set(remote)), min(len(remote), 1), f"Message IDs of the client in {what}: {remote}")

    def nothing_left_over(self):
        """A row that no line needs is a row too many, and the manual names every deviation."""
        rows = {theirs for theirs, *_ in FACTS + CONTRADICTIONS + DEVIATIONS}
        expect_equal(rows - self.used, set(), "rows of the tables that no line of the example needed")
        manual = read(MANUAL)
        for theirs, _, reason in DEVIATIONS:
            expect(f"| `{theirs}` |" in manual and reason in manual, f"docs/operator.md says why we deviate from `{theirs}`: {reason}")
