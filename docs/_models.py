"""Pages on models, from the registry: which models there are, and which names are public."""

from __future__ import annotations

from pathlib import Path

from shoal.models.base._registry import entries

HERE = Path(__file__).parent
AUTOSUMMARY = """```{eval-rst}
.. currentmodule:: shoal

.. autosummary::
   :toctree: ../generated/

"""


def table() -> str:
    """Return a table of all models: name, kind, what is generated, unseen perturbations, needs."""
    rows = [
        "| name | kind | a generated cell is | perturbation not in training | makes use of |",
        "|---|---|---|---|---|",
    ]
    for entry in entries():
        named = (entry.name, entry.module.split(".")[-2])  # of the model, or of its folder
        pages = [page for page in named if (HERE / "user_guide" / f"{page}.md").exists()]
        link = f" ({{doc}}`/user_guide/{pages[0]}`)" if pages else ""
        needs = ", ".join(entry.needs) or "-"
        cells = (f"`{entry.name}`", entry.kind, entry.description + link, entry.unseen, needs)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def api() -> str:
    """Return the lists of public names for the page of the API: functions, networks, baselines."""
    functions = ["available", "load", "register"]
    ensembles = [name for entry in entries() if entry.kind == "ensemble" for name in entry.exports]
    networks = [name for entry in entries() if entry.kind == "network" for name in entry.exports]
    baselines = [name for entry in entries() if entry.kind == "baseline" for name in entry.exports]
    needed = 'They need the libraries of `pip install "shoal[models]"`.'
    simple = (
        "The simple models that a network has to beat, and often does not. They are numpy alone."
    )
    parts = {
        "": functions,
        "## Ensemble\n\nIt asks the other models.\n\n": sorted(ensembles),
        f"## Networks\n\n{needed}\n\n": [*sorted(networks), "PerturbationModel"],
        f"## Baselines\n\n{simple}\n\n": ["Baseline", "Moved", *sorted(baselines)],
    }
    return "\n".join(
        f"{text}{AUTOSUMMARY}{''.join(f'   models.{name}{chr(10)}' for name in names)}```\n"
        for text, names in parts.items()
    )


def write() -> None:
    """Write both into ``docs/generated``, for the pages that include them."""
    (HERE / "generated").mkdir(exist_ok=True)
    for name, text in (("_models_table.md", table()), ("_models_api.md", api())):
        (HERE / "generated" / name).write_text(text, encoding="utf-8")
