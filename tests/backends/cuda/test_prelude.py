"""The prelude and its primitives as a GPU's compiler reads them, by the units written by hand."""

from __future__ import annotations

import pytest

from cuda_units import PIPELINE, RING, SOFTMAX, TILED, Warpgroup, fragments
from graphc.backends.cuda.device import Unit
from graphc.backends.cuda.nvidia import compiler
from graphc.backends.cuda.prelude import prelude
from graphc.errors import CompilerBug

PLAIN = [SOFTMAX, TILED]
AMPERE = [PIPELINE, *map(fragments, ("f16", "bf16", "tf32"))]
WARPGROUPS = [
    Warpgroup("bf16", 256, (False, False), 128).unit,
    Warpgroup("f16", 64, (True, True), 64).unit,
]
CASES = [
    ("sm_75", PLAIN),
    ("sm_80", PLAIN + AMPERE),
    ("sm_90", [*AMPERE, RING]),
    ("sm_90a", [SOFTMAX, RING, *WARPGROUPS]),
]


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize(("target", "units"), CASES, ids=lambda case: str(case)[:8])
def test_units_compile_for(target: str, units: list[Unit]):
    for unit in units:
        made = compiler.compiled(prelude(unit.text), unit, target)
        assert made.usage.spilled == 0
        assert not made.remarks


@pytest.mark.usefixtures("nvrtc")
@pytest.mark.parametrize(
    ("unit", "target"), [(PIPELINE, "sm_75"), (RING, "sm_80"), (WARPGROUPS[0], "sm_90")]
)
def test_what_an_architecture_lacks_does_not_compile(unit: Unit, target: str):
    with pytest.raises(CompilerBug, match="undefined"):
        compiler.compiled(prelude(unit.text), unit, target)


def test_only_the_widths_in_use_are_printed():
    text = prelude(WARPGROUPS[0].text)
    assert "m64n256k16.f32.bf16.bf16" in text
    assert text.count("wgmma.mma_async") == 1
    assert "wgmma.mma_async" not in prelude(SOFTMAX.text)
