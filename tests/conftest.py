"""What every test may use: a seeded random generator, the repository, and settings."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# No deadline: the first example of a test compiles code. In CI the examples are always the same.
settings.register_profile("graphc", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("graphc")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="write the texts in tests/golden anew"
    )


@pytest.fixture
def check_golden(request: pytest.FixtureRequest, repository: Path) -> Callable[[str, str], None]:
    """Compares a text with the file of that name in tests/golden, or writes the file anew."""

    def check(name: str, text: str) -> None:
        path = repository / "tests" / "golden" / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, "utf-8")
        assert text == path.read_text("utf-8"), "see `git diff` after pytest --update-golden"

    return check


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed, so that a failure repeats."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session", autouse=True)
def compiled_code(tmp_path_factory) -> Iterator[Path]:
    """The folder of compiled code during the tests: neither the user's cache nor an old one."""
    folder = tmp_path_factory.mktemp("compiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAPHC_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="session")
def repository() -> Path:
    """The folder that holds graphc/, frontends/, backends/ and tests/."""
    return Path(__file__).resolve().parent.parent
