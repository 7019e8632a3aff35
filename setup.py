"""Maps three folders to one package tree: `graphc`, `graphc.frontends` and `graphc.backends`.

Everything else about the distribution is in pyproject.toml. This file exists because new
sub-packages must be picked up without touching a list, and a search from pyproject.toml cannot
start in three folders.
"""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = {"graphc": "graphc", "graphc.frontends": "frontends", "graphc.backends": "backends"}


def packages() -> list[str]:
    """All packages below the three folders, by import name."""
    here = Path(__file__).parent
    found = [
        name
        for package, folder in FOLDERS.items()
        for name in (package, *(f"{package}.{sub}" for sub in find_packages(here / folder)))
    ]
    return sorted(found)


setup(packages=packages(), package_dir=FOLDERS)
