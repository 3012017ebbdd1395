"""Which sources decide a result: those that its modules import, found by reading them."""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
TRAINING = ("dimr.training.step", "dimr.training.setup", "dimr.data.reader")
SAMPLING = ("dimr.sampling.generate", "dimr.sampling.engine", "dimr.data.decoder")
ENCODING = ("dimr.data.encode", "dimr.data.autoencoder")
"""Modules whose numbers the results of a step are; what they import follows."""


def source_fingerprint() -> str:
    """16 hex digits of all sources, byte by byte."""
    digest = hashlib.sha256()
    for file in sorted(SOURCE.rglob("*.py")):
        digest.update(f"{file.relative_to(SOURCE)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def code_fingerprint(*modules: str) -> str:
    """16 hex digits of what runs of the modules and of what they import (``code_files``).

    Comments, docstrings and layout are no part of it.
    """
    digest = hashlib.sha256()
    for file in code_files(*modules):
        digest.update(f"{file.relative_to(SOURCE)}\n{_meaning(file)}\n".encode())
    return digest.hexdigest()[:16]


def code_files(*modules: str) -> list[Path]:
    """The files of modules and of all of ours that they import when they are loaded, sorted."""
    found: set[Path] = set()
    waiting = [_file_of(name) for name in modules]
    while waiting:
        file = waiting.pop()
        if file is None or file in found:
            continue
        found.add(file)
        waiting += [_file_of(name) for name in _imports(file)]
    return sorted(found)


def _file_of(module: str) -> Path | None:
    """The file of a module of ours; None: it is somebody else's, or a name within one."""
    first, *rest = module.split(".")
    if first != SOURCE.name:
        return None
    path = SOURCE.joinpath(*rest)
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _imports(file: Path) -> Iterator[str]:
    """Names that a file imports as it is loaded: not in functions, nor for type checkers only."""
    waiting: list[ast.AST] = [ast.parse(file.read_bytes())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


@functools.cache
def _meaning(file: Path) -> str:
    """A file's code without docstrings, comments and layout."""
    tree = ast.parse(file.read_bytes())
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # a string by itself does nothing, wherever it stands
            kept = [one for one in body if not _is_text(one)]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_text(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
