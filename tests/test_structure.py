"""The conventions of the house, as tests: layers, lengths, signatures, docstrings, documentation, weight of the import."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import shoal

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "shoal"
FILES = sorted(SRC.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
NAMESPACES = ("benchmark", "ds", "metrics", "models", "pl", "pp", "tl")
HEAVY = {"torch", "lightning", "pytorch_lightning", "scvi", "scanpy", "sklearn", "matplotlib"}

# Which libraries a folder may never import, anywhere in its files (design: "Layers and what each may import").
NEVER = {
    "metrics": {"anndata", "mudata", "scanpy", "torch", "lightning", "scvi", "matplotlib"},
    "core": {"scanpy", "torch", "lightning", "scvi", "matplotlib"},
    "nn": {"anndata", "mudata", "scanpy", "lightning", "scvi"},
    "generative": {"anndata", "mudata", "scanpy", "lightning", "scvi"},
    "training": {"anndata", "mudata", "scanpy", "scvi"},
}
# Which of shoal's own folders a folder may build upon; "" stands for the helpers beside shoal/__init__.py.
BUILDS_ON = {
    "": {""},
    "metrics": {"", "metrics"},
    "core": {"", "core", "metrics"},
    "pp": {"", "core", "metrics", "pp"},
    "ds": {"", "core", "metrics", "pp", "ds"},
    "evaluation": {"", "core", "evaluation", "metrics", "models", "tl"},
    "tl": {"", "benchmark", "core", "evaluation", "metrics", "models", "pp", "report", "tl"},
    "report": {"", "report"},
    "benchmark": {"", "benchmark", "core", "evaluation", "ds", "metrics", "models", "pp", "tl"},
    "pl": {"", "core", "metrics", "pl"},
    "nn": {"", "nn"},
    "generative": {"", "generative"},
    "training": {"", "core", "metrics", "training"},
    "models": {"", "core", "generative", "metrics", "models", "nn", "training"},
}
# The program: it may use all folders, and no folder uses it.
FRONT = {"cli.py", "_demo.py", "_report.py"}
# Libraries that are imported at use, not at the top of a file, with the folders that are excepted.
AT_USE = {
    "torch": {"nn", "generative", "training", "models"},
    "lightning": {"training", "models"},
    "scvi": {"models"},
    "matplotlib": {"pl"},
    "scanpy": set(),
    "sklearn": set(),
    "statsmodels": set(),
    "pooch": set(),
    "tqdm": set(),
}


def short(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def folder(path: Path) -> str:
    parts = path.relative_to(SRC).parts
    return parts[0] if len(parts) > 1 else "front" if parts[0] in FRONT else ""


def imports(path: Path) -> list[tuple[str, bool]]:
    """Return (absolute name, at the top of the file) of all that a file imports, for type checkers or for real."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for child in ast.walk(node)
    }
    lazy = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.walk(node)
    }
    package = ["shoal", *path.relative_to(SRC).parts[:-1]]
    found = []
    for node in ast.walk(tree):
        top = id(node) not in lazy and id(node) not in typing_only
        if isinstance(node, ast.Import):
            found += [(alias.name, top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            found += [(f"{module}.{alias.name}", top) for alias in node.names]
    return found


def own_folder(name: str) -> str | None:
    """Return the folder of shoal's that an absolute name lives in, or None for another library's."""
    first, *rest = name.split(".")
    if first != "shoal":
        return None
    if rest and f"{rest[0]}.py" in FRONT:
        return "front"
    return rest[0] if rest and (SRC / rest[0]).is_dir() else ""


def public() -> list[tuple[str, object]]:
    return [
        (f"{space}.{name}", getattr(module, name))
        for space in NAMESPACES
        for module in [importlib.import_module(f"shoal.{space}")]
        for name in getattr(module, "__all__", ())  # missing: a test below says so
    ]


PUBLIC = public()
FUNCTIONS = [(name, obj) for name, obj in PUBLIC if inspect.isfunction(obj)]
each_file = pytest.mark.parametrize("path", FILES, ids=short)
each_name = pytest.mark.parametrize(("name", "obj"), PUBLIC, ids=[name for name, _ in PUBLIC])
each_function = pytest.mark.parametrize(
    ("name", "function"), FUNCTIONS, ids=[name for name, _ in FUNCTIONS]
)


# -- layers ----------------------------------------------------------------------------------------------------------


@each_file
def test_a_folder_stays_in_its_layer(path):
    here = folder(path)
    for name, _ in imports(path):
        assert name.split(".")[0] not in NEVER.get(here, set()), f"{short(path)} imports {name}"
        there = own_folder(name)
        if here in BUILDS_ON and there is not None:
            allowed = BUILDS_ON[here] | (set(NAMESPACES) if path == SRC / "__init__.py" else set())
            assert there in allowed, f"{short(path)} builds on shoal.{there}: {name}"


@each_file
def test_heavy_libraries_are_imported_at_use(path):
    for name, top in imports(path):
        excepted = AT_USE.get(name.split(".")[0])
        assert not top or excepted is None or folder(path) in excepted, (
            f"{short(path)} imports {name} at its top"
        )


@each_file
def test_only_one_file_knows_scvi(path):
    if path != SRC / "models" / "base" / "_model.py":
        assert not [name for name, _ in imports(path) if name.split(".")[0] == "scvi"]


def test_the_reader_of_imports_sees_every_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], "SRC", tmp_path)
    (tmp_path / "tl").mkdir()
    path = tmp_path / "tl" / "_x.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nimport numpy as np\nfrom ..core._groups import sums\n"
        "if TYPE_CHECKING:\n    import anndata\ndef f():\n    import torch\n    from . import y\n"
    )
    assert imports(path) == [
        ("typing.TYPE_CHECKING", True),
        ("numpy", True),
        ("shoal.core._groups.sums", True),
        ("anndata", False),
        ("torch", False),
        ("shoal.tl.y", False),
    ]


# -- files -----------------------------------------------------------------------------------------------------------


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


@pytest.mark.parametrize("path", [*FILES, *TESTS], ids=short)
def test_no_file_is_long(path):
    assert length(path) <= 500, f"{short(path)} has {length(path)} lines: split it"


def test_the_median_file_is_short():
    assert statistics.median(length(path) for path in FILES if path.name != "__init__.py") < 150


@each_file
def test_no_print_and_no_assert(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        assert not isinstance(node, ast.Assert), (
            f"{short(path)}:{node.lineno} asserts; raise an error that names the fix"
        )
        called = getattr(node, "func", None)
        assert getattr(called, "id", None) != "print", (
            f"{short(path)}:{getattr(node, 'lineno', 0)} prints; use the logger"
        )


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", NAMESPACES)
def test_all_is_sorted_and_is_what_is_exported(space):
    module = importlib.import_module(f"shoal.{space}")
    tree = ast.parse((SRC / space / "__init__.py").read_text(encoding="utf-8"))
    exported = {
        alias.asname or alias.name
        for n in tree.body
        if isinstance(n, ast.ImportFrom)
        for alias in n.names
    }
    assert module.__all__ == sorted(module.__all__)
    lazy = set(getattr(module, "_NETWORKS", ()))  # classes of networks are imported at first use
    assert (
        set(module.__all__) == (exported - {"annotations", "import_module", "TYPE_CHECKING"}) | lazy
    )
    assert module.__doc__


def test_the_package_lists_what_it_offers():
    assert shoal.__all__ == sorted(shoal.__all__)
    assert set(NAMESPACES) < set(shoal.__all__)
    assert all(getattr(shoal, name) is not None for name in shoal.__all__)
    with pytest.raises(
        AttributeError, match="its namespaces are benchmark, ds, metrics, models, pl, pp, tl"
    ):
        shoal.nothing  # noqa: B018


@pytest.mark.parametrize("space", NAMESPACES)
def test_every_public_name_has_a_page(space):
    page = (ROOT / "docs" / "api" / f"{space}.md").read_text(encoding="utf-8")
    listed = re.findall(rf"^\s+{space}\.(\w+)$", page, flags=re.MULTILINE)
    assert sorted(listed) == importlib.import_module(f"shoal.{space}").__all__


# -- signatures ------------------------------------------------------------------------------------------------------


@each_function
def test_signature_grammar(name, function):
    parameters = list(inspect.signature(function).parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [p.name for p in parameters]
    assert len(positional) <= 2, f"{name}: keyword-only after two"
    assert not [p.name for p in positional if isinstance(p.default, bool)], (
        f"{name}: no positional booleans"
    )
    assert not {"copy", "random_state", "seed"} & set(names), (
        f"{name}: no copy=; randomness is rng="
    )
    assert all(p.annotation is not p.empty for p in parameters), (
        f"{name}: every parameter has its type"
    )
    assert inspect.signature(function).return_annotation is not inspect.Signature.empty, (
        f"{name}: what does it return?"
    )
    if name.startswith(("pp.", "tl.")):
        assert names[0] == "data"
        assert "mod" in names, f"{name}: takes a MuData by mod="
    if name.startswith("pl."):
        assert names[0] == "data"
    if forwarded := [p.name for p in parameters if p.kind is p.VAR_KEYWORD]:
        text = documented(function)[f"**{forwarded[0]}"]
        assert re.search(r"(passed|forwarded) to \S+", text), (
            f"{name}: name the function that gets **{forwarded[0]}"
        )


# -- docstrings ------------------------------------------------------------------------------------------------------


def sections(obj: object) -> dict[str, str]:
    """Split a numpydoc docstring by its underlined headings; the text before the first is under ``""``."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.getdoc(obj) or "", flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section: str) -> dict[str, str]:
    """Return the entries of a section (names at the margin, text indented); ``a, b`` are two names."""
    found = re.findall(
        r"^(\S.*)\n((?:[ \t]+.*\n?|\n)*)", section.rstrip() + "\n", flags=re.MULTILINE
    )
    return {single.strip(): text for names, text in found for single in names.split(",")}


def documented(function: object) -> dict[str, str]:
    return entries(sections(function).get("Parameters", ""))


def raised(function: object) -> set[str]:
    """Return the exception classes that the source of a function raises itself."""
    tree = ast.parse(inspect.cleandoc("\n" + inspect.getsource(function)))
    calls = [
        node.exc
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    ]
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)}


@each_name
def test_every_public_name_has_a_docstring(name, obj):
    first = sections(obj)[""].strip().splitlines()
    assert first, f"{name} has no docstring"
    assert first[0].endswith((".", "?")), f"{name}: the first line is a sentence"


@each_function
def test_docstring_documents_every_parameter(name, function):
    parameters = inspect.signature(function).parameters.values()
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    expected = [stars.get(p.kind, "") + p.name for p in parameters]
    found = documented(function)
    assert list(found) == expected, f"{name}: Parameters in the order of the signature, names only"
    assert all(text.strip() for text in found.values()), f"{name}: a parameter without text"


@each_function
def test_docstring_tells_what_comes_back_and_what_goes_wrong(name, function):
    parts = sections(function)
    assert parts.get("Returns", "").strip(), f"{name}: no Returns section"
    missing = raised(function) - set(entries(parts.get("Raises", "")))
    assert not missing, f"{name}: raises {missing} and does not say so"


@each_function
def test_docstring_shows_an_example(name, function):
    if not name.startswith("pl."):
        assert ">>>" in sections(function).get("Examples", ""), f"{name}: no Examples section"


# -- weight ----------------------------------------------------------------------------------------------------------


def child(code: str) -> object:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import shoal", set()),
        ("import shoal.metrics, shoal.core", set()),
        ("import shoal.pp, shoal.tl, shoal.ds, shoal.models", set()),
        ("import shoal.cli", set()),
        ("import shoal.pl", {"matplotlib"}),
    ],
)
def test_import_loads_nothing_heavy(statement, allowed):
    roots = child(
        f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{m.split('.')[0] for m in sys.modules}})))"
    )
    assert "shoal" in roots
    assert not (HEAVY - allowed) & set(roots)


def test_import_costs_about_what_anndata_costs():
    def seconds(module: str) -> float:
        return child(
            f"import time\nt = time.process_time()\nimport {module}\nprint(time.process_time() - t)"
        )

    seconds("shoal")  # writes the byte code
    ratios = [seconds("shoal") / seconds("anndata") for _ in range(5)]
    assert statistics.median(ratios) <= 1.3, f"import shoal / import anndata, CPU time: {ratios}"


def test_measuring_and_judging_do_without_scipy_stats():
    """Of all of scipy it takes the longest to import and the most memory."""
    statement = "import shoal.pp, shoal.tl, shoal.metrics._external_suites, sys"
    assert child(f"{statement}\nprint('false' if 'scipy.stats' in sys.modules else 'true')")
