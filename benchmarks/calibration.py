"""Do the statistics hold what they promise? On real controls, and on simulated screens of known truth.

    python benchmarks/calibration.py [--draws 1000]
        [--only real,strata,contexts,gasperini,pca,simulated,causes,associate,replicates]

Real data are read from SHOAL_DATA_DIR (or ../shared/data); a set that is absent is named and left out. Every number in
docs and README about calibration is printed here.
"""

from __future__ import annotations

import argparse
import warnings

import anndata as ad
import numpy as np
import pandas as pd
from _calibration import SCREENS, prepared, rate, read, show
from calibration_replicates import replicates
from scipy import stats

import shoal as sh


def real(draws: int) -> None:
    """Real screens: what responds, coherence against magnitude, and the null from random splits of the controls."""
    tables, nulls = [], []
    for name in SCREENS:
        adata = prepared(name)
        if adata is None:
            continue
        sh.tl.coherence(adata)
        t = adata.uns["coherence"]["table"]
        ok = t["n_cells"] >= 20
        tables.append(
            {
                "set (gene subset)": name,
                "perturbations": len(t),
                "q < 0.05": int((t["qvalue"] < 0.05).sum()),
                "incoherent": int(((t["residual_qvalue"] < 0.05) & (t["residual"] < 0)).sum()),
                "Spearman, plug-in": float(
                    stats.spearmanr(t.loc[ok, "coherence_plugin"], t.loc[ok, "magnitude_plugin"])[0]
                ),
                "Spearman, corrected": float(
                    stats.spearmanr(t.loc[ok, "coherence"], t.loc[ok, "magnitude"])[0]
                ),
                "causes": ", ".join(
                    f"{v} {k}" for k, v in t["cause"].value_counts().items() if k != "none"
                )
                or "none",
            }
        )
        nulls += null_rows(name, adata, draws)
        if name.startswith("papalexi"):
            sh.tl.coherence_null(adata, n_cells=[30], n_draws=1, by="grna", key_added="guides")
            guides = adata.uns["guides"]["table"].query("held_out != 'random split'")
            show(
                "Papalexi: each non-targeting guide against the others (replicate strata)",
                guides[["held_out", "n_cells", "kappa", "pvalue"]].to_dict("records"),
            )
    kang = read("kang18_ctrl_8donors_null")
    for cell_type in kang.obs["cell_type"].value_counts().index if kang is not None else []:
        adata = kang[(kang.obs["cell_type"] == cell_type).to_numpy()].copy()
        if adata.n_obs < 150:
            continue
        adata.obs["perturbation"] = np.where(np.arange(adata.n_obs) == 0, "one cell", "control")
        sh.pp.annotate(adata, "perturbation", control="control")
        sh.pp.prepare(adata, normalize="log1p", n_comps=30)
        nulls += null_rows(f"kang18, {cell_type}", adata, draws)
    show("Real screens", tables)
    show("Random splits of control cells: rejections (95 % binomial interval)", nulls)


def null_rows(name: str, adata: ad.AnnData, draws: int) -> list[dict]:
    n_control = int(
        (adata.obs["perturbation"].astype(str) == adata.uns["shoal"]["control"][0]).sum()
    )
    sizes = [n for n in (30, 100, 300) if 2 * n <= n_control]
    sh.tl.coherence_null(adata, n_cells=sizes, n_draws=draws)
    table = adata.uns["coherence_null"]["table"]
    table = table[table["held_out"] == "random split"]  # guides have a table of their own
    return [
        {
            "set": name,
            "controls": n_control,
            "n": n,
            "at 0.05": rate(part["pvalue"], 0.05),
            "at 0.01": rate(part["pvalue"], 0.01),
            "residual at 0.05": rate(part["residual_pvalue"], 0.05),
        }
        for n, part in table.groupby("n_cells")
    ]


def donors() -> ad.AnnData:
    """Untreated cells of eight donors and their types: a stratum is a donor and a type of 60 cells or more."""
    kang = read("kang18_ctrl_8donors_null")
    sizes = kang.obs.groupby(["donor", "cell_type"], observed=True)["donor"].transform("size")
    kang = kang[(sizes >= 60).to_numpy()].copy()
    kang.obs["perturbation"] = np.where(np.arange(kang.n_obs) == 0, "one cell", "control")
    sh.pp.prepare(kang, "perturbation", control="control", normalize="log1p", n_comps=30)
    labels = kang.obs[["donor", "cell_type"]].astype(str).reset_index(drop=True)
    values = kang.obsm["X_pca"].astype(float)
    return ad.AnnData(values, obs=labels.set_index(kang.obs_names), obsm={"X_pca": values})


def drawn(
    base: ad.AnnData, kind: str, size: float, effect: str, rng: np.random.Generator
) -> ad.AnnData:
    """Fifteen perturbations of about 60 real control cells each, moved by a known shift.

    The size of the shift is in units of the root of the total variance within strata.
    """
    stratum = base.obs.groupby(["donor", "cell_type"]).ngroup().to_numpy()
    cell_type = base.obs["cell_type"].to_numpy()
    values, name = np.array(base.X), np.full(base.n_obs, "control", dtype=object)
    centre = pd.DataFrame(values).groupby(stratum).transform("mean").to_numpy()
    spread = np.sqrt(np.mean(np.sum((values - centre) ** 2, axis=1)))
    for p in range(15):
        free = (name == "control") & (
            pd.Series(name == "control").groupby(stratum).transform("sum") > 55
        ).to_numpy()
        here = free.copy()
        if kind == "one stratum":
            here &= stratum == rng.choice(np.unique(stratum[free]))
        elif kind == "one donor":
            here &= (base.obs["donor"] == rng.choice(base.obs["donor"][free].unique())).to_numpy()
        weight = np.ones(base.n_obs)
        if kind == "uneven":
            weight = rng.exponential(size=stratum.max() + 1)[stratum] ** 2
        weight = weight * here / np.bincount(stratum)[stratum]
        cells = rng.choice(
            base.n_obs,
            min(60, int(here.sum()) - 30 * (kind == "one stratum")),
            replace=False,
            p=weight / weight.sum(),
        )
        name[cells] = f"p{p:02d}"
        toward = rng.normal(size=(len(np.unique(cell_type)), values.shape[1]))
        toward /= np.linalg.norm(toward, axis=1, keepdims=True)
        one = (
            np.zeros(base.n_obs, int) if effect != "differs by type" else pd.factorize(cell_type)[0]
        )
        step = toward[one[cells]] * np.ones((len(cells), 1))
        if effect == "half respond":
            step *= 2 * (rng.random(len(cells)) < 0.5)[:, None]
        elif effect == "two programmes":
            step += rng.choice([-1, 1], len(cells))[:, None] * toward[1]
        values[cells] += size * spread * step
    obs = base.obs.assign(perturbation=name)
    return ad.AnnData(values, obs=obs, obsm={"X_pca": values})


def strata(draws: int) -> None:
    """Residual within strata: real control cells, moved. Strata are donor x cell type, or types are contexts."""
    base, rows = donors(), []
    settings = [
        (kind, size, "shift")
        for kind in ("one stratum", "one donor", "uneven", "even")
        for size in (0.0, 0.5, 1.0, 3.0)
    ]
    settings += [
        ("uneven", 1.0, effect) for effect in ("differs by type", "half respond", "two programmes")
    ]
    for kind, size, effect in settings:
        found = {"strata": [], "contexts": [], "by context": []}
        for seed in range(draws):
            adata = drawn(base, kind, size, effect, np.random.default_rng(seed))
            sh.tl.coherence(adata, "perturbation", control="control", strata=["donor", "cell_type"])
            found["strata"].append(adata.uns["coherence"]["table"])
            sh.pp.annotate(
                adata, "perturbation", control="control", context_key="cell_type", batch_key="donor"
            )
            sh.tl.coherence(adata)
            found["contexts"].append(adata.uns["coherence"]["table"])
            found["by context"].append(adata.uns["coherence"].get("by_context", pd.DataFrame()))
        for what in (
            ("strata", "contexts", "by context") if effect != "shift" else ("strata", "by context")
        ):
            table = pd.concat(found[what])
            if (
                not len(table)
                or not (
                    z := table["residual_z"][table["residual_pvalue"].notna()].to_numpy(float)
                ).size
            ):
                continue
            called = table["cause"].astype(str)
            rows.append(
                {
                    "cells of": kind,
                    "effect": effect,
                    "size": size,
                    "table": what,
                    "tests": len(z),
                    "mean z": float(z.mean()),
                    "sd z": float(z.std()),
                    "beyond 1.96": rate(2 * stats.norm.sf(np.abs(z)), 0.05),
                    "causes": ", ".join(
                        f"{v} {k}" for k, v in called.value_counts().items() if k != "none"
                    )
                    or "none",
                }
            )
    show("Residual within strata: real control cells of eight donors and their types, moved", rows)


def contexts() -> None:
    """Interferon on seven cell types: pooled, and type by type."""
    kang = read("kang18_scgen_valid")
    sh.pp.annotate(kang, "condition", control="control", context_key="cell_type")
    sh.pp.prepare(kang, normalize="log1p", n_comps=30)
    sh.tl.coherence(kang)
    pooled = kang.uns["coherence"]["table"].assign(context="all")
    parts = [kang.uns["coherence"].get("by_context", pd.DataFrame())]
    if not len(parts[0]):
        for name in kang.obs["cell_type"].unique():
            part = kang[(kang.obs["cell_type"] == name).to_numpy()].copy()
            sh.tl.coherence(part)
            parts.append(part.uns["coherence"]["table"].assign(context=name))
    columns = [
        "context",
        "n_cells",
        "coherence",
        "residual",
        "residual_z",
        "residual_within_z",
        "residual_between_share",
        "cause",
    ]
    table = pd.concat([pooled, *parts])
    show("Kang, interferon", table[[c for c in columns if c in table]].to_dict("records"))


def gasperini() -> None:
    """High multiplicity: depth differs with the number of guides, and cells without a listed guide carry others."""
    adata = prepared("gasperini19_sceptre_highmoi")
    if adata is None:
        return
    summary, tables = [], {}
    for control, other in (("none", "non-targeting"), ("non-targeting", "none")):
        for depth_key in (None, "total_counts"):
            sh.tl.coherence(adata, control=control, depth_key=depth_key)
            table = tables[control, depth_key] = adata.uns["coherence"]["table"]
            summary.append(
                {
                    "control": control,
                    "depth-adjusted": depth_key is not None,
                    "q < 0.05": int((table["qvalue"] < 0.05).sum()),
                    "of": len(table),
                    "p of the other control": f"{table.loc[other, 'pvalue']:.1e}",
                    "its r": float(table.loc[other, "coherence"]),
                }
            )
    columns = ["coherence", "pvalue"]
    side = tables["none", None][["n_cells", *columns]]
    for (control, depth_key), table in list(tables.items())[1:]:
        side = side.join(
            table[columns], rsuffix=f" ({control}{', depth-adjusted' if depth_key else ''})"
        )
    show(
        "Gasperini, per perturbation (first columns: control none, not adjusted)",
        side.reset_index().to_dict("records"),
    )
    show("Gasperini: controls and depth adjustment", summary)


def pca(draws: int) -> None:
    """A PCA fitted on controls and scored in sample makes controls look more variable than anything else."""
    rows = []
    for name in SCREENS:
        adata = read(name)
        if adata is None:
            continue
        label = SCREENS[name]["control"]
        adata = adata[(adata.obs["perturbation"] == label).to_numpy()].copy()
        if adata.n_obs < 900:
            continue
        adata = adata[:3000].copy()
        for folds in (0, 5, 10):
            found = []
            for seed in range(draws):
                held = np.random.default_rng(seed).choice(adata.n_obs, 300, replace=False)
                names = np.full(adata.n_obs, "control", dtype=object)
                names[held] = "held out"
                part = ad.AnnData(
                    adata.X.copy(), obs=pd.DataFrame({"perturbation": names}, index=adata.obs_names)
                )
                sh.pp.prepare(
                    part,
                    "perturbation",
                    control="control",
                    normalize="log1p",
                    n_comps=30,
                    cross_fit=folds,
                )
                sh.tl.coherence(part, "perturbation", control="control")
                found.append(part.uns["coherence"]["table"].iloc[0])
            found = pd.DataFrame(found)
            rows.append(
                {
                    "set": name,
                    "controls": adata.n_obs - 300,
                    "folds": folds,
                    "draws": draws,
                    "mean dispersion (truth 0)": float(found["dispersion"].mean()),
                    "mean residual z (truth 0)": float(found["residual_z"].mean()),
                    "p < 0.05": rate(found["pvalue"].to_numpy(float), 0.05),
                }
            )
    show("300 control cells held out of the PCA and measured as a perturbation", rows)


def simulated() -> None:
    """Coverage, type-I error and independence of cell number, on Gaussian populations of exactly known coherence."""
    sizes = np.array([20, 30, 50, 100, 200, 400])
    coverage = {n: [] for n in sizes}
    type_one = {n: [] for n in sizes}
    ranks: list[float] = []
    ranks_plugin: list[float] = []
    for seed in range(60):
        spectrum, tails = ("flat", "decay")[seed % 2], ("normal", "t5")[seed // 2 % 2]
        common = {
            "n_cells": np.tile(sizes, 20),
            "n_control": 2000,
            "n_perturbations": 120,
            "effects": "shift",
        }
        rng = np.random.default_rng(seed)
        magnitude = np.repeat(
            rng.uniform(0.05, 0.8, 20), 6
        )  # in units of the noise, the same for every size
        adata = sh.ds.simulate_gaussian(
            **common, magnitude=magnitude, spectrum=spectrum, tails=tails, rng=seed
        )
        sh.tl.coherence(adata)
        table, truth = adata.uns["coherence"]["table"], adata.uns["truth"]["table"]["coherence"]
        inside = (table["ci_low"] <= truth) & (truth <= table["ci_high"])
        null = sh.ds.simulate_gaussian(
            **common | {"effects": "null"}, spectrum=spectrum, tails=tails, rng=10_000 + seed
        )
        sh.tl.coherence(null)
        pvalue = null.uns["coherence"]["table"]["pvalue"]
        for n in sizes:
            coverage[n] += list(inside[table["n_cells"] == n])
            type_one[n] += list(pvalue[table["n_cells"] == n])
        ranks.append(float(stats.spearmanr(table["coherence"], table["n_cells"])[0]))
        ranks_plugin.append(float(stats.spearmanr(table["coherence_plugin"], table["n_cells"])[0]))
    show(
        "Simulated: flat and decaying spectra, normal and t5 tails, 2,000 controls",
        [
            {
                "n": int(n),
                "coverage of 95 % intervals": float(np.mean(coverage[n])),
                "of": len(coverage[n]),
                "type I at 0.05": rate(np.array(type_one[n]), 0.05),
                "at 0.01": rate(np.array(type_one[n]), 0.01),
            }
            for n in sizes
        ]
        + [
            {
                "n": "all",
                "coverage of 95 % intervals": float(
                    np.mean(np.concatenate(list(coverage.values())))
                ),
                "of": sum(map(len, coverage.values())),
                "type I at 0.05": rate(np.concatenate(list(type_one.values())), 0.05),
                "at 0.01": rate(np.concatenate(list(type_one.values())), 0.01),
            }
        ],
    )
    print(
        f"\nmean Spearman of coherence with cell number: {np.mean(ranks):+.3f}; of the plug-in: {np.mean(ranks_plugin):+.3f}"
    )


def causes() -> None:
    """Are the three causes of incoherence told apart?"""
    rows = []
    wanted = {
        "dispersion": "dispersion",
        "penetrance": "partial penetrance",
        "programmes": "several programmes",
    }
    for n in (60, 150, 300):
        for effect in (*wanted, "shift"):
            called: list[str] = []
            for spectrum in ("flat", "decay"):
                adata = sh.ds.simulate_gaussian(
                    n_perturbations=60, n_cells=n, n_control=2000, effects=effect, spectrum=spectrum,
                    magnitude={"penetrance": 0.8, "programmes": 0.6}.get(effect, 0.4), rng=n,
                )  # fmt: skip
                sh.tl.coherence(adata)
                called += list(adata.uns["coherence"]["table"]["cause"])
            rows.append(cause_row("Gaussian, 50 dimensions", effect, n, called, wanted))
    for size in (3.0, 6.0, 12.0, 18.0):
        for effect in (*wanted, "shift"):
            adata = sh.ds.simulate(
                n_perturbations=40, n_cells=150, n_control=2000, effects=effect, effect_size=size, n_guides=1,
                n_batches=1, rng=1,
            )  # fmt: skip
            sh.pp.prepare(adata, normalize="log1p", n_comps=30)
            for rep, space in (("X_pca", "30 PCs"), ("X", "500 genes")):
                sh.tl.coherence(adata, use_rep=rep)
                table = adata.uns["coherence"]["table"]
                what = f"counts, {space}, log fold-change {size:.0f}, median r {table['coherence'].median():.2f}"
                rows.append(cause_row(what, effect, 150, list(table["cause"]), wanted))
    show("Causes of incoherence (share of perturbations given each cause)", rows)


def cause_row(data: str, effect: str, n: int, called: list[str], wanted: dict[str, str]) -> dict:
    share = pd.Series(called).value_counts(normalize=True)
    names = ("none", "dispersion", "partial penetrance", "several programmes", "unclear")
    right = wanted.get(effect, "none")
    return {"data": data, "truth": effect, "n": n, "right": float(share.get(right, 0.0))} | {
        k: float(share.get(k, 0.0)) for k in names
    }


def associate(screens: int) -> None:
    """A score that is a convex function of magnitude, plus noise, has nothing to do with residual coherence."""
    hits: dict[tuple[str, float, str], list[float]] = {}
    for tails in ("normal", "t5"):
        for noise in (0.02, 0.3):
            for seed in range(screens):
                rng = np.random.default_rng(seed)
                size = rng.uniform(0.05, 0.8, 100)
                adata = sh.ds.simulate_gaussian(
                    n_perturbations=100, n_cells=60, n_control=1000, effects="shift", magnitude=size, spectrum="decay",
                    tails=tails, rng=seed,
                )  # fmt: skip
                score = dict(
                    zip(
                        adata.uns["truth"]["table"].index,
                        size**2 + noise * size.std() * rng.normal(size=100),
                        strict=True,
                    )
                )
                adata.obs["score"] = (
                    adata.obs["perturbation"].astype(str).map(score).fillna(0.0).to_numpy(float)
                )
                sh.tl.coherence(adata)
                for method in ("crossfit", "spline", "raw_partial"):
                    sh.tl.associate(adata, "score", method=method, n_perms=499, rng=seed)
                    hits.setdefault((tails, noise, method), []).append(
                        adata.uns["association"]["table"]["pvalue"].iloc[0]
                    )
    rows = [
        {
            "tails": tails,
            "noise of the score": noise,
            "method": method,
            "screens": len(p),
            "p < 0.05": rate(np.array(p), 0.05),
        }
        for (tails, noise, method), p in hits.items()
    ]
    show(
        "Association of residual coherence with a score that depends on magnitude alone (truth: none)",
        rows,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument(
        "--only", default="real,strata,contexts,gasperini,pca,simulated,causes,associate,replicates"
    )
    args = parser.parse_args()
    parts = {
        "real": lambda: real(args.draws),
        "strata": lambda: strata(max(4, args.draws // 60)),
        "contexts": contexts,
        "gasperini": gasperini,
        "pca": lambda: pca(max(10, args.draws * 2 // 5)),
        "simulated": simulated,
        "causes": causes,
        "associate": lambda: associate(max(5, args.draws // 10)),
        "replicates": replicates,
    }
    asked = args.only.split(",")
    if unknown := set(asked) - set(parts):
        parser.error(f"--only: there is no {sorted(unknown)}; there are {', '.join(parts)}")
    warnings.filterwarnings("ignore", category=UserWarning)
    for part in asked:
        parts[part]()


if __name__ == "__main__":
    main()
