"""The scripts of `benchmarks/` import nothing that is not there."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(HERE.glob("*.py"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_names_of_the_package_and_of_other_scripts_exist(path):
    others = {one.stem: _defined(one) for one in SCRIPTS}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        wanted = {alias.name for alias in node.names}
        if node.module in others:
            assert wanted <= others[node.module], node.module
        elif node.module.split(".")[0] == "shoal":
            _check(node.module, wanted)


def _check(module, wanted):
    """Every name is an attribute of the module, or a module in it."""
    try:
        found = import_module(module)
    except ModuleNotFoundError as err:
        if (err.name or "").startswith("shoal"):
            raise
        pytest.skip(f"{err.name} is not installed")
    for name in wanted:
        assert hasattr(found, name) or find_spec(f"{module}.{name}"), f"{module}.{name}"


def _defined(path):
    """Return the names that a script defines or imports at its top."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for part in (
            ast.walk(node) if isinstance(node, (ast.Assign, ast.AnnAssign, ast.If)) else [node]
        ):
            if isinstance(part, ast.Name):
                names.add(part.id)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name for alias in node.names}
    return names
