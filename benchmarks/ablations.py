"""Change the parts of a network's default one at a time, and print what that does on real screens.

    python benchmarks/ablations.py [--model flow] [--data renge kang] [--split perturbation_context] [--seeds 0 1 2]
                                   [--only "default" ...]

Held-out conditions, scored as in `_evaluate.py`: energy distance, Pearson correlations of the shift from the mean of the perturbed
and from the controls, variance ratio and the error in the fraction of zeros, means over the seeds; and the energy distance of
every seed. A variant of training is trained anew; those of generation, indented, use the network above them.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd
from _evaluate import exam
from _screens import DATA, FOLDER, Task, prepare
from threadpoolctl import threadpool_limits

import shoal as sh
from shoal.models.base._registry import model_class

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN = ["energy", "pearson_perturbed", "pearson_control", "variance_ratio", "zero_error", "cpu_s"]


@dataclass(frozen=True)
class Variant:
    """A way of training, and ways of generating with what was trained.

    `needs` names what the screen must have for a way of generating to differ: ``"context"`` or ``"vectors"``.
    """

    name: str
    fit: dict[str, Any] = field(default_factory=dict)
    pretrain: int = 0
    generate: dict[str, dict[str, Any]] = field(default_factory=dict)
    needs: dict[str, str] = field(default_factory=dict)


def config(name: str, **settings: Any) -> Variant:
    """Return a variant that differs by settings of the network."""
    return Variant(name, {"config": settings})


FLOW = (
    Variant(
        "default",
        generate={
            "begins at controls": {"cross_context": False},
            "context label ignored": {"guidance": {"context": 0.0}},
            "context label followed": {"guidance": {"context": 1.0}},
            "new vectors followed": {"guidance": {"perturbation": 1.0}},
            "new vectors ignored": {"guidance": {"perturbation": 0.0}},
        },
        needs={
            "begins at controls": "context",
            "context label ignored": "context",
            "context label followed": "context",
            "new vectors followed": "vectors",
            "new vectors ignored": "vectors",
        },
    ),
    config("trained from controls only", cross_context=0.0),
    config("sees all components", n_visible=None),
    config("sees cells relative to their controls", relative_to_control=True),
    config("no dropout", dropout=0.0),
    config("zeros as they come", match_zeros=False),
    Variant("conditions drawn equally often", {"weighting": "uniform"}),
    config("parts of a combination averaged", pooling="mean"),
    config("independent coupling", coupling="independent"),
)
STEPS = {f"{n} steps": {"n_steps": n} for n in (1, 4, 20, 100)}
PERTURBDIFF = (
    Variant(
        "default",
        generate={
            "begins at controls": {"cross_context": False},
            "guidance 2": {"guidance": 2.0},
        },
        needs={"begins at controls": "context"},
    ),
    config("trained from controls only", cross_context=0.0),
    config("mean not drawn back", mean_shrinkage=0.0),
    config("mean drawn back by half", mean_shrinkage=0.5),
    config("values divided by 10", divide_by=10.0),
    config("published energy distance (V-statistic, repeats count)", biased=True),
    config("energy over genes only", energy_components=0.0),
    config("energy over components only", energy=0.0),
    config("cells instead of changes (no residual)", residual=False),
    config("hurdle", hurdle=True),
    config("zeros as they come", match_zeros=False),
    config("two streams, fused along features", fusion="features"),
    config("two streams, fused along tokens", fusion="tokens"),
    config("all covariates left out together", per_covariate=False, unseen_weight=1.0),
    Variant("pretrained on unlabelled cells, 500 steps", pretrain=500),
    Variant(
        "diffusion: all steps, squared error too",
        {"config": {"one_pass": False, "mse": 1.0, "n_steps": 1}},
        generate=STEPS,
    ),
    Variant(
        "published",
        {"preset": "published"},
        generate={"guidance 1": {"guidance": 1.0}},
    ),
    Variant(
        "published, strided",
        {"preset": "published", "config": {"sampler": "strided", "n_steps": 1}},
        generate={
            f"{n}, guidance {w:g}": {**steps, "guidance": w}
            for n, steps in STEPS.items()
            for w in (1.0, 2.0)
        },
    ),
    Variant("published, no energy distance", {"preset": "published", "config": {"energy": 0.0}}),
)
MONGE = (
    Variant(
        "default",
        generate={"begins at controls": {"cross_context": False}},
        needs={"begins at controls": "context"},
    ),
    config("trained from controls only", cross_context=0.0),
    config("mean not drawn back", mean_shrinkage=0.0),
    config("biased divergence", biased=True),
    config("no gap", gap=0.0),
    config("no warm start", warm_steps=0),
    config("squared distance", cost="sqeuclidean"),
    config("squared distance of halves", cost="sqeuclidean", biased=False),
    config("less regularisation", epsilon=0.1),
    config("more regularisation", epsilon=5.0),
    config("energy distance beside it", energy=1.0),
    config("8 random numbers a cell", n_noise=8),
    config("half as wide", width=64),
    config("twice as wide", width=256),
    Variant("one condition a step", {"batch_conditions": 1}),
    Variant("the last weights, no running average", {"ema": None}),
    config("sees few components", n_visible="auto"),
    config("sees cells relative to their controls", relative_to_control=True),
    config("told the context", use_context=True),
    config("the last three", n_visible="auto", relative_to_control=True, use_context=True),
    config("zeros as they come", match_zeros=False),
    config("plain layers", architecture="concatenated"),
    config("autoencoder on the components", latent="pca+autoencoder"),
    config("autoencoder", latent="autoencoder"),
    Variant("published", {"preset": "published"}),
    Variant("published, halves", {"preset": "published", "config": {"biased": False}}),
    Variant("published, components", {"preset": "published", "config": {"latent": "pca"}}),
    Variant(
        "published, components, halves",
        {"preset": "published", "config": {"latent": "pca", "biased": False}},
    ),
)
VARIANTS = {"conditional_monge": MONGE, "flow": FLOW, "perturbdiff": PERTURBDIFF}


def trained(adata, model: str, variant: Variant, *, seed: int, **options):
    """Return the model of a variant."""
    if not variant.pretrain:
        return sh.tl.fit(adata, model, rng=seed, **options, **variant.fit)
    cls = model_class(model)
    cls.setup_anndata(adata)
    made = cls(adata, rng=seed, **options)
    made.pretrain(variant.pretrain, rng=seed)
    made.train(rng=seed, **variant.fit)
    return made


def rows(
    model: str, data: str, split: str, seed: int, only: list[str] | None
) -> Iterator[dict[str, Any]]:
    task = Task(data, split, seed, (), None, FOLDER)
    adata, about = prepare(task), DATA[data]
    test = exam(adata, least=about.least, by_dose=about.by_dose, seed=seed)
    embedding = about.splits[split].embedding
    options = {} if embedding == "one-hot" else {"embedding": embedding}
    has = {"context": "context_key" in about.columns, "vectors": embedding != "one-hot"}
    yield {"variant": "second real half", **test.floor()}
    yield {"variant": "control copy", **test.control_copy()}
    for variant in VARIANTS[model]:
        if only and variant.name not in only:
            continue
        start = time.process_time()
        try:
            network = trained(adata, model, variant, seed=seed, **options)
        except FloatingPointError:
            yield {"variant": f"{variant.name}: training came apart", "energy": float("nan")}
            continue
        seconds = time.process_time() - start
        for name, how in {"": {}, **variant.generate}.items():
            if name in variant.needs and not has[variant.needs[name]]:
                continue
            sh.tl.predict(adata, network, key_added="prediction", subset="test", rng=seed, **how)
            score = test.score(adata.layers["prediction"])
            yield {
                "variant": f"- {name}" if name else variant.name,
                **score,
                "cpu_s": None if name else seconds,
            }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="flow", choices=list(VARIANTS))
    parser.add_argument(
        "--data", nargs="+", default=["renge", "kang", "papalexi", "norman"], choices=list(DATA)
    )
    parser.add_argument("--split", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", help="names of variants of training")
    given = parser.parse_args()
    for data in given.data:
        for split in [
            name for name in DATA[data].splits if name in (given.split or DATA[data].splits)
        ]:
            found = []
            for seed in given.seeds:
                for place, row in enumerate(rows(given.model, data, split, seed, given.only)):
                    found.append({"place": place, "seed": seed, **row})
                    print(seed, row["variant"], row["energy"], flush=True)
            table = pd.DataFrame(found)
            each = (
                table.pivot_table(index="place", columns="seed", values="energy")
                .add_prefix("seed ")
                .round(3)
            )
            mean = table.groupby("place")[SHOWN].mean().round(3)
            name = table.groupby("place")["variant"].first()
            print(f"\n{given.model}, {data}, {split}\n")
            print(
                pd.concat([name, mean, each], axis=1).set_index("variant").to_markdown(), flush=True
            )


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
