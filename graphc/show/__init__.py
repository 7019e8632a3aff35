"""Seeing a graph: as text, as a drawing, as Graphviz or NetworkX data.

Comes in: nodes or graphs. Goes out: text, SVG, DOT. Nothing here changes a graph; every part of the
compiler may be looked at without being touched.
"""
