"""The algebra of named sizes, beyond what shapes use."""

import pytest

from graphc.dims import Dim


def test_a_size_meets_sizes_only():
    n = Dim.named("n")
    for other in (0.5, "m", None):
        with pytest.raises(TypeError):
            n * other
        with pytest.raises(TypeError):
            n + other


def test_solving_for_the_only_name():
    n, m = Dim.named("n"), Dim.named("m")
    assert n.solved(4) == (2 * n + 1).solved(9) == {"n": 4}
    for size, total in [(2 * n, 5), (n + 3, 2), (n * m, 6), (n * n, 4), (n + m, 3), (n // 2, 1)]:
        assert size.solved(total) == {}
