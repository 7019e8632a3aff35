"""The command line: ``graphc demo | show | passes | run | explain | bench | doctor``.

Comes in: arguments. Goes out: text, files, an exit status. It is a user of graphc like any other:
nothing in the compiler knows of it.
"""

from graphc.cli.commands import main

__all__ = ["main"]
