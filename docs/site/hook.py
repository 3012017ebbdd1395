"""What the site of `make docs` holds, from what there is: README, docs/, results, the API.

Links lead where they lead in the repository, as far as the site holds it. A link to a module leads
to its part of the reference, one to a file that the site does not hold stays as text.
"""

import posixpath
import re
from collections.abc import Iterator
from pathlib import Path

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[2]
RESULTS = "results/digits"
LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^()\s#]+)(#[^()\s]*)?\)")
SHOWN = (".png", ".pdf", ".csv", ".tex", ".json")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Headings have the anchors that GitHub gives them."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that docs/ does not hold, and the order of all."""
    written = [file.src_uri for file in files.documentation_pages()]
    readme = (ROOT / "README.md").read_text()
    pages = {"index.md": readme, **results_pages(), **api_pages(config)}
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    for path in sorted((ROOT / RESULTS).rglob("*")):
        if path.suffix in SHOWN:
            name = path.relative_to(ROOT).as_posix()
            files.append(File(name, str(ROOT), config.site_dir, use_directory_urls=False))
    named = [posixpath.basename(found[3]) for found in LINK.finditer(readme)]
    places = {name: named.index(name) if name in named else len(named) for name in written}
    config.nav = [
        "index.md",
        *sorted(written, key=lambda name: (places[name], name)),
        {"Results on digits": [uri for uri in pages if uri.startswith(RESULTS)]},
        {"API": [name_of(uri) for uri in pages if uri.startswith("api/")]},
    ]
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: object) -> str:
    """Links as the site has them; short titles for the menu."""
    uri = page.file.src_uri
    heading = re.search(r"^# (.+)", markdown, re.MULTILINE)
    if heading:
        page.meta.setdefault("title", heading[1].split(":")[0].replace("`", ""))
    return LINK.sub(lambda found: link(found, uri, files), markdown)


def link(found: re.Match[str], uri: str, files: Files) -> str:
    """A link of the page ``uri``, which the site may hold elsewhere than the repository does."""
    image, text, target, anchor = found[1], found[2], found[3], found[4] or ""
    if re.match(r"[a-z]+:|/", target) or uri.startswith("api/"):
        return found[0]
    path = (source_of(uri).parent / target).resolve()
    if not path.is_relative_to(ROOT) or not path.exists():
        return found[0]  # `mkdocs build --strict` names it
    name = path.relative_to(ROOT).as_posix()
    held = {"README.md": "index.md"}.get(name, name.removeprefix("docs/"))
    if name.startswith("src/dimr") and (path.is_dir() or path.suffix == ".py"):
        module = name.removeprefix("src/").removesuffix(".py").removesuffix("/__init__")
        held = f"api/{[*module.split('/'), 'index'][1]}.md"
        anchor = "#" + module.replace("/", ".")
    if files.get_file_from_path(held) is None:
        return text
    return f"{image}[{text}]({posixpath.relpath(held, posixpath.dirname(uri))}{anchor})"


def source_of(uri: str) -> Path:
    """The file in the repository that a page is made of."""
    if uri == "index.md":
        return ROOT / "README.md"
    return ROOT / uri if uri.startswith(RESULTS) else ROOT / "docs" / uri


def results_pages() -> dict[str, str]:
    """A page for each table, and one with all figures."""
    folder = ROOT / RESULTS
    pages = {}
    for table in sorted(folder.glob("*.md")):
        text = re.sub(r"\A\*\*(.+)\*\*$", r"# \1", table.read_text(), count=1, flags=re.MULTILINE)
        others = [table.with_suffix(kind) for kind in (".csv", ".tex")]
        text += "\n\n" + ", ".join(f"[{one.name}]({one.name})" for one in others if one.exists())
        if table.with_suffix(".png").exists():
            text += f"\n\n![{table.stem}]({table.stem}.png)\n"
        pages[f"{RESULTS}/{table.name}"] = text
    figures = [
        f"## {name}\n\n![{name}](figures/{name}.png)\n\n[{name}.pdf](figures/{name}.pdf)"
        for name in sorted(one.stem for one in folder.glob("figures/*.png"))
    ]
    numbers = "[seeds.csv](seeds.csv): every seed's numbers; [study.json](study.json): how made."
    index = "\n\n".join(["# Figures on digits", numbers, *figures])
    return {f"{RESULTS}/index.md": index, **pages}


def api_pages(config: MkDocsConfig) -> dict[str, str]:
    """The overview, and a page for each package with all of its modules."""
    handler = config.plugins["mkdocstrings"].get_handler("python")  # which reads them but once
    root = handler.collect("dimr", handler.get_options({}))
    packages = [one for _, one in sorted(root.modules.items()) if one.is_subpackage]
    lines = [f"- [`{one.path}`]({one.name}.md): {first_line(one)}" for one in packages]
    overview = ["# API", "What other people's code may rely on, and below it every package."]
    overview += [offered(one) for one in (root, *packages)]
    overview += ["## Packages", "\n".join(lines), directive(root, 2)]
    pages = {"api/index.md": "\n\n".join(overview)}
    for package in packages:
        parts = [directive(package, 1), offered(package)]
        parts += [directive(one, 2) for one in modules_of(package)]
        pages[f"api/{package.name}.md"] = "\n\n".join(parts)
    return pages


def name_of(uri: str) -> dict[str, str] | str:
    """A page of the API under the name of its package."""
    stem = Path(uri).stem
    return uri if stem == "index" else {f"dimr.{stem}": uri}


def modules_of(package: griffe.Module) -> Iterator[griffe.Module]:
    """Modules below a package that say what they are, in the order of their names."""
    for name, module in sorted(package.modules.items()):
        if not name.startswith("_") and not module.is_alias:
            if module.docstring:
                yield module
            yield from modules_of(module)


def directive(module: griffe.Module, level: int) -> str:
    """Of mkdocstrings: a module with what it defines itself."""
    own = [
        name
        for name, one in module.members.items()
        if not (one.is_alias or one.is_module or name.startswith("_")) and one.docstring
    ]
    return (
        f"::: {module.path}\n    options:\n      heading_level: {level}\n"
        f"      members: {own or 'false'}"
    )


def offered(package: griffe.Module) -> str:
    """The names of a package's ``__all__``, each with its first line."""
    if not package.exports:
        return ""
    lines = []
    for name in sorted(str(getattr(one, "name", one)) for one in package.exports):
        one = package[name]
        target = one.final_target if one.is_alias else one
        lines.append(f"- [`{name}`][{target.path}]: {first_line(target)}")
    return f"From `{package.path}`:\n\n" + "\n".join(lines)


def first_line(one: griffe.Object) -> str:
    """The first sentence of a docstring."""
    text = one.docstring.value if one.docstring else ""
    return re.split(r"(?<=[.:])\s", " ".join(text.split("\n\n")[0].split()))[0]
