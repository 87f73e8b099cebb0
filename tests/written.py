"""The commands in README.md and the pages of docs/, and how the tests run each.

A comment right before a block of code defines how:

    (none)              each line is run, in the page's order, and succeeds
    <!-- fails -->      each line ends with exit status 1
    <!-- serve -->      each line starts a service with a page that responds
    <!-- running -->    each line is run beside a service on 127.0.0.1:8080
    <!-- programs -->   each line is run beside a CompreFace on 192.0.2.5 and a Frigate on 192.0.2.6
    <!-- endless -->    each line is run until it prints something, and ended by Ctrl-C
    <!-- shrunk -->     each line is training: run for a few steps with a small network
    <!-- table -->      the second column of a table: each command of it is run as one of the above
    <!-- whole -->, <!-- venv -->, <!-- elsewhere: REASON -->      not run; listed by the test

A block of text after it is the output of the lines, except for numbers; a block of JSON is that of
the last line, except for values.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "pages").glob("*.md"))]

BLOCK = re.compile(r"(?:^<!-- (.+) -->\n)?^```([\w ]*)\n((?:.*\n)*?)```$", re.MULTILINE)
TABLE = re.compile(r"^<!-- table -->\n\n?((?:\|.*\n)+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code.

    Attributes:
        mark: in the comment before it; empty for none.
        language: after the fence.
        text: its content.
    """

    mark: str
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """Return its commands."""
        return [line for line in self.text.splitlines() if line]


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of a page in their order; of marked tables, one block per command."""
    text = page.read_text("utf-8")
    found = [
        (each.start(), Block(each[1] or "", each[2], each[3])) for each in BLOCK.finditer(text)
    ]
    for each in TABLE.finditer(text):
        found += [(each.start(), block) for block in commands_of_table(each[1])]
    return [block for _, block in sorted(found, key=lambda pair: pair[0])]


def commands_of_table(table: str) -> Iterator[Block]:
    """Yield the code in the second column of a table, a block per row."""
    for row in table.splitlines()[2:]:
        _, cell = re.split(r"(?<!\\)\|", row.strip("|"), maxsplit=1)
        command = re.match(r"^ `((?:facewire|torchrun).*)` $", cell)
        if command:
            line = command[1].replace("\\|", "|")
            is_training = re.search(r"facewire-train (fit|export)", line)
            mark = "shrunk" if is_training else "serve" if "facewire serve" in line else ""
            yield Block(mark, "sh", f"{line}\n")
