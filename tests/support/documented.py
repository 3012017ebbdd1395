"""The commands and the Python examples of README and docs, as a reader would type them.

A block of code consists of commands if its first line begins with a program below, or with ``$``.
An HTML comment before it says where it is run, if not by ``tests/workflow/test_documents.py``:
``<!-- run by tests/... -->``, or ``<!-- not run by a test: why -->``.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from dimr.config.project import ROOT

PROGRAMS = (
    "$EDITOR", "cp", "cd", "docker", "dimr", "dvc", "export", "git", "make", "python",
    "sbatch", "snakemake", "source",
)  # fmt: skip
MARK = re.compile(r"<!-- (not run by a test: (?P<why>[^\n]+)|run by (?P<file>tests/[\w/.]+)) -->")


@dataclass
class Block:
    """One block: ``mark`` is the comment before it, if there is one."""

    document: str
    line: int
    mark: re.Match | None
    python: bool = False
    lines: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The commands, without comments and a transcript's output; none for other blocks."""
        shown = [line for line in self.lines if line.startswith("$ ")]
        if self.python or not (shown or _is_command(self.lines[0])):
            return []
        text = "\n".join(line.removeprefix("$ ") for line in shown or self.lines)
        joined = re.sub(r"\\\n\s*", "", text).splitlines()
        bare = [re.sub(r"(^|\s+)#.*", "", line).strip() for line in joined]
        return [line for line in bare if _is_command(line) or _is_assignment(line)]


def documents() -> list[Path]:
    """README and the pages in docs."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document: Path) -> list[Block]:
    """The blocks of a document: commands, Python and everything else."""
    found: list[Block] = []
    mark = block = None
    fenced = False
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
            block = _new(found, document, number, mark, line == "```python") if fenced else None
            mark = None
        elif fenced or (block and re.match(r" {4}|$", line)):
            assert block
            block.lines.append(line if fenced else line[4:])
        elif line.startswith("    ") and not block:
            block = _new(found, document, number, mark)
            block.lines.append(line[4:])
            mark = None
        elif line.strip():
            block, mark = None, MARK.fullmatch(line)
    for one in found:
        while one.lines and not one.lines[-1].strip():
            one.lines.pop()
    return [one for one in found if one.lines]


def inline_commands(document: Path) -> list[str]:
    """Commands in running text and tables, between backticks."""
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    text = re.sub(r"^    .*$", "", text, flags=re.M)
    quoted = re.findall(r"`([^`\n]+)`", text)
    return [one for one in quoted if " " in one and _is_command(one)]


def _new(found, document, number, mark, python=False) -> Block:
    found.append(Block(str(document.relative_to(ROOT)), number, mark, python))
    return found[-1]


def _is_command(line: str) -> bool:
    program = line.removeprefix("$ ").split(" ")[0]
    return program.removeprefix(".venv/bin/") in (*PROGRAMS, "uv")


def _is_assignment(line: str) -> bool:
    return bool(re.match(r"\w+=\S+$", line))
