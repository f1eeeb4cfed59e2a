"""The conventions of the house as tests: one test a rule, which lists everything that breaks it."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import shoal

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SRC = ROOT / "src" / "shoal"
FILES = sorted(SRC.rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
NAMESPACES = ("benchmark", "ds", "io", "metrics", "models", "pl", "pp", "tl")
HEAVY = {"torch", "lightning", "pytorch_lightning", "scvi", "scanpy", "sklearn", "matplotlib"}

# Libraries that a folder never imports, anywhere in its files.
NEVER = {
    "metrics": {"anndata", "mudata", "scanpy", "torch", "lightning", "scvi", "matplotlib"},
    "core": {"scanpy", "torch", "lightning", "scvi", "matplotlib"},
    "io": {"torch", "lightning", "scvi", "matplotlib"},
    "nn": {"anndata", "mudata", "scanpy", "lightning", "scvi"},
    "generative": {"anndata", "mudata", "scanpy", "lightning", "scvi"},
    "training": {"anndata", "mudata", "scanpy", "scvi"},
}
# Folders of shoal that a folder may build on; "" stands for the helpers beside shoal/__init__.py.
BUILDS_ON = {
    "": {""},
    "metrics": {"", "metrics"},
    "core": {"", "core", "metrics"},
    "pp": {"", "core", "metrics", "pp"},
    "ds": {"", "core", "metrics", "pp", "ds"},
    "io": {"", "core", "io", "pp"},
    "evaluation": {"", "core", "evaluation", "metrics", "models"},
    "tl": {"", "core", "evaluation", "metrics", "models", "pp", "report", "tl"},
    "report": {"", "report"},
    "benchmark": {"", "benchmark", "evaluation", "ds", "metrics", "pp"},
    "pl": {"", "core", "metrics", "pl"},
    "nn": {"", "nn"},
    "generative": {"", "generative"},
    "training": {"", "core", "metrics", "training"},
    "models": {"", "core", "generative", "metrics", "models", "nn", "training"},
}
# The program: it may use all folders, and no folder uses it.
FRONT = {"__main__.py", "cli.py", "_console.py", "_demo.py", "_options.py", "_report.py"}
FRONT |= {"_advice.py", "_command.py", "_config.py", "_evaluation_text.py", "_held_out.py"}
FRONT |= {"_journey.py", "_proposal.py"}
FRONT |= {"_stages.py", "_steps.py", "_verdict.py"}
# Libraries that are imported at use, not at the top of a file, with folders that are excepted.
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


@cache
def imports(path: Path) -> list[tuple[str, bool]]:
    """Return the absolute name of everything that a file imports, and whether that is at its top.

    Imports inside functions and imports for type checkers are not at the top.
    """
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
    """Return the folder of shoal that an absolute name is in, None if it is of another library."""
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


def refuse(broken: list[str]) -> None:
    """Fail with everything that breaks a rule."""
    assert not broken, "\n" + "\n".join(broken)


# -- imports ---------------------------------------------------------------------------------------


def test_a_folder_builds_only_on_those_below_it():
    broken = []
    for path in FILES:
        here = folder(path)
        allowed = BUILDS_ON.get(here)
        if path == SRC / "__init__.py":  # which names the namespaces for type checkers
            allowed = allowed | set(NAMESPACES)
        for name, _ in imports(path):
            there = own_folder(name)
            if name.split(".")[0] in NEVER.get(here, set()):
                broken.append(f"{short(path)} imports {name}")
            if allowed is not None and there is not None and there not in allowed:
                broken.append(f"{short(path)} builds on shoal.{there}: {name}")
    refuse(broken)


def test_heavy_libraries_are_imported_at_use():
    refuse(
        [
            f"{short(path)} imports {name} at its top"
            for path in FILES
            for name, top in imports(path)
            if top and folder(path) not in AT_USE.get(name.split(".")[0], {folder(path)})
        ]
    )


def test_only_one_file_knows_scvi():
    refuse(
        [
            f"{short(path)} imports {name}"
            for path in FILES
            for name, _ in imports(path)
            if name.split(".")[0] == "scvi" and path != SRC / "models" / "base" / "_model.py"
        ]
    )


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(["shoal", *(parts[:-1] if parts[-1] == "__init__" else parts)])


def file_graph() -> dict[str, set[str]]:
    """Return for every file the files of shoal that it imports, at its top, at use or for types."""
    names = {module_name(path) for path in FILES}
    found = {}
    for path in FILES:
        mine = module_name(path)
        one = {
            name if name in names else name.rpartition(".")[0]
            for name, top in imports(path)
            if top or mine != "shoal"  # shoal/__init__.py names its namespaces for type checkers
        }
        found[mine] = one & names - {mine}
    return found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of files in which each reaches itself by way of the others."""

    def reached(start: str) -> set[str]:
        seen, left = set(), list(graph[start])
        while left:
            name = left.pop()
            if name not in seen:
                seen.add(name)
                left += graph[name]
        return seen

    reach = {name: reached(name) for name in graph}
    inside = [name for name in graph if name in reach[name]]
    groups = {
        tuple(other for other in inside if name in reach[other] and other in reach[name])
        for name in inside
    }
    return [list(group) for group in sorted(groups)]


def test_no_files_import_one_another_in_a_circle():
    """At import, at use and for types alike."""
    refuse([" <-> ".join(group) for group in circles(file_graph())])


def test_the_finder_of_circles_finds_them():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set()}) == [["b", "c"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


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


# -- files -----------------------------------------------------------------------------------------


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_no_file_is_long():
    refuse(
        [
            f"{short(path)} has {length(path)} lines: split it"
            for path in [*FILES, *TESTS]
            if length(path) > 500
        ]
    )


def test_the_median_file_is_short():
    assert statistics.median(length(path) for path in FILES if path.name != "__init__.py") < 150


def test_tests_have_the_folders_of_the_package():
    found = {path.parent.relative_to(ROOT / "tests") for path in TESTS} - {
        Path("pinned"),
        Path("bad_input"),
    }
    refuse(
        [
            f"tests/{one.as_posix()} has no src/shoal/{one.as_posix()}"
            for one in sorted(found)
            if not (SRC / one).is_dir()
        ]
    )


def test_no_print_and_no_assert():
    broken = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            at = f"{short(path)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Assert):
                broken.append(f"{at} asserts; raise an error that names the fix")
            if getattr(getattr(node, "func", None), "id", None) == "print":
                broken.append(f"{at} prints; use the logger")
    refuse(broken)


# -- names -----------------------------------------------------------------------------------------


def test_all_is_sorted_and_is_what_is_exported():
    broken = []
    for space in NAMESPACES:
        module = importlib.import_module(f"shoal.{space}")
        tree = ast.parse((SRC / space / "__init__.py").read_text(encoding="utf-8"))
        exported = {
            alias.asname or alias.name
            for node in tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        } - {"annotations", "import_module", "TYPE_CHECKING"}
        if not module.__doc__:
            broken.append(f"shoal.{space} has no docstring")
        if module.__all__ != sorted(module.__all__):
            broken.append(f"shoal.{space}.__all__ is not sorted")
        # names of models come from the registry: tests/models/base/test_registry.py
        if space != "models" and set(module.__all__) != exported:
            odd = sorted(set(module.__all__) ^ exported)
            broken.append(f"shoal.{space}: exported or in __all__, but not both: {odd}")
    refuse(broken)


def test_the_package_lists_what_it_offers():
    assert shoal.__all__ == sorted(shoal.__all__)
    assert set(NAMESPACES) < set(shoal.__all__)
    assert all(getattr(shoal, name) is not None for name in shoal.__all__)
    with pytest.raises(
        AttributeError, match="its namespaces are benchmark, ds, io, metrics, models, pl, pp, tl"
    ):
        shoal.nothing  # noqa: B018


def test_every_public_name_has_a_page():
    broken = []
    for space in NAMESPACES:
        if space == "models":  # its page is made from the registry
            continue
        page = (ROOT / "docs" / "api" / f"{space}.md").read_text(encoding="utf-8")
        listed = re.findall(rf"^\s+{space}\.(\w+)$", page, flags=re.MULTILINE)
        public_names = importlib.import_module(f"shoal.{space}").__all__
        if sorted(listed) != public_names:
            odd = sorted(set(listed) ^ set(public_names)) or "some twice"
            broken.append(f"docs/api/{space}.md and shoal.{space}.__all__ differ: {odd}")
    refuse(broken)


# -- signatures ------------------------------------------------------------------------------------


def broken_grammar(name: str, function: object) -> Iterator[str]:
    """Yield what is wrong with a signature."""
    signature = inspect.signature(function)
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names = [p.name for p in parameters]
    if len(positional) > 2:
        yield "keyword-only after two"
    if any(isinstance(p.default, bool) for p in positional):
        yield "no positional booleans"
    if {"copy", "random_state", "seed"} & set(names):
        yield "no copy=; randomness is rng="
    if any(p.annotation is p.empty for p in parameters):
        yield "every parameter has its type"
    if signature.return_annotation is signature.empty:
        yield "what does it return?"
    if name.startswith(("pl.", "pp.", "tl.")) and names[0] != "data":
        yield "the first parameter is data"
    if name.startswith(("pp.", "tl.")) and "mod" not in names:
        yield "takes a MuData by mod="
    for forwarded in (p.name for p in parameters if p.kind is p.VAR_KEYWORD):
        text = documented(function).get(f"**{forwarded}", "")
        if not re.search(r"(passed|forwarded) to \S+", text):
            yield f"name the function that gets **{forwarded}"


def test_signature_grammar():
    refuse([f"{name}: {said}" for name, one in FUNCTIONS for said in broken_grammar(name, one)])


# -- docstrings ------------------------------------------------------------------------------------


def sections(obj: object) -> dict[str, str]:
    """Split a numpydoc docstring by its headings; what is before the first is under ``""``."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.getdoc(obj) or "", flags=re.MULTILINE)
    return {"": parts[0]} | dict(zip(parts[1::2], parts[2::2], strict=True))


def entries(section: str) -> dict[str, str]:
    """Return the text of every name in a section; ``a, b`` are two names."""
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


def test_every_public_name_has_a_docstring():
    broken = []
    for name, obj in PUBLIC:
        first = sections(obj)[""].strip().splitlines()
        if not first:
            broken.append(f"{name} has no docstring")
        elif not first[0].endswith((".", "?")):
            broken.append(f"{name}: the first line is a sentence")
    refuse(broken)


def test_docstrings_document_every_parameter():
    broken = []
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    for name, function in FUNCTIONS:
        parameters = inspect.signature(function).parameters.values()
        expected = [stars.get(p.kind, "") + p.name for p in parameters]
        found = documented(function)
        if list(found) != expected:
            broken.append(f"{name}: documents {list(found)}, takes {expected}, in this order")
        broken += [f"{name}: {p} has no text" for p, text in found.items() if not text.strip()]
    refuse(broken)


def test_docstrings_tell_what_comes_back_and_what_goes_wrong():
    broken = []
    for name, function in FUNCTIONS:
        parts = sections(function)
        if not parts.get("Returns", "").strip():
            broken.append(f"{name}: no Returns section")
        missing = raised(function) - set(entries(parts.get("Raises", "")))
        if missing:
            broken.append(f"{name}: raises {sorted(missing)} and does not say so")
    refuse(broken)


def test_docstrings_show_an_example():
    refuse(
        [
            f"{name}: no Examples section"
            for name, function in FUNCTIONS
            if ">>>" not in sections(function).get("Examples", "")
        ]
    )


# -- weight ----------------------------------------------------------------------------------------


def child(code: str) -> object:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def test_imports_load_nothing_heavy():
    roots = "sorted({m.split('.')[0] for m in sys.modules})"
    broken = []
    for spaces, allowed in (
        ("pp tl ds io models metrics core cli", set()),  # what one of them loads, all load
        ("pl", {"matplotlib"}),
    ):
        names = ", ".join(f"shoal.{space}" for space in spaces.split())
        found = set(child(f"import {names}\nimport json, sys\nprint(json.dumps({roots}))"))
        assert "shoal" in found
        broken += [f"import {names} loads {one}" for one in sorted((HEAVY - allowed) & found)]
    refuse(broken)


@pytest.mark.slow
def test_import_costs_about_what_anndata_costs():
    def seconds(module: str) -> float:
        return child(
            f"import time\nt = time.process_time()\nimport {module}\nprint(time.process_time() - t)"
        )

    seconds("shoal")  # writes the byte code
    ratios = [seconds("shoal") / seconds("anndata") for _ in range(3)]
    assert statistics.median(ratios) <= 1.3, f"import shoal / import anndata, CPU time: {ratios}"


def test_measuring_and_judging_do_without_scipy_stats():
    """Of all of scipy it takes the longest to import and the most memory."""
    statement = "import shoal.pp, shoal.tl, shoal.metrics._external_suites, sys"
    assert child(f"{statement}\nprint('false' if 'scipy.stats' in sys.modules else 'true')")
