"""Drawing as users call it: `draw`, `to_graphviz`.

Comes in: tensors, nodes, graphs or executables. Goes out: a `Drawing`, which notebooks show and
which saves itself as SVG, DOT, PNG, PDF or text. SVG needs nothing but this package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import graphviz

from graphc.errors import UserError
from graphc.files import replacing
from graphc.grad import gradients
from graphc.graph import Graph, Node, brief, describe
from graphc.show.build import BUDGET, Request, picture
from graphc.show.dot import to_digraph
from graphc.show.engine import EngineFailed, find_engine, render
from graphc.show.layout import layout as placed
from graphc.show.names import variables
from graphc.show.picture import Picture
from graphc.show.subject import nodes, subject
from graphc.show.svg import svg
from graphc.show.text import graph_text
from graphc.site import here

LAYOUTS = ("mirror", "layered")
VIEWS = ("both", "forward", "backward")
ENGINES = ("builtin", "graphviz")
DETAILS = ("folded", "all")


@dataclass(frozen=True)
class Drawing:
    """A picture that can be shown and saved.

    ``engine`` is what was asked for; `drawn_by` tells who drew it in the end.
    """

    picture: Picture
    graph: Graph
    layout: str = "mirror"
    engine: str = "builtin"
    detail: str | int = "folded"

    @cached_property
    def dot(self) -> str:
        """The picture as DOT text."""
        return str(to_digraph(self.picture).source)

    @cached_property
    def text(self) -> str:
        """The graph as text, for terminals, screen readers and diffs."""
        return graph_text(self.graph, detail="all" if self.detail == "all" else "folded")

    @property
    def svg(self) -> str:
        """The picture as an SVG document."""
        return self._drawn[0]

    @property
    def drawn_by(self) -> str:
        """Which program placed the SVG, "builtin" or a Graphviz program's name.

        When a Graphviz program was asked for and did not draw, the reason is there too.
        """
        return self._drawn[1]

    @cached_property
    def _drawn(self) -> tuple[str, str]:
        reason = ""
        if self.engine == "graphviz":
            program = find_engine()
            try:
                if program:
                    return render(program, self.dot, "svg").decode(), Path(program).name
                reason = " (no Graphviz program found)"
            except EngineFailed as failure:
                reason = f" ({failure})"
        return svg(self.picture, placed(self.picture, arrangement=self.layout)), f"builtin{reason}"

    def save(self, path: str | Path) -> Path:
        """Write the drawing; the suffix says how: .svg .dot .txt always, .png .pdf with Graphviz.

        The file is complete or not there. Raises `UserError`: GC0104 (unknown suffix), GC0504 (no
        Graphviz program for PNG or PDF, or it failed).
        """
        path = Path(path)
        content = self._content(path)
        with replacing(path) as file:
            file.write(content)
        return path

    def _content(self, path: Path) -> bytes:
        kind = path.suffix.lower()
        texts = {".svg": lambda: self.svg, ".dot": lambda: self.dot, ".txt": lambda: self.text}
        if kind in texts:
            return texts[kind]().encode()
        if kind in (".png", ".pdf"):
            return self._rendered(kind.removeprefix("."))
        known = ".svg .dot .txt .png .pdf"
        raise UserError("GC0104", f"cannot save as {path.name!r}", fix=f"end the name in {known}")

    def _rendered(self, kind: str) -> bytes:
        program = find_engine()
        if program is None:
            raise UserError(
                "GC0504",
                f"no Graphviz program for {kind.upper()}",
                why="SVG, DOT and text are written by graphc itself; pixels and pages are not",
                fix='save as .svg, or pip install "graphc[dot]", or install Graphviz',
            )
        try:
            return render(program, self.dot, kind)
        except EngineFailed as failure:
            raise UserError("GC0504", str(failure), fix="save as .svg or .dot") from None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        boxes = f"{len(self.picture.boxes)} boxes"
        return f"<drawing of {self.picture.title}: {boxes}, {self.layout} layout>"

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        bundle = {"image/svg+xml": self.svg, "text/plain": self.text}
        kept = set(include or bundle) - set(exclude or ())
        return {kind: content for kind, content in bundle.items() if kind in kept}


def draw(
    outputs: Any,
    wrt: Any = None,
    *,
    view: str = "both",
    layout: str = "mirror",
    detail: str | int = "folded",
    kernels: Mapping[Node, tuple[int, str]] | None = None,
    values: Mapping[Node, str] | None = None,
    engine: str = "builtin",
    title: str = "",
    budget: int = BUDGET,
) -> Drawing:
    """A drawing of ``outputs``: tensors, nodes, a graph, or something that has a ``.graph``.

    ``wrt``: tensors; the gradients of the first output by them are added, each beside the operation
    it differentiates. ``view`` is "both", "forward" or "backward". ``layout`` is "mirror"
    (gradients run up beside the forward operations) or "layered". ``detail`` is "folded"
    (constants, broadcasts, reshapes and casts inside their reader), "all", or the depth below which
    scopes are folded. ``kernels`` gives nodes the number and label of their fused kernel, drawn as
    coloured hulls; ``values`` gives nodes a line of text. ``engine="graphviz"`` lets a Graphviz
    program place the boxes, if there is one. More than ``budget`` boxes are folded.

    Raises `UserError`: GC0104 (an unknown option), GC0107 (nothing to draw), GC0203 (the output
    does not depend on a tensor of ``wrt``), and what differentiation raises.
    """
    _checked(view=(view, VIEWS), layout=(layout, LAYOUTS), engine=(engine, ENGINES))
    if not isinstance(kernels, Mapping | None):
        raise UserError(
            "GC0104",
            f"kernels={kernels!r} is no table of nodes",
            why="only a compiled function knows its kernels",
            fix="compile the graph, call it once, and draw the function: gc.draw(step)",
        )
    if not isinstance(detail, int):
        _checked(detail=(detail, DETAILS))
    graph, names = _with_gradients(subject(outputs), () if wrt is None else nodes(wrt))
    request = Request(graph.outputs, graph.updates, names, kernels or {}, values or {})
    shown = replace(request, view=view, detail=detail, title=title or "graph", budget=budget)
    return Drawing(picture(shown), graph, layout, engine, detail)


def to_graphviz(outputs: Any, wrt: Any = None, **options: Any) -> graphviz.Digraph:
    """The drawing of ``outputs`` as a `graphviz.Digraph`; options as for `draw`."""
    return to_digraph(draw(outputs, wrt, **options).picture)


def _checked(**options: tuple[str, tuple[str, ...]]) -> None:
    for name, (value, known) in options.items():
        if value not in known:
            fix = f"use one of {', '.join(map(repr, known))}"
            raise UserError("GC0104", f"{name}={value!r} is unknown", fix=fix)


def _with_gradients(graph: Graph, wrt: tuple[Node, ...]) -> tuple[Graph, dict[Node, str]]:
    """The graph with the gradients of its first output as further outputs, and their names."""
    if not wrt:
        return graph, {}
    loss = graph.outputs[0]
    called = variables(graph.nodes)
    slopes: dict[Node, str] = {}
    for x, slope in zip(wrt, gradients(loss, wrt), strict=True):
        if slope is None:
            raise UserError(
                "GC0203", f"{called.get(loss, 'the result')} does not depend on {brief(x)}"
            ).located(str(here()), [describe(loss), describe(x)])
        slopes[slope] = f"∂{called.get(loss, 'loss')}/∂{x.op.label or called.get(x, 'x')}"
    return Graph(graph.inputs, (*graph.outputs, *slopes), graph.updates), slopes
