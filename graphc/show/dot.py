"""A picture as Graphviz data: the same boxes, edges and scopes, placed by Graphviz.

Comes in: a picture. Goes out: a `graphviz.Digraph`, whose source is DOT text. Labels are plain, so
every engine can draw them, and every scope is a cluster, which makes large graphs fast to place. A
separate step because DOT is a format of its own.
"""

from __future__ import annotations

import graphviz

from graphc.show.label import Word, label
from graphc.show.picture import Box, Picture
from graphc.show.style import PALETTE, accent
from graphc.show.svg import edge_role, pair_numbers, tooltip


def to_digraph(picture: Picture) -> graphviz.Digraph:
    """The picture as a `graphviz.Digraph`; nodes are called ``n0``, ``n1``, ... by position."""
    graph = graphviz.Digraph("graphc")
    graph.attr(label=_plain(" — ".join((picture.title, *picture.notes))), labelloc="t")
    graph.attr("graph", fontname="Helvetica", ranksep="0.35", nodesep="0.25")
    graph.attr("node", fontname="Helvetica", fontsize="11", shape="box", style="rounded,filled")
    graph.attr("edge", arrowsize="0.7")
    _fill(graph, picture, -1, pair_numbers(picture))
    for edge in picture.edges:
        role = edge_role(picture, edge.source, edge.target)
        style = "dashed" if role == "saved" else "solid"
        colour = PALETTE[f"{role} line"][0]
        graph.edge(f"n{edge.source}", f"n{edge.target}", color=colour, style=style)
    return graph


def _fill(graph: graphviz.Digraph, picture: Picture, root: int, pairs: dict[int, int]) -> None:
    """Puts boxes into the clusters of their scopes. Inner clusters are made before outer ones."""
    clusters = {-1: graph}
    for key, scope in enumerate(picture.scopes):
        cluster = graphviz.Digraph(f"cluster_{key}")
        cluster.attr(label=_plain(scope.name), style="rounded,filled", labeljust="l")
        cluster.attr(color=PALETTE["frame line"][0], fillcolor=PALETTE["frame"][0])
        clusters[key] = cluster
    for number, box in enumerate(picture.boxes):
        clusters[box.scope].node(f"n{number}", **_attributes(box, pairs.get(number)))
    for key in reversed(range(len(picture.scopes))):
        clusters[picture.scopes[key].parent].subgraph(clusters[key])


def _attributes(box: Box, pair: int | None) -> dict[str, str]:
    lines = [" ".join(map(_spelled, words)) for words in label(box)]
    if pair is not None:
        lines[0] = f"[{pair}] {lines[0]}"
    line = PALETTE[f"{box.role} line"][0]
    return {
        "label": _plain("\n".join(lines)),
        "tooltip": _plain(tooltip(box)),
        "fillcolor": PALETTE[box.role][0],
        "color": line if pair is None else accent(pair),
        "penwidth": "2" if box.output else "1",
    }


def _spelled(word: Word) -> str:
    return "•" if word.style == "dot" else word.text.replace("●", "•")


def _plain(text: str) -> str:
    """Text that Graphviz shows as it is: no escapes, no HTML, no characters it cannot hold."""
    lines = text.split("\n")
    safe = ("".join(c if c.isprintable() else "�" for c in line) for line in lines)
    joined = "\\n".join(line.replace("\\", "\\\\") for line in safe)
    return str(graphviz.nohtml(joined)) if not _looks_like_html(joined) else f" {joined}"


def _looks_like_html(text: str) -> bool:
    return text.startswith("<") and text.endswith(">")
