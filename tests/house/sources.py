"""The product's source as parsed modules: what the house tests look at."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = {"graphc": "graphc", "frontends": "graphc.frontends", "backends": "graphc.backends"}
SKIPPED = {".git", ".venv", "build", "dist", "__pycache__"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Module:
    """A source file; `name` is its import name, `file` its path below the repository."""

    name: str
    file: str
    text: str
    tree: ast.Module

    @property
    def layer(self) -> str:
        """The part of the name that says where in the house it stands: `ops`, `frontends.nn`."""
        parts = self.name.split(".")[1:]
        kept = 2 if parts[:1] in (["frontends"], ["backends"]) else 1
        return ".".join(parts[:kept])

    def inside(self, *folders: str) -> bool:
        """Whether the file lies in one of the folders, given relative to the repository."""
        return any(self.file.startswith(f"{folder}/") for folder in folders)


def parse(path: Path) -> Module:
    relative = path.relative_to(ROOT)
    parts = list(relative.with_suffix("").parts)
    parts[0] = FOLDERS.get(parts[0], parts[0])
    if parts[-1] == "__init__":
        parts.pop()
    text = path.read_text("utf-8")
    return Module(".".join(parts), relative.as_posix(), text, ast.parse(text))


@cache
def product() -> tuple[Module, ...]:
    """Every module of graphc/, frontends/ and backends/."""
    files = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
    return tuple(parse(file) for file in files if not SKIPPED & set(file.parts))


@cache
def suite() -> tuple[Module, ...]:
    """Every module of tests/."""
    return tuple(parse(file) for file in sorted((ROOT / "tests").rglob("*.py")))


def text_files() -> Iterator[Path]:
    """Every text file that belongs to the repository, by its suffix."""
    suffixes = {".py", ".md", ".toml", ".yaml", ".cpp", ".h", ".html", ".js", ".css", ".txt"}
    for path in sorted(ROOT.rglob("*")):
        if path.suffix in suffixes and not SKIPPED & set(path.relative_to(ROOT).parts):
            yield path


def typing_only(tree: ast.AST) -> Iterator[ast.AST]:
    """Everything inside `if TYPE_CHECKING:`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for statement in node.body:
                yield from ast.walk(statement)


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """Every import below `tree`, as the statement and the full dotted name that it reaches for.

    Imports for the type checker alone are no arrows: at run time they do not exist.
    """
    unseen = {id(node) for node in typing_only(tree)}
    for node in ast.walk(tree):
        if id(node) in unseen:
            continue
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute in this house"
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function below `tree`, methods and inner functions too."""
    return (node for node in ast.walk(tree) if isinstance(node, FUNCTIONS))


def docstrings(tree: ast.AST) -> set[int]:
    """The ids of the constants that are docstrings."""
    owners = (ast.Module, ast.ClassDef, *FUNCTIONS)
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, owners) and node.body]
    return {id(body[0].value) for body in bodies if isinstance(body[0], ast.Expr)}
