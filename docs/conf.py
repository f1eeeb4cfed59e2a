"""Sphinx configuration."""

import os
import re
import shutil
import subprocess
import sys
import typing
import warnings
from importlib.metadata import metadata
from pathlib import Path

import numpy as np
from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import NumpyDocstring

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import _leaderboard  # noqa: E402 (beside this file)
import _models  # noqa: E402

ONLINE = "READTHEDOCS" in os.environ  # elsewhere the build needs no network

# -- Project ---------------------------------------------------------------------------------------------------------

info = metadata("shoal")
project = info["Name"]
author = "The shoal developers"
copyright = f"2026, {author}"
version = release = info["Version"]
repository = "https://github.com/scverse/shoal"

# -- Sources ---------------------------------------------------------------------------------------------------------

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.linkcode",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx-mathjax-offline",  # serves MathJax from the built pages
    "sphinx_autodoc_typehints",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build", "generated/_*", "**.ipynb_checkpoints"]
suppress_warnings = ["config.cache", "myst.header"]
default_role = "literal"
bibtex_bibfiles = ["references.bib"]
bibtex_reference_style = "author_year"

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # `make notebooks` runs them; the pages show what is stored in them
nb_merge_streams = True

autosummary_generate = [
    *(path.relative_to(HERE).as_posix() for path in sorted(HERE.glob("api/*.md"))),
    "generated/_models_api.md",  # included by api/models.md
]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_google_docstring = False
napoleon_numpy_docstring = True
napoleon_use_ivar = True
typehints_defaults = "braces"
typehints_document_rtype_none = False
warnings.filterwarnings("ignore", message=".*set_application")  # within sphinx_autodoc_typehints
always_use_bars_union = True

intersphinx_mapping = {
    "anndata": ("https://anndata.readthedocs.io/en/stable/", None),
    "matplotlib": ("https://matplotlib.org/stable/", None),
    "mudata": ("https://mudata.readthedocs.io/stable/", None),
    "numpy": ("https://numpy.org/doc/stable/", None),
    "pandas": ("https://pandas.pydata.org/pandas-docs/stable/", None),
    "python": ("https://docs.python.org/3", None),
    "scanpy": ("https://scanpy.readthedocs.io/en/stable/", None),
}
if not ONLINE:
    intersphinx_mapping = {}

# -- Pages -----------------------------------------------------------------------------------------------------------

html_theme = "sphinx_book_theme"
html_title = "shoal"
html_static_path = ["_static"]
html_css_files = ["shoal.css", "leaderboard.css"]
html_js_files = [("leaderboard.js", {"defer": "defer"})]
html_show_sourcelink = False
html_theme_options = {
    "repository_url": repository,
    "path_to_docs": "docs",
    "use_repository_button": True,
    "use_issues_button": True,
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "home_page_in_toc": False,
    "navbar_persistent": [],  # the search field is in the side bar
    "pygments_light_style": "tango",
}
templates_path = ["_templates"]
pygments_style = "tango"


def typehints_formatter(annotation: object, _config: object) -> str | None:
    """Write array types short; their shapes stand in the text."""
    return "``ndarray``" if typing.get_origin(annotation) is np.ndarray else None


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Link an object to its source on the code host."""
    import inspect

    found = sys.modules.get(info["module"]) if domain == "py" else None
    try:
        for part in info["fullname"].split("."):
            found = getattr(found, part)
        lines, first = inspect.getsourcelines(inspect.unwrap(found))
        path = Path(inspect.getfile(found)).relative_to(HERE.parent)
    except (AttributeError, TypeError, OSError, ValueError):
        return None
    return f"{repository}/blob/main/{path}#L{first}-L{first + len(lines) - 1}"


CITATION_KEYS = re.findall(r"^@\w+{(\w+),", (HERE / "references.bib").read_text(), re.MULTILINE)
CITED = re.compile(rf"\b({'|'.join(CITATION_KEYS)})\b")


LITERAL = re.compile(r"(``.*?``|`.*?`|^ *(?:>>>|\.\.\.) .*)")


def _plain_text(
    _app: object, _what: str, _name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Link citation keys to the references, and let ``|x|`` be a length, not a substitution."""
    for i, line in enumerate(lines):
        parts = LITERAL.split(line)
        parts[::2] = [CITED.sub(r":cite:t:`\1`", part.replace("|", r"\|")) for part in parts[::2]]
        lines[i] = "".join(parts)


def _returns(self: NumpyDocstring, _section: str) -> list[str]:
    """Read a Returns section as text with a list of slots: the type of what is returned stands in the signature."""
    lines = self._dedent(self._consume_to_next_section())
    return [":returns:", "", *self._indent(lines[1:] if lines[0] == ":" else lines), ""]


def _collect_tutorials() -> None:
    """Copy the notebooks, which live outside of the documentation, to where Sphinx looks."""
    target = HERE / "tutorials"
    target.mkdir(exist_ok=True)
    for notebook in sorted((HERE.parent / "tutorials").glob("*.ipynb")):
        copy = target / notebook.name
        if not copy.exists() or copy.read_bytes() != notebook.read_bytes():
            shutil.copyfile(notebook, copy)


def _describe_commands() -> None:
    """Write the options of the program, from its own help texts."""
    command = [sys.executable, "-m", "typer", "shoal.cli", "utils", "docs", "--name", "shoal"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    (HERE / "generated").mkdir(exist_ok=True)
    (HERE / "generated" / "cli.txt").write_text(text[text.index("## ") :])


def setup(app: Sphinx) -> None:
    """Prepare the sources."""
    NumpyDocstring._parse_returns_section = _returns
    app.connect("autodoc-process-docstring", _plain_text)
    _collect_tutorials()
    _describe_commands()
    _models.write()
    _leaderboard.write()
