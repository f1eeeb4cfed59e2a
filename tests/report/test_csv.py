"""The CSV button: no cell is a formula, and every name can be had back as it was."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import shoal
from shoal.tl._report import report

SCRIPT = Path(shoal.__file__).parent / "report" / "csv.js"
NODE = shutil.which("node")

FORMULAS = [
    "=1+1",
    "+JQ1",
    "-A",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    " =1",
    "  \t -cmd",
    '"=1',
    "'=1",
    " '\"=1",
    "\u00a0=1",
    "\ufeff=1",
    "＝1",
    "＋1",
    "-",
    "--",
    "-1+1",
    "=HYPERLINK(\"http://x\",\"y\")",
    "-2+3+cmd|' /C calc'!A0",
    "+5 uM",
]  # fmt: skip
NAMES = [
    "A+B",
    "(+)-JQ1",
    "a,b",
    'say "x"',
    "two\nlines",
    "two\r\nlines",
    "it's",
    " padded ",
    "5'-AMP",
    "<script>alert(1)</script>",
    "<!--gone?-->",
    "A &amp; B",
    "µ, Δ, 薬",
    "nan",
    "1-Mar",
    "",
    "'quoted'",
    "'",
    "''",
    "\tTab",
]
NUMBERS = [-0.5, 0, 3, 1e-9, -2.5e30, 12]
NUMERIC_TEXTS = ["-0.5", "+3", "-1e-9", "-.5", "7"]


def cells(values):
    """Return what the page writes for these values, by its own script."""
    if NODE is None:
        pytest.skip("node is not on the PATH")
    program = f"{SCRIPT.read_text(encoding='utf-8')}\nconst all = JSON.parse(require('fs').readFileSync(0)); console.log(JSON.stringify(all.map((v) => csvCell(v))))"
    done = subprocess.run(
        [NODE, "-e", program],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    return json.loads(done.stdout)


def is_formula(cell):
    """Whether a spreadsheet may run a cell: after blanks, controls and quotes comes an operator."""
    bare = cell.lstrip('\t\r\n "\u00a0\u200b\u2060\ufeff')
    return bool(re.match("[=+@＝＋＠－-]|\t|\r", bare)) and not re.fullmatch(
        r"[+-]?[\d.]+(e[+-]?\d+)?", bare
    )


def test_no_text_is_a_formula_and_every_text_comes_back():
    texts = FORMULAS + NAMES
    written = cells(texts)
    assert not [cell for cell in written if is_formula(cell)]
    assert [cell[1:] if cell.startswith("'") else cell for cell in written] == texts
    assert len(set(written)) == len(texts)
    changed = [text for text, cell in zip(texts, written, strict=True) if cell != text]
    assert changed == [*FORMULAS, "'quoted'", "'", "''", "\tTab"]  # and no other


def test_numbers_stay_numbers():
    assert [float(cell) for cell in cells(NUMBERS)] == NUMBERS
    assert cells(NUMERIC_TEXTS) == NUMERIC_TEXTS
    assert cells([None]) == [""]


def test_a_file_of_such_cells_is_read_back():
    texts = FORMULAS + NAMES
    quoted = "".join('"' + cell.replace('"', '""') + '"\n' for cell in cells(texts))
    read = [row[0] for row in csv.reader(io.StringIO(quoted, newline=""))]
    assert [cell[1:] if cell.startswith("'") else cell for cell in read] == texts


def test_the_page_uses_it(measured, tmp_path):
    for library in ("plotly", "itables", "jinja2"):
        pytest.importorskip(library, reason=f"{library}, of the extra report, is not installed")
    page = report(measured, out=tmp_path / "r.html").read_text(encoding="utf-8")
    assert SCRIPT.read_text(encoding="utf-8") in page
    assert "body: csvCell" in page
    assert "header: (_, i) => csvCell(columns[i].title)" in page
