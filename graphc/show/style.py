"""How drawings look: the palette for light and dark, and the style sheet made of it.

Comes in: nothing. Goes out: CSS for one drawing. A separate step because colours are one decision,
and other pages reuse them. Colours are written out for both schemes, not as CSS variables: several
viewers of SVG files know no variables and would draw black boxes.
"""

from __future__ import annotations

PALETTE: dict[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#12161c"),
    "ink": ("#1e293b", "#e5e9f0"),
    "faint": ("#64748b", "#94a3b8"),
    "frame": ("#f5f7fa", "#1a2029"),
    "frame line": ("#c3ccd8", "#3b4657"),
    "input": ("#dbeafe", "#1e3a5f"),
    "input line": ("#3b82f6", "#60a5fa"),
    "param": ("#dcfce7", "#14432a"),
    "param line": ("#22a355", "#4ade80"),
    "const": ("#eceff3", "#2b3442"),
    "const line": ("#94a3b8", "#64748b"),
    "saved": ("#f1f5f9", "#222b38"),
    "saved line": ("#8595ab", "#8595ab"),
    "forward": ("#ffffff", "#1d2530"),
    "forward line": ("#475569", "#a3b1c6"),
    "gradient": ("#fff4e6", "#3d2a14"),
    "gradient line": ("#e8710a", "#fb923c"),
    "update": ("#f5eefe", "#33224d"),
    "update line": ("#8b5cf6", "#a78bfa"),
}
"""Name of a colour: its value on light and on dark paper."""

ACCENTS = ("#2563eb", "#d9480f", "#0f9d76", "#a21caf", "#b7791f", "#0e7490", "#be123c", "#5b7f13")
"""Pairs of forward and gradient boxes, and kernels, take turns; each has white text on it."""

ROLES = ("input", "param", "const", "saved", "forward", "gradient", "update")
SANS = "Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif"
MONOSPACE = "ui-monospace,Menlo,Consolas,'Liberation Mono','DejaVu Sans Mono',monospace"


def style_sheet(prefix: str) -> str:
    """The rules of one drawing; every selector begins with its own id, since a page has many."""
    light = _spelled(prefix, [*_shapes(), *_colours(0)])
    dark = _spelled(prefix, _colours(1))
    return f"{light}\n@media (prefers-color-scheme:dark){{{dark}}}"


def _spelled(prefix: str, rules: list[tuple[str, str]]) -> str:
    inside = f",#{prefix} "
    return "".join(f"#{prefix} {inside.join(s.split(','))}{{{body}}}" for s, body in rules)


def _shapes() -> list[tuple[str, str]]:
    """What does not depend on the colour scheme."""
    return [
        ("text", f"font-family:{SANS};font-size:12px"),
        (".node text", "text-anchor:middle"),
        (".heading", "font-weight:600"),
        (".title", "font-weight:600"),
        (".type", f"font-family:{MONOSPACE};font-size:10px"),
        (".note", f"font-family:{MONOSPACE};font-size:9.5px"),
        (".dot", "font-size:7px"),
        (".chip-text", "font-size:9.5px"),
        (".scope", "font-size:10.5px;font-weight:600"),
        (".badge", "font-size:9px;font-weight:700;fill:#ffffff;text-anchor:middle"),
        (".kernel", "font-size:9px;font-weight:700;text-anchor:end"),
        (".edge", "fill:none;stroke-width:1.3"),
        (".edge.saved", "stroke-dasharray:4 3"),
        (".box", "stroke-width:1.2"),
        (".output .box", "stroke-width:2.4"),
    ]


def _colours(scheme: int) -> list[tuple[str, str]]:
    def colour(name: str) -> str:
        return PALETTE[name][scheme]

    rules = [
        (".paper", f"fill:{colour('paper')}"),
        ("text", f"fill:{colour('ink')}"),
        (".type,.note,.dot,.scope,.legend,.heading", f"fill:{colour('faint')}"),
        (".frame", f"fill:{colour('frame')};stroke:{colour('frame line')}"),
        (".badge", "fill:#ffffff"),
        (".chip.way", f"fill:none;stroke:{colour('const line')}"),
    ]
    for role in ROLES:
        fill, line = colour(role), colour(f"{role} line")
        rules += [
            (f".box.{role},.chip.{role}", f"fill:{fill};stroke:{line}"),
            (f".edge.{role}", f"stroke:{line}"),
            (f".head.{role}", f"fill:{line}"),
            (f".name.{role}", f"fill:{line}"),
        ]
    return rules


def accent(number: int) -> str:
    """The colour of the pair or kernel with this number."""
    return ACCENTS[number % len(ACCENTS)]
