"""The examples of the public docstrings run, and show what they say."""

from __future__ import annotations

import doctest
import importlib

import pytest

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
EXAMPLES = [
    example
    for space in ("benchmark", "ds", "io", "metrics", "models", "pl", "pp", "tl")
    for module in [importlib.import_module(f"shoal.{space}")]
    for name in getattr(module, "__all__", ())
    for example in doctest.DocTestFinder(recurse=False).find(
        getattr(module, name), f"{space}.{name}", globs={}
    )
    if example.examples
]


@pytest.mark.parametrize("example", EXAMPLES, ids=[example.name for example in EXAMPLES])
def test_example_runs(example, tmp_path, monkeypatch):
    import matplotlib

    matplotlib.use("agg")
    monkeypatch.chdir(tmp_path)
    told = []
    try:
        doctest.DocTestRunner(optionflags=FLAGS).run(example, out=told.append)
    finally:
        from matplotlib import pyplot

        pyplot.close("all")
    assert not told, "".join(told)
