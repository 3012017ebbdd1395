"""Arrows between packages run one way, and the networks stand by themselves."""

import ast
import sys

from dimr.runtime.code import SOURCE

LAYERS = (
    {"models", "runtime"},
    {"diffusion", "config"},
    {"checkpoints", "data", "cluster"},
    {"human_study", "sampling", "training", "evaluation"},
    {"stages"},
    {"paper"},
    {"sharing", "planning"},
    {"cli"},
)
"""Packages from the lowest up: each imports from lower layers, or from its own."""
HEIGHT = {package: height for height, layer in enumerate(LAYERS) for package in layer}


def imports():
    """Package, imported package and file of each import, in functions too."""
    for file in sorted(SOURCE.rglob("*.py")):
        package = file.relative_to(SOURCE).parts[0]
        if package not in HEIGHT:
            continue
        for node in ast.walk(ast.parse(file.read_bytes())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                yield package, name or "", file.relative_to(SOURCE)


def test_every_package_has_a_layer():
    found = {file.parent.name for file in SOURCE.glob("*/__init__.py")}
    assert found == set(HEIGHT)


def test_packages_import_from_lower_layers():
    wrong = []
    for package, name, file in imports():
        first, _, rest = name.partition(".")
        other = rest.split(".")[0]
        if first == "dimr" and other in HEIGHT and HEIGHT[other] > HEIGHT[package]:
            wrong.append(f"{file} imports {name}")
    assert not wrong


def test_networks_import_torch_and_each_other_only():
    for package, name, file in imports():
        if package == "models":
            assert name.split(".")[0] in {"torch", "dimr", *sys.stdlib_module_names}, file
            if name.startswith("dimr."):
                assert name.startswith("dimr.models"), f"{file} imports {name}"
