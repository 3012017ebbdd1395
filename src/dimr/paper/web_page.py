"""A Markdown file as one self-contained HTML page, for `snakemake --report` and for browsers."""

import base64
import html
import mimetypes
import re
from pathlib import Path

from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_text, write_text

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 75em; margin: 2em auto; padding: 0 1em;
       color: #1a1a1a; background: #fff; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-size: 0.9em; }
th, td { padding: 0.25em 0.7em; border-bottom: 1px solid #ccc; }
td[style*="right"] { white-space: nowrap; }
thead th { border-bottom: 2px solid #444; }
tbody tr:hover { background: #eef3f8; }
img { max-width: 100%; height: auto; }
code { font-size: 0.9em; }
"""


def to_page(text: str, folder: Path) -> str:
    """HTML of a Markdown text; pictures in ``folder`` are embedded, other links become text.

    Args:
        text: Markdown with tables.
        folder: to which links are relative.

    Raises:
        DimrError: a picture that does not exist.
    """
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    body = re.sub(r'<img src="([^"]+)"', lambda found: _embedded(found[1], folder), body)
    body = re.sub(r'<a href="(?![a-z]+:|#)[^"]*">(.*?)</a>', r"\1", body)  # would be broken
    heading = re.search(r"^(?:# |\*\*)(.+?)(?:\*\*)?$", text, re.MULTILINE)
    title = html.escape(heading[1]) if heading else "DiMR"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="generator" content="dimr">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )


def _embedded(link: str, folder: Path) -> str:
    file = folder / link
    if not file.is_file():
        raise DimrError(f"{file}: no such file, and the page shows it")
    kind = mimetypes.guess_type(file.name)[0] or "image/png"
    return f'<img src="data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"'


def write_page(markdown: Path, out: Path) -> None:
    """Write ``out`` from a Markdown file; ``DimrError`` if there is none."""
    write_text(out, to_page(read_text(markdown), markdown.parent))
