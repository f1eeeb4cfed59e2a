"""CellFlux on images: simulated cells with known counterfactuals, p65 going into nuclei (BBBC014), real crops, and speed.

    python benchmarks/cellflux.py simulated [--seeds 0 1 2] [--steps 600] [--config '{"path_start": "control"}']
    python benchmarks/cellflux.py null [--seeds 0 1 2] [--steps 600] [--size 24]
    python benchmarks/cellflux.py nfkb [--seeds 0 1 2] [--config '{"path_start": "noise"}'] [--inner]
    python benchmarks/cellflux.py crops | speed | reflow

`nfkb --inner` fits on half of the training half and judges the other half of it: presets were chosen by it. Without it, it fits on
the left half of the field and judges the right half, which nothing was chosen on. Images are 24 or 32 pixels so that it runs on a CPU.
`speed` times the U-Net of the preset, a step beside its convolutions and matrix products alone.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from scipy.spatial.distance import cdist

import shoal as sh
from shoal.core._image_reading import crops
from shoal.metrics import energy_distance
from shoal.metrics._image_features import feature_names, image_features

FOLDER = Path(os.environ.get("SHOAL_DATA_DIR", Path(__file__).parents[2] / "shared" / "data"))
EDGE = 620  # x of the border between the halves of the field of BBBC014, in pixels
OVERLAP = (
    64  # crops are this wide: test cells nearer to the border share pixels with training cells
)
QUANTILE = 0.995
TRUE = ("nucleus_radius", "cell_radius", "dna", "actin", "protein", "nuclear_share", "texture")
KINDS = ("translocation", "size", "intensity", "null")


def fitted(adata: ad.AnnData, seed: int, args: argparse.Namespace) -> Any:
    begin = time.process_time()
    model = sh.tl.fit(
        adata,
        "cellflux",
        use_rep="crops",
        config=args.config,
        max_steps=args.steps,
        rng=seed,
        precision=args.precision,
    )
    print(
        f"seed {seed}: {model.history_['train_loss'].index[-1]} steps in {time.process_time() - begin:.0f} CPU-s",
        flush=True,
    )
    return model


# -- simulated cells -------------------------------------------------------------------------------


def simulated(args: argparse.Namespace) -> None:
    """Each treatment is held out on one plate. What is predicted for control cells there is compared with their true counterfactuals."""
    print(
        "| seed | treatment | energy: copy | other plates' controls | mean shift | nearest training images | CellFlux | new cells |"
        " error of the counterfactual / copy's |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for seed in args.seeds:
        adata = sh.ds.simulate_images(
            n_perturbations=len(KINDS), n_cells=180, n_control=360, size=24, effects=KINDS, n_batches=3, dead=0.0, rng=seed
        )  # fmt: skip
        names, plates = (
            [f"P{i + 1}" for i in range(len(KINDS))],
            sorted(adata.obs["batch"].unique()),
        )
        held = {name: plates[i % len(plates)] for i, name in enumerate(names)}
        label, plate = adata.obs["perturbation"].astype(str), adata.obs["batch"].astype(str)
        out = (label.map(held) == plate).to_numpy()
        sh.pp.prepare_images(adata, use_rep="crops")
        model = fitted(adata[~out].copy(), seed, args)
        estimate = estimator(adata, ~out)
        for name, where in held.items():
            control = np.flatnonzero((label == "control") & (plate == where))
            truth = sh.ds.counterfactual_images(adata, name, cells=list(adata.obs_names[control]))
            made = model.transport(adata[control].copy(), name, rng=seed).obsm["crops"]
            copy = adata.obsm["crops"][control]
            shift = brightened(adata, copy, name, ~out)
            at = np.full(len(control), plates.index(where))
            real = estimate(adata.obsm["crops"][out & (label == name)], at[:1])
            first, second = np.arange(len(control)) % 2 == 0, np.arange(len(control)) % 2 == 1
            others = adata.obsm["crops"][(label == "control") & (plate != where)]
            known = adata.obsm["crops"][(label == name) & (plate != where)]
            apart = cdist(estimate(made[first], at[:1]), estimate(known, at[:1]))
            rows = {
                "copy": copy[first],
                "other": others,
                "shift": shift[first],
                "nearest": known[apart.argmin(1)],
                "made": made[first],
                "new": truth[second],
            }
            energy = [energy_distance(estimate(x, at[:1]), real) for x in rows.values()]
            ends = [estimate(x, at[:1]) for x in (copy, made, truth)]
            error, of_copy = (((x - ends[2]) ** 2).sum() for x in (ends[1], ends[0]))
            ratio = "" if "null" in KINDS[names.index(name)] else f"{error / of_copy:.2f}"
            print(f"| {seed} | {KINDS[names.index(name)]} | " + " | ".join(f"{e:.3f}" for e in energy) + f" | {ratio} |", flush=True)  # fmt: skip


def null(args: argparse.Namespace, few: int = 60, many: int = 200) -> None:
    """What a treatment that does nothing changes: trained on as few cells as `simulated`, judged on many of the held-out plate."""
    print(
        f"| seed | share moved | energy, {many} cells of each: copy | CellFlux | new cells | its floor with {few} cells of each | CellFlux / floor |"
    )
    print("|---|---|---|---|---|---|---|")
    ratios = []
    for seed in args.seeds:
        adata = sh.ds.simulate_images(
            n_perturbations=len(KINDS), n_cells=3 * many, n_control=6 * many, size=args.size, effects=KINDS, n_batches=3, dead=0.0, rng=seed
        )  # fmt: skip
        label, plate = adata.obs["perturbation"].astype(str), adata.obs["batch"].astype(str)
        name, where = f"P{len(KINDS)}", sorted(plate.unique())[0]
        number = adata.obs.groupby([label, plate]).cumcount().to_numpy()
        learn = (number < few * np.where(label == "control", 2, 1)) & ~((label == name) & (plate == where))  # fmt: skip
        sh.pp.prepare_images(adata, use_rep="crops")
        model, estimate = fitted(adata[learn].copy(), seed, args), estimator(adata, learn.to_numpy())  # fmt: skip
        control = np.flatnonzero((label == "control") & (plate == where))
        real = adata.obsm["crops"][((label == name) & (plate == where)).to_numpy()]
        made = model.transport(adata[control[:many]].copy(), name, rng=seed).obsm["crops"]
        rows = [adata.obsm["crops"][control[:many]], made, adata.obsm["crops"][control[many:]]]
        real, *rows = (estimate(x, np.zeros(1, int)) for x in (real, *rows))
        found = [with_error(x, real) for x in rows]
        # a distance that is not unbiased, as between samples, is larger by this
        chance = sum(cdist(x, x).sum() / (len(x) * (len(x) - 1)) for x in (rows[2], real)) / few
        ratios.append((found[1][0] + chance) / (found[2][0] + chance))
        texts = " | ".join(f"{value:.3f} ± {error:.3f}" for value, error in found)
        share = next(iter(model.condition_shares.values()), 1.0)
        print(f"| {seed} | {share:.2f} | {texts} | {found[2][0] + chance:.3f} | {ratios[-1]:.2f} |", flush=True)  # fmt: skip
    error = np.std(ratios, ddof=1) / np.sqrt(len(ratios)) if len(ratios) > 1 else np.nan
    print(f"CellFlux / floor: mean {np.mean(ratios):.3f} ± {error:.3f}")


def with_error(x: np.ndarray, y: np.ndarray, blocks: int = 20) -> tuple[float, float]:
    """Return the unbiased energy distance and its jackknife standard error."""
    at = [np.arange(len(v)) % blocks for v in (x, y)]
    without = [energy_distance(x[at[0] != i], y[at[1] != i]) for i in range(blocks)]
    return energy_distance(x, y), float(np.sqrt((blocks - 1) * np.var(without)))


def estimator(adata: ad.AnnData, known: np.ndarray) -> Any:
    """Return the function that reads the true parameters off images, learned on the training cells (ridge on features)."""
    scale = crops(adata, "crops").scale

    def features(images: np.ndarray, plates: np.ndarray) -> np.ndarray:
        values = image_features((scale.to_unit(images, plates) + 1) / 2, nucleus=0)
        return np.column_stack([values, np.log(np.abs(values) + 0.1)])

    plates = scale.plates_of(adata)
    x = features(adata.obsm["crops"][known], plates[known])
    y = np.log(adata.obs[list(TRUE)].to_numpy(dtype=float)[known] + 1e-3)
    centre, spread, mean, sd = x.mean(0), x.std(0) + 1e-9, y.mean(0), y.std(0)
    z = (x - centre) / spread
    weight = np.linalg.solve(z.T @ z + len(z) * 1e-2 * np.eye(z.shape[1]), z.T @ ((y - mean) / sd))
    explained = 1 - ((z @ weight - (y - mean) / sd) ** 2).mean(0)
    print(
        "parameters read off real images, share of variance:",
        dict(zip(TRUE, explained.round(2).tolist(), strict=True)),
    )
    return lambda images, at: (
        ((features(images, np.resize(at, len(images))) - centre) / spread) @ weight
    )


def brightened(adata: ad.AnnData, images: np.ndarray, name: str, known: np.ndarray) -> np.ndarray:
    """Return control images, each channel made as much brighter as the treatment makes it on the plates of training."""
    label, plate = adata.obs["perturbation"].astype(str), adata.obs["batch"].astype(str)
    seen = plate.isin(plate[known & (label == name)].unique()) & known
    mean = {
        who: adata.obsm["crops"][(seen & (label == who)).to_numpy()].mean((0, 2, 3))
        for who in (name, "control")
    }
    factor = (mean[name] / mean["control"])[:, None, None]
    return (images * factor).clip(0, 255).astype(images.dtype)


# -- p65 going into nuclei -------------------------------------------------------------------------


def bbbc014(size: int = 32) -> ad.AnnData:
    """Return BBBC014 at fewer pixels, each well and channel divided by a quantile of its own (there is one well an arm)."""
    stored = np.load(FOLDER / "bbbc014_nfkb_crops_64px.npz", allow_pickle=True)
    images = pooled(stored["crops"], size)
    for well in np.unique(stored["well"]):
        own = stored["well"] == well
        images[own] *= 200 / np.quantile(images[own], QUANTILE, axis=(0, 2, 3), keepdims=True)
    obs = {name: stored[name] for name in ("condition", "well", "x", "y")}
    adata = ad.AnnData(obs=obs, obsm={"crops": images.clip(0, 255).astype(np.uint8)})
    adata.obs_names = [f"cell{i}" for i in range(adata.n_obs)]
    return adata


def pooled(images: np.ndarray, size: int) -> np.ndarray:
    """Return means of squares of pixels, (n, C, size, size) float32."""
    n, c, h, w = images.shape
    return images.reshape(n, c, size, h // size, size, w // size).mean((3, 5), dtype=np.float32)


def nuclear_ratio(images: np.ndarray) -> np.ndarray:
    """Return p65 in the brightest fifth of the DAPI pixels of each cell, over p65 in the others."""
    p65, dapi = images.reshape(len(images), 2, -1).astype(np.float64).swapaxes(0, 1)
    order = dapi.argsort(axis=1)
    bright, rest = order[:, -(dapi.shape[1] // 5) :], order[:, : -(dapi.shape[1] // 5)]
    inside, outside = (np.take_along_axis(p65, at, 1).mean(1) for at in (bright, rest))
    return inside / outside.clip(1e-6)


def nfkb(args: argparse.Namespace) -> None:
    """Fit on the treated cells of one half of the field and on all controls; compare with the treated cells of the other half."""
    adata = bbbc014()
    treated, x, y = (
        (adata.obs["condition"] != "control").to_numpy(),
        adata.obs["x"].to_numpy(),
        adata.obs["y"].to_numpy(),
    )
    learn, judge = treated & (x < EDGE), treated & (x >= EDGE + OVERLAP)
    if args.inner:
        middle = np.median(y[learn])
        judge = learn & (y >= middle + OVERLAP / 2)
        learn = learn & (y < middle - OVERLAP / 2)
    train = adata[learn | ~treated].copy()
    sh.pp.annotate(train, "condition", control="control")
    sh.pp.prepare_images(train, use_rep="crops", channels=["p65", "DAPI"])
    scale = crops(train, "crops").scale

    def features(images: np.ndarray) -> np.ndarray:
        return image_features(
            (scale.to_unit(images, np.zeros(len(images), int)) + 1) / 2, nucleus=1
        )

    real, control = adata.obsm["crops"][judge], adata.obsm["crops"][~treated]
    centre, spread = features(real).mean(0), features(real).std(0) + 1e-9
    names = [i for i, n in enumerate(feature_names(["p65", "DAPI"], "DAPI")) if "p65" not in n]
    # a second experiment: real cells of the other half of what is judged
    half = np.argsort(y[judge]) < judge.sum() // 2
    gain = adata.obsm["crops"][learn].mean((0, 2, 3)) / control.mean((0, 2, 3))
    shifted = (control * gain[:, None, None]).clip(0, 255)
    rows: dict[str, np.ndarray] = {
        "real, judged (against itself)": real,
        "real, trained on": adata.obsm["crops"][learn],
        "copy of the control": control,
        "mean shift in intensities": shifted,
    }
    print(
        f"{learn.sum()} treated cells to learn from, {judge.sum()} to judge, {(~treated).sum()} controls; config {args.config}"
    )
    print(
        "| images | p65 ratio: median | quartiles | energy, all features | energy, DAPI features | SD of pixels / real |"
    )
    print("|---|---|---|---|---|---|")
    z = {"floor: halves": (features(real[half]), features(real[~half]))}

    def line(name: str, images: np.ndarray) -> None:
        own, target = ((features(v) - centre) / spread for v in (images, real))
        ratio, sd = nuclear_ratio(images), images.std((0, 2, 3)) / real.std((0, 2, 3))
        print(
            f"| {name} | {np.median(ratio):.2f} | {np.quantile(ratio, 0.25):.2f}, {np.quantile(ratio, 0.75):.2f} "
            f"| {energy_distance(own, target):.3f} | {energy_distance(own[:, names], target[:, names]):.3f} "
            f"| {sd[0]:.2f}, {sd[1]:.2f} |",
            flush=True,
        )

    for name, images in rows.items():
        line(name, images)
    first, second = ((v - centre) / spread for v in z["floor: halves"])
    print(
        f"| floor: halves of the judged cells | | | {energy_distance(first, second):.3f} | {energy_distance(first[:, names], second[:, names]):.3f} | |"
    )
    for seed in args.seeds:
        model = fitted(train, seed, args)
        made = model.predict("TNFa", n_cells=200, rng=seed).obsm["crops"]
        line(f"CellFlux, seed {seed}", made)
        known = adata.obsm["crops"][learn]
        apart = cdist(*((features(v) - centre) / spread for v in (made, known)))
        line(f"nearest training images, seed {seed}", known[apart.argmin(1)])
        if args.keep:
            np.save(args.keep / f"nfkb_{'inner' if args.inner else 'test'}_{seed}.npy", made)


# -- other crops, speed ----------------------------------------------------------------------------


def real_crops(args: argparse.Namespace) -> None:
    """JUMP fields cut into squares, and NF1 crops, through fit and predict; genotype and field are the same there, so no score."""
    nf1 = np.load(FOLDER / "nf1_schwann_crops_96px.npz", allow_pickle=True)
    jump = np.load(FOLDER / "jump_rab30_2sites.npz", allow_pickle=True)
    fields = jump["images"]
    squares = fields.reshape(len(fields), fields.shape[1], 4, 96, 4, 96).transpose(0, 2, 4, 1, 3, 5)
    squares = squares.reshape(-1, fields.shape[1], 96, 96)
    data = {
        "NF1": (nf1["images"], np.where(nf1["genotype"] == "WT", "control", nf1["genotype"])),
        "JUMP": (squares, np.repeat(["control", "RAB30"], len(squares) // 2)),
    }
    for name, (images, label) in data.items():
        small = pooled(images, 24).astype(np.uint16)
        adata = ad.AnnData(obs={"label": label}, obsm={"crops": small})
        adata.obs_names = [f"cell{i}" for i in range(adata.n_obs)]
        sh.pp.annotate(adata, "label", control="control")
        channels = [f"channel {i + 1}" for i in range(small.shape[1])]
        sh.pp.prepare_images(adata, use_rep="crops", channels=channels)
        model = sh.tl.fit(adata, "cellflux", use_rep="crops", max_steps=args.steps or 5)
        made = model.predict(n_cells=8).obsm["crops"]
        print(
            f"{name}: {images.shape} {images.dtype} -> {made.shape} {made.dtype}, {made.min()} to {made.max()}",
            flush=True,
        )


def speed(args: argparse.Namespace) -> None:
    """Time a step of the U-Net beside the convolutions and matrix products in it, least of several."""
    import torch

    from shoal.models.cellflux._config import PRESETS

    torch.set_num_threads(1)
    own = PRESETS["shoal"].network
    print(
        "| precision | step, ms | convolutions and products alone, ms | ratio | images a second, training | generation, one evaluation |"
    )
    print("|---|---|---|---|---|---|")
    for precision, dtype in (("32 bits", None), ("bf16", torch.bfloat16)):
        timed(precision, dtype, own)


def timed(precision: str, dtype: Any, own: Any, n: int = 32, size: int = 32) -> None:
    import torch
    from torch import nn

    from shoal.nn import UNet

    net = UNet(2, (size, size), d_condition=4 * own.width, width=own.width, multipliers=own.multipliers, n_blocks=own.n_blocks, attention=own.attention)  # fmt: skip
    x, c = torch.randn(n, 2, size, size), torch.randn(n, 4 * own.width)
    layers = [m for m in net.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    seen: list[tuple[nn.Module, torch.Tensor]] = []
    hooks = [
        m.register_forward_hook(lambda m, i, _o: seen.append((m, i[0].detach()))) for m in layers
    ]
    cast = torch.autocast("cpu", dtype=dtype or torch.bfloat16, enabled=dtype is not None)
    with cast:
        net(x, c)
    for hook in hooks:
        hook.remove()
    for _, given in seen:
        given.requires_grad_()

    def step() -> None:
        net.zero_grad()
        with cast:
            made = net(x, c)
        (made.float() - x).square().mean().backward()

    def alone() -> None:
        for layer, given in seen:
            given.grad = None
            with cast:
                made = layer(given)
            made.backward(torch.ones_like(made))

    def forward() -> None:
        with torch.no_grad(), cast:
            net(x, c)

    whole, parts, once = (least(f) for f in (step, alone, forward))
    print(
        f"| {precision} | {1e3 * whole:.0f} | {1e3 * parts:.0f} | {whole / parts:.2f} | {n / whole:.0f} | {n / once:.0f} |",
        flush=True,
    )


def least(call: Any, repeats: int = 8) -> float:
    call()
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        call()
        times.append(time.process_time() - begin)
    return min(times)


def reflow(args: argparse.Namespace) -> None:
    """Energy distance to real cells in 50 steps, in 4, and in 4 after a reflow."""
    adata = sh.ds.simulate_images(n_perturbations=1, n_cells=300, n_control=300, size=16, effects="translocation", n_batches=1, dead=0.0, rng=0)  # fmt: skip
    judged = np.flatnonzero(adata.obs["perturbation"] == "P1")[150:]
    sh.pp.prepare_images(adata, use_rep="crops")
    model = fitted(without(adata, judged), 0, args)
    straight = model.reflow(args.steps and args.steps // 2, n_pairs=300, n_steps=20, rng=0)
    scale = crops(adata, "crops").scale

    def features(images: np.ndarray) -> np.ndarray:
        return image_features(
            (scale.to_unit(images, np.zeros(len(images), int)) + 1) / 2, nucleus=0
        )

    real = features(adata.obsm["crops"][judged])
    centre, spread = real.mean(0), real.std(0) + 1e-9
    for name, made in {
        "50 steps (Heun)": model.predict("P1", n_cells=300, n_steps=50),
        "4 steps (Euler), before the reflow": model.predict(
            "P1", n_cells=300, n_steps=4, sampler="euler"
        ),
        "4 steps (Euler), after it": straight.predict("P1", n_cells=300),
    }.items():
        energy = energy_distance(
            (features(made.obsm["crops"]) - centre) / spread, (real - centre) / spread
        )
        print(f"| {name} | {energy:.3f} |", flush=True)


def without(adata: ad.AnnData, rows: np.ndarray) -> ad.AnnData:
    return adata[np.setdiff1d(np.arange(adata.n_obs), rows)].copy()


PARTS = {
    "simulated": simulated,
    "null": null,
    "nfkb": nfkb,
    "crops": real_crops,
    "speed": speed,
    "reflow": reflow,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--size", type=int, default=24, help="pixels, of the part null")
    parser.add_argument("--config", type=json.loads, default={})
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--inner", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder for predicted images")
    args = parser.parse_args()
    PARTS[args.part](args)


if __name__ == "__main__":
    main()
