"""What the tests of the CUDA backends share."""

import pytest

from graphc.backends.cuda.nvidia import compiler
from graphc.errors import UserError


@pytest.fixture(scope="session")
def nvrtc() -> tuple[int, int]:
    """The version of NVRTC; skips where it cannot be used."""
    try:
        return compiler.version()
    except UserError as error:
        pytest.skip(f"NVRTC cannot be used: {error.what}")
