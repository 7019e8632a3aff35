"""What the simulator can say about itself, for `graphc doctor`.

Comes in: nothing. Goes out: facts by name. A separate file because nothing that compiles needs it.
"""

from __future__ import annotations

from graphc.backends.cuda.sim.compiler import compiler
from graphc.errors import UserError


def about() -> dict[str, str]:
    """The C++ compiler, or how to get one."""
    try:
        return {"C++ compiler": compiler().version}
    except UserError as error:
        return {"C++ compiler": f"none; {error.fix}"}
