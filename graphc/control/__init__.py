"""Loops and branches whose bodies are graphs.

Comes in: nodes, and graphs that say what a step or a branch does. Goes out: one of the results.
Each body is compiled once, however many steps are made, and is run by the backend (`LibraryCall`).
The gradient of a scan is a scan in the other direction, that of a branch is a branch; both have
bodies made by `graphc.grad`, so they can be differentiated again.
"""

from graphc.control.bodies import closed, with_products
from graphc.control.cond import Cond
from graphc.control.scan import Scan
from graphc.control.while_loop import While

__all__ = ["Cond", "Scan", "While", "closed", "with_products"]
