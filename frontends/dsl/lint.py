"""`lint`: what a graph will do that its author cannot have meant, found without running it.

Comes in: a loss. Goes out: findings with the line of the program. Separate from `check_grad`, which
takes numbers, because a nan shows only for the right ones.
"""

from __future__ import annotations

from collections.abc import Iterable

from graphc.frontends.dsl.manners import at_user_line
from graphc.frontends.dsl.tensor import Tensor, tensor
from graphc.passes.lint import Finding
from graphc.passes.lint import lint as lint_nodes


@at_user_line
def lint(outputs: Tensor | Iterable[Tensor]) -> tuple[Finding, ...]:
    """What ``outputs``, a loss or several, are likely to go wrong at; nothing when all is well.

    Found are gradients that become nan behind a `where`: a branch that is not chosen with a
    logarithm, root, norm, division, power or inverse function in it whose slope may be infinite
    there. Each finding prints the line, the reason, and the repair, which is a second `where`
    around the operand. Operands that are positive for every input, as far as a look at a few
    operations tells, or are chosen or cut off themselves, are passed over.
    """
    chosen = [outputs] if isinstance(outputs, Tensor) else outputs
    return lint_nodes(tensor(y).node for y in chosen)
