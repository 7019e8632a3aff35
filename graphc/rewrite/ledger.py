"""The ledger: a record of every application of every rule, in order.

Comes in: what the driver did. Goes out: frozen records and a table of counts, which drawings, the
command line and tests read. Separate from the driver because most runs keep no ledger.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from graphc.graph import Node
from graphc.site import Site


@dataclass(frozen=True)
class Application:
    """``rule`` of ``stage`` turned ``before`` into ``after``; ``step`` counts from 1.

    Both nodes are as they were at that moment: operands already simplified, users not yet.
    """

    stage: str
    step: int
    rule: str
    before: Node
    after: Node

    @property
    def site(self) -> Site:
        """Where the user wrote the node that was replaced."""
        return self.before.site

    def __str__(self) -> str:
        where = f"   at {self.site.file}:{self.site.line}" if self.site.code else ""
        before, after = f"{self.before.op}: {self.before.type}", f"{self.after.op}"
        return f"{self.step:5} {self.stage:10} {self.rule}: {before} -> {after}{where}"


@dataclass
class Ledger:
    """All applications so far; passed from pass to pass."""

    records: list[Application] = field(default_factory=list)

    def add(self, stage: str, rule: str, before: Node, after: Node) -> None:
        """Append a record with the next step number."""
        self.records.append(Application(stage, len(self.records) + 1, rule, before, after))

    def counts(self) -> dict[tuple[str, str], int]:
        """Applications by (stage, rule), in order of first use."""
        return dict(Counter((r.stage, r.rule) for r in self.records))

    def table(self) -> str:
        """The counts as text, one rule a line."""
        rows = [(stage, rule, str(n)) for (stage, rule), n in self.counts().items()]
        rows = [("pass", "rule", "times"), *rows]
        first, second, third = (max(len(row[k]) for row in rows) for k in range(3))
        return "\n".join(f"{a:{first}}  {b:{second}}  {c:>{third}}" for a, b, c in rows)

    def __iter__(self) -> Iterator[Application]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)

    def __str__(self) -> str:
        return "\n".join(str(r) for r in self.records)
