"""Which sources decide a result: those that a module's work imports, found by reading them.

A stage's module imports what defines it (configuration, options) when it is loaded, and what its
work needs inside functions: its result depends on the latter.
"""

import ast
import functools
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1]
DECIDING = ("src", "experiments", "params.yaml", "workflow")
"""The parts of the repository that decide a result."""


def git_revision() -> tuple[str | None, bool | None]:
    """The commit of this code, and whether what decides a result was changed since.

    Returns:
        40 hex digits and a bool; (None, None): the code is in no clone (installed, unpacked), or
        git does not answer. A repository that merely holds the code's folder does not count.
    """
    root = SOURCE.parents[1]
    if not (root / ".git").exists():
        return None, None
    revision, changes = (
        _git(root, "rev-parse", "HEAD"),
        _git(root, "status", "--porcelain", "--", *DECIDING),
    )
    return revision, None if changes is None else bool(changes)


def _git(root: Path, *arguments: str) -> str | None:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def source_fingerprint() -> str:
    """16 hex digits of all sources, byte by byte."""
    digest = hashlib.sha256()
    for file in sorted(SOURCE.rglob("*.py")):
        digest.update(f"{file.relative_to(SOURCE)}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def work_fingerprint(module: str) -> str:
    """16 hex digits of what a module's work runs (``work_files``), without comments and layout."""
    digest = hashlib.sha256()
    for file in work_files(module):
        digest.update(f"{file.relative_to(SOURCE)}\n{_meaning(file)}\n".encode())
    return digest.hexdigest()[:16]


def work_files(module: str) -> list[Path]:
    """The file of a module, and our files that its functions import, with what these import.

    Other modules of its own package are left out: definitions, not work.
    """
    file = _file_of(module)
    assert file is not None, module
    package = module.rpartition(".")[0]
    names = [
        name for name in _imports_in_functions(file) if not f"{name}.".startswith(f"{package}.")
    ]
    return sorted({file, *code_files(*names)})


def code_files(*modules: str) -> list[Path]:
    """The files of modules and of our modules that they import, when loaded or later, sorted."""
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
    """The file of one of our modules; None: it is somebody else's, or a name within one."""
    first, *rest = module.split(".")
    if first != SOURCE.name:
        return None
    path = SOURCE.joinpath(*rest)
    for file in (path / "__init__.py", path.with_suffix(".py")):
        if file.is_file():
            return file
    return None


def _imports(file: Path) -> Iterator[str]:
    """Names that a file imports, in functions too; not those for type checkers only."""
    waiting: list[ast.AST] = [ast.parse(file.read_bytes())]
    while waiting:
        node = waiting.pop()
        yield from _names(node)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield str(node.module)
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.import_module":
        yield from _named_later(node.args[0])


def _named_later(name: ast.expr) -> Iterator[str]:
    """All modules of a package, if ``f"package.{name}"`` will name one of them on import."""
    if isinstance(name, ast.JoinedStr) and isinstance(name.values[0], ast.Constant):
        package = str(name.values[0].value).removesuffix(".")
        if (file := _file_of(package)) is not None:
            yield from (f"{package}.{one.stem}" for one in file.parent.glob("*.py"))


def _imports_in_functions(file: Path) -> Iterator[str]:
    """Names that functions of a file import when they run."""
    for function in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                yield from _names(node)


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
