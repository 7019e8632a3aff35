"""The distribution, as a user gets it: built, installed into an empty environment, used from there.

Nothing is downloaded: the wheel is built with the setuptools at hand, and the new environment sees
the dependencies of the present one through a path file. A plain path in a path file adds that
folder only and not the path files inside it, so an editable graphc of the present environment stays
out of sight. A graphc that was copied into it comes later in the search than the one just
installed. Either way the test looks at where the imported package lies.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

FILES = ["pyproject.toml", "setup.py", "README.md", "LICENSE", "NOTICE"]
FOLDERS = {"graphc": "graphc", "frontends": "graphc/frontends", "backends": "graphc/backends"}
OFFLINE = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index"]

USE = """
from pathlib import Path
import numpy as np
import graphc as gc
from graphc.frontends.data import load_digits

x = gc.input("x", ("batch", 784))
weights = np.random.default_rng(0).normal(size=(784, 3)).astype(np.float32) / 28
w = gc.param(weights, name="w")
y = gc.tanh(x @ w)
gc.draw(gc.sum(y), wrt=[w]).save("picture.svg")
assert Path("picture.svg").read_text().lstrip().startswith(("<svg", "<?xml"))
images = load_digits().test_images[:5].reshape(5, 784).astype(np.float32) / 255 - 0.5
np.testing.assert_allclose(gc.compile([x], y)(images), np.tanh(images @ weights), rtol=1e-4)
print(gc.__file__)
"""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and a folder far from the repository to work in."""

    folder: Path
    work: Path

    @property
    def scripts(self) -> Path:
        return self.folder / ("Scripts" if os.name == "nt" else "bin")

    def run(self, *command: str) -> str:
        """Runs a program of the environment there; its output, or a failure that shows it."""
        keep = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_"))}
        keep["GRAPHC_CACHE_DIR"] = str(self.work / "cache")
        program = str(self.scripts / command[0])
        done = subprocess.run(
            [program, *command[1:]], cwd=self.work, env=keep, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def pip(*arguments: str | Path) -> None:
    """Runs the present environment's pip, and fails with what it said."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(repository: Path, tmp_path_factory) -> Path:
    """A copy of what the distribution is made of, so that a build leaves no trace."""
    copy = tmp_path_factory.mktemp("source")
    for name in FILES:
        shutil.copy(repository / name, copy)
    for name in FOLDERS:
        shutil.copytree(
            repository / name, copy / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory) -> Path:
    """The wheel, built from the copy."""
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", *OFFLINE, "--wheel-dir", folder, source)
    (built,) = folder.glob("graphc-*.whl")
    return built


@pytest.fixture
def empty(tmp_path: Path) -> Environment:
    """An environment without graphc that sees the present one's third-party packages."""
    folder, work = tmp_path / "environment", tmp_path / "elsewhere"
    venv.create(folder, with_pip=False)
    work.mkdir()
    paths = {"base": str(folder), "platbase": str(folder)}
    packages = Path(sysconfig.get_path("purelib", "venv", paths))
    (packages / "present.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Environment(folder, work)


def install(target: Environment, *what: str | Path) -> None:
    python = next(target.scripts.glob("python*"))
    pip("--python", python, "install", *OFFLINE, *what)


def test_the_wheel_holds_every_file_of_the_package(source: Path, wheel: Path):
    inside = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"{place}/{file.relative_to(source / folder).as_posix()}"
        for folder, place in FOLDERS.items()
        for file in (source / folder).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert not wanted - inside
    assert {"graphc/py.typed", "graphc/frontends/data/digits.npz"} <= inside
    metadata = {name for name in inside if ".dist-info/" in name}
    assert {name.split("/")[-1] for name in metadata} >= {"LICENSE", "NOTICE", "entry_points.txt"}
    assert {name.split("/")[0] for name in inside - metadata} == {"graphc"}


def test_a_graph_is_drawn_and_run_from_the_wheel(wheel: Path, empty: Environment):
    install(empty, wheel)
    place = empty.run("python", "-c", USE).strip()
    assert Path(place).is_relative_to(empty.folder)
    assert "demo" in empty.run("graphc", "--help")


@pytest.mark.parametrize("mode", ["lenient", "strict"])
def test_a_graph_is_drawn_and_run_from_an_editable_install(
    source: Path, empty: Environment, mode: str
):
    install(empty, "--config-settings", f"editable_mode={mode}", "--editable", source)
    place = empty.run("python", "-c", USE).strip()
    assert Path(place).resolve().is_relative_to(source.resolve())
