"""The README runs as it is printed: every block, in order, in an empty folder, with the real defaults."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
BLOCKS = BLOCK.findall(README)
TIME = re.compile(r"# (\d+) seconds")
INSTALL = "pip install"
NOT_FOR_USERS = {"dev", "docs", "test"}
SLACK = 3.0  # a machine may be slower than the one on which times were measured

# Runs the blocks in one process, in the folder it is started in, and prints the CPU seconds of each.
DRIVER = """
import json, resource, shlex, subprocess, sys

def spent():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)

seconds, left = [], {"__name__": "readme"}
for number, (language, text) in enumerate(json.load(sys.stdin)):
    before = spent()
    if language == "python":
        exec(compile(text, f"README.md, block {number}", "exec"), left)
    else:
        for line in text.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            subprocess.run([sys.executable, "-m", program, *arguments], check=True, stdout=sys.stderr)
    seconds.append(spent() - before)
print(json.dumps({"seconds": seconds, "left": {name: str(getattr(value, "shape", "")) for name, value in left.items()}}))
"""


def test_the_install_line_is_the_first_block_and_the_only_one():
    assert [text.startswith(INSTALL) for _, text in BLOCKS] == [True] + [False] * (len(BLOCKS) - 1)
    assert {language for language, _ in BLOCKS} == {"bash", "python"}
    assert all(
        line.startswith("shoal ")
        for kind, text in BLOCKS[1:]
        if kind == "bash"
        for line in text.splitlines()
    )


@pytest.mark.slow
def test_every_block_runs_in_an_empty_folder(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("itables")
    folder, home = tmp_path / "empty", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    nowhere = "http://127.0.0.1:9"  # whatever would be downloaded is an error
    env = {k: v for k, v in os.environ.items() if k != "SHOAL_DATA_DIR"}
    env |= {"HOME": str(home), "MPLBACKEND": "agg", "http_proxy": nowhere, "https_proxy": nowhere}
    done = subprocess.run(
        [sys.executable, "-c", DRIVER],
        input=json.dumps(BLOCKS[1:]),
        cwd=folder,
        env=env | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["left"]["adata"] == "(7412, 103)"
    assert found["left"]["cells"] == "(300, 103)"
    written = {path.name for path in folder.iterdir()}
    assert written == {"demo", "report.html", "screen.h5ad", "results", "page.html"}
    assert (folder / "demo" / "report.html").is_file()
    assert (folder / "results" / "report.html").is_file()
    assert "of 17 perturbations respond" in done.stderr  # the verdict of the demo
    for (_, text), seconds in zip(BLOCKS[1:], found["seconds"], strict=True):
        told = sum(map(int, TIME.findall(text)))
        sys.stdout.write(f"{seconds:5.0f} s, {told} s printed: {text.splitlines()[-1]}\n")
        assert seconds < SLACK * told + 10, f"README says {told} s, measured {seconds:.0f}: {text}"


def test_every_extra_is_in_the_table_and_all_brings_them_all():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    users = set(extras) - NOT_FOR_USERS
    assert set(re.findall(r"^\| `(\w+)` \|", README, flags=re.MULTILINE)) == users
    (line,) = extras["all"]
    assert set(line.removeprefix("shoal[").removesuffix("]").split(",")) == users - {"all"}
    page = (ROOT / "docs" / "installation.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)) == users


def test_the_entry_for_the_registry_says_what_the_package_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entry = yaml.safe_load((ROOT / ".github" / "ecosystem" / "meta.yaml").read_text("utf-8"))
    assert (entry["name"], entry["version"]) == (project["name"], project["version"])
    assert entry["license"] == project["license"].split(" AND ")[0]  # that of the code
    assert entry["project_home"] == project["urls"]["Source"]
    assert entry["documentation_home"] == project["urls"]["Documentation"]
    extras = re.search(r"\[([\w,]+)\]", entry["test_command"]).group(1).split(",")
    assert set(extras) <= set(project["optional-dependencies"])


def test_what_the_readme_links_to_is_there():
    links = re.findall(r"\]\((?!https?:)([^)#]+)(?:#([\w-]+))?\)", " ".join(README.split("\n")))
    assert len(links) > 10
    for path, anchor in links:
        target = ROOT / path.strip()
        assert target.exists(), path
        if anchor:
            titles = re.findall(
                r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE
            )
            assert anchor in {re.sub(r"[^\w -]", "", t).lower().replace(" ", "-") for t in titles}
