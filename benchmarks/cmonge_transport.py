"""Train cmonge 0.1.3 on the simulated transport task, in an environment of its own; `transport.py` calls this.

    python cmonge_transport.py transport_task.npz OUTPUT.npz [--seed 0] [--steps 500] [--batch 256] [--lr 1e-3]

Its own trainer, losses and network (published sizes); only its reader of h5ad files is replaced by draws from arrays, which is
faster than what it does. OUTPUT gets `made` (4, 1000, 50), the carried test controls, and the CPU seconds of the training.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
from cmonge.datasets.single_loader import AbstractDataModule
from cmonge.trainers.conditional_monge_trainer import ConditionalMongeTrainer
from dotmap import DotMap


class Cells:
    """The four conditions as cmonge's trainer asks for them."""

    def __init__(self, stored: np.lib.npyio.NpzFile, batch: int, seed: int) -> None:
        self.batch_size, self.rng = batch, np.random.default_rng(seed)
        keys = iter(jax.random.split(jax.random.PRNGKey(seed), 8))
        draw = AbstractDataModule.sampler_iter
        self.loaders = {}
        for k in range(4):
            pair = [
                draw(jnp.asarray(stored[name]), batch, next(keys))
                for name in ("control", f"train_c{k}")
            ]
            self.loaders[k] = SimpleNamespace(get_loaders_by_type=lambda _split, pair=pair: pair)

    def sample_condition(self, _split: str) -> int:
        return int(self.rng.integers(4))


class Embedding:
    """One-hot and dose, as two contexts."""

    def __init__(self, datamodule: Cells, name: str, doses: list[float]) -> None:
        self.doses, self.size = doses, datamodule.batch_size

    def __call__(self, condition: int, size: int | None = None) -> tuple[jnp.ndarray, int]:
        row = np.append(np.eye(4)[condition], self.doses[condition])
        return jnp.asarray(np.tile(row, (size or self.size, 1))), 2


class Trainer(ConditionalMongeTrainer):
    embedding_factory = {"task": Embedding}  # noqa: RUF012


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-3)
    args = parser.parse_args()
    stored = np.load(args.source)
    cells = Cells(stored, args.batch, args.seed)
    config = {
        "seed": args.seed,
        "num_train_iters": args.steps,
        "optim": {"name": "adamw", "lr": args.lr, "kwargs": {"weight_decay": 1e-5}},
        "fitting_loss": {"name": "sinkhorn", "kwargs": {"epsilon_fitting": 1.0}},
        "regularizer": {
            "name": "monge",
            "kwargs": {"epsilon_regularizer": 0.01, "cost": "euclidean"},
        },
        "embedding": {"name": "task", "doses": stored["dose"].tolist()},
        "mlp": {
            "dim_hidden": [64] * 4,
            "dim_data": 50,
            "dim_cond": 5,
            "dim_cond_map": (50, 1),
            "context_entity_bonds": ((0, 4), (4, 5)),
        },
    }
    trainer = Trainer(
        jobid=0,
        logger_path=Path(args.target).with_suffix(".log"),
        config=DotMap(config),
        datamodule=cells,
    )
    begin = time.process_time()
    trainer.train(cells)
    jax.block_until_ready(trainer.state_neural_net.params)
    seconds = time.process_time() - begin
    control = jnp.asarray(stored["control_test"])
    made = [
        trainer.transport(control, *trainer.embedding_module(k, len(control))) for k in range(4)
    ]
    np.savez(args.target, made=np.stack([np.asarray(x) for x in made]), seconds=seconds)


if __name__ == "__main__":
    main()
