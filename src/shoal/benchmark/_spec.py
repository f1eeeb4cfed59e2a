"""What a benchmark is made of: data sets, splits, models, seeds, and the evaluation."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from .. import ds, pp
from .._validate import one_of
from ..evaluation._models import checked_name, known_keys, read_models, read_seeds
from ..metrics._suite import SUITE

SOURCES = ("path", "load", "call")
EVALUATE = ("metrics", "layer", "n_comps", "min_cells", "n_draws", "reference")  # of tl.evaluate


def _arguments(function: Callable[..., Any], *without: str) -> tuple[str, ...]:
    """Return the arguments of a function that a spec may give."""
    return tuple(
        p
        for p in inspect.signature(function).parameters
        if p not in ("data", "overwrite", "mod", *without)
    )


ANNOTATE = _arguments(pp.annotate)
SPLIT = _arguments(pp.split, "perturbation_key", "control", "key_added")
PREPARE = _arguments(pp.prepare, "perturbation_key", "control")
EMBED = _arguments(pp.embed, "perturbation_key", "control")


@dataclass(frozen=True)
class Data:
    """A data set, and what is done with it before models see it.

    Attributes
    ----------
    name
        Its name.
    origin
        Where it comes from: ``"path"``, ``"load"`` or ``"call"``, and what that takes.
    annotate, prepare, embed
        Arguments of :func:`shoal.pp.annotate`, :func:`shoal.pp.prepare` (``None`` to leave it out)
        and of each call of :func:`shoal.pp.embed`.
    """

    name: str
    origin: tuple[str, Any]
    annotate: Mapping[str, Any]
    prepare: Mapping[str, Any] | None
    embed: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Split:
    """A division into training and test cells.

    Attributes
    ----------
    name
        Its name.
    options
        Arguments of :func:`shoal.pp.split`.
    data
        Names of the data sets that are divided in this way.
    """

    name: str
    options: Mapping[str, Any]
    data: tuple[str, ...]


@dataclass(frozen=True)
class Spec:
    """A benchmark: every model on every split of every data set, with every seed.

    The fields take what the keys of a YAML file hold, and are checked at once. Keys are arguments
    of the functions that they go to.

    Parameters
    ----------
    data
        Name -> mapping with these keys:

        - one of ``path`` (an h5ad file), ``load`` (a name of :func:`shoal.ds.load`) or ``call`` (a
          function without arguments that returns an AnnData; in YAML
          ``"package.module:function"``, which :func:`run` imports only with ``trust=True``);
        - arguments of :func:`shoal.pp.annotate`;
        - ``prepare``: arguments of :func:`shoal.pp.prepare`, or False to leave it out. The default
          of ``fit_on`` is ``"train"`` here;
        - ``embed``: arguments of :func:`shoal.pp.embed`, or a list of such mappings.
    splits
        Name -> arguments of :func:`shoal.pp.split`. ``data`` names the data sets that it is made
        for, all if left out.
    models
        Names of `shoal.models.available`, classes, or mappings with ``name``, ``label`` (on the
        leaderboard), ``options`` (arguments of :func:`shoal.tl.fit`) and ``predict`` (those of the
        sampler). A prediction of another program is a mapping with ``contender``: ``{"file":
        path}``, and ``label``. Its h5ad file holds predicted cells of all test conditions, on the
        scale of the prepared data. ``{data}``, ``{split}`` and ``{seed}`` in the path stand for
        their names. Each split needs a file of its own; seeds may share one.
    seeds
        Seeds of training, of prediction and of the halves into which real cells are divided. All
        seeds have the same test set: that is drawn by the ``rng`` in `splits`.
    evaluate
        Arguments of :func:`shoal.tl.evaluate`: ``metrics``, ``layer``, ``n_comps``, ``min_cells``,
        ``n_draws``, ``reference``.

    Raises
    ------
    ValueError
        If a name, a key or a value is not known, or names are not unique.
    TypeError
        If a part is not a mapping or a list where it must be one.

    Examples
    --------
    >>> import shoal as sh
    >>> spec = sh.benchmark.Spec(
    ...     data={
    ...         "simulated": {
    ...             "call": sh.ds.simulate,
    ...             "perturbation_key": "perturbation",
    ...             "control": "control",
    ...         }
    ...     },
    ...     splits={"unseen": {"by": "perturbation", "test": 0.3}},
    ...     models=["control", "mean_shift"],
    ... )
    >>> [model.label for model in spec.models]
    ['control', 'mean_shift']
    """

    data: Any
    splits: Any
    models: Any
    seeds: Any = (0,)
    evaluate: Any = field(default_factory=dict)

    def __post_init__(self) -> None:
        data = tuple(_data(name, entry) for name, entry in _items(self.data, "data"))
        splits = tuple(_split(name, entry, data) for name, entry in _items(self.splits, "splits"))
        checked = {
            "data": data,
            "splits": splits,
            "models": read_models(self.models),
            "seeds": read_seeds(self.seeds),
            "evaluate": _evaluate(self.evaluate),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def read(spec: Spec | Mapping[str, Any] | str | Path) -> Spec:
    """Return a spec from a YAML file, a mapping or a Spec.

    Paths in a YAML file are relative to its folder.

    Raises
    ------
    ValueError
        If the file is not YAML, or a key is not known or absent.
    TypeError
        If it is something else.
    FileNotFoundError
        If there is no such file, or a data set's file is not there.
    """
    if isinstance(spec, Spec):
        found = spec
    elif isinstance(spec, Mapping):
        found = _from_mapping(spec, "the spec")
    elif isinstance(spec, (str, Path)):
        found = _from_file(Path(spec))
    else:
        msg = (
            "spec must be a path of a YAML file, a mapping or a sh.benchmark.Spec, not "
            f"{type(spec).__name__}"
        )
        raise TypeError(msg)
    for data in found.data:
        kind, origin = data.origin
        if kind == "path" and not Path(origin).is_file():
            msg = f"data {data.name!r}: no such file: {origin}"
            raise FileNotFoundError(msg)
    return found


def refuse_imports(spec: Spec) -> None:
    """Raise ``ValueError`` if a spec names code to import, and list that code."""
    named = [
        f"{origin} (data {data.name!r})"
        for data in spec.data
        for kind, origin in [data.origin]
        if kind == "call" and isinstance(origin, str)
    ]
    if named:
        msg = (
            f"the spec would import and run {', '.join(named)}. Nothing was imported. If you know "
            "this code, pass trust=True"
        )
        raise ValueError(msg)


def _from_file(path: Path) -> Spec:
    import yaml

    if not path.is_file():
        msg = f"no such spec: {path}"
        raise FileNotFoundError(msg)
    try:
        entry = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        msg = f"{path} is not YAML: {err}"
        raise ValueError(msg) from err
    data = entry.get("data") if isinstance(entry, Mapping) else None
    for one in data.values() if isinstance(data, Mapping) else ():
        _beside(path, one, "path")
    models = entry.get("models") if isinstance(entry, Mapping) else None
    for one in models if isinstance(models, list) else ():
        _beside(path, one.get("contender") if isinstance(one, dict) else None, "file")
    return _from_mapping(entry, str(path))


def _beside(spec: Path, entry: Any, key: str) -> None:
    """Make a path in a spec relative to the folder of the spec."""
    if isinstance(entry, dict) and isinstance(entry.get(key), str):
        entry[key] = str(spec.parent / Path(entry[key]).expanduser())


def _from_mapping(entry: Any, where: str) -> Spec:
    known = tuple(f.name for f in fields(Spec))
    entry = known_keys(entry, known, where=where)
    absent = [name for name in known[:3] if name not in entry]
    if absent:
        msg = (
            f"{where} lacks {absent[0]!r}; it needs data, splits and models, and may have seeds "
            "and evaluate"
        )
        raise ValueError(msg)
    return Spec(**entry)


def _data(name: str, entry: Any) -> Data:
    where = f"data {name!r}"
    entry = known_keys(entry, (*SOURCES, *ANNOTATE, "prepare", "embed"), where=where)
    given = [kind for kind in SOURCES if kind in entry]
    if len(given) != 1:
        listed = " and ".join(given) or "none of them"
        msg = f"{where} needs one of {', '.join(SOURCES)}, not {listed}"
        raise ValueError(msg)
    kind, origin = given[0], entry[given[0]]
    if kind == "load":
        one_of(origin, list(ds.available().index), name=f"{where}: load")
    elif kind == "call":
        if not (callable(origin) or (isinstance(origin, str) and origin.count(":") == 1)):
            msg = f"{where}: call must be a function or 'package.module:function', not {origin!r}"
            raise ValueError(msg)
    else:
        origin = str(origin)
    annotate = {key: entry[key] for key in ANNOTATE if key in entry}
    if kind != "load" or annotate:
        lacking = [key for key in ("perturbation_key", "control") if key not in annotate]
        if lacking:
            msg = f"{where} lacks {lacking[0]!r}; no column and no label is guessed"
            raise ValueError(msg)
    prepare = entry.get("prepare") or {}
    embed = entry.get("embed") or ()
    several = [embed] if isinstance(embed, Mapping) else embed
    return Data(
        name,
        (kind, origin),
        annotate,
        None
        if entry.get("prepare") is False
        else {"fit_on": "train"} | known_keys(prepare, PREPARE, where=f"{where}: prepare"),
        tuple(known_keys(one, EMBED, where=f"{where}: embed") for one in several),
    )


def _split(name: str, entry: Any, data: tuple[Data, ...]) -> Split:
    entry = known_keys({} if entry is None else entry, (*SPLIT, "data"), where=f"split {name!r}")
    names = [one.name for one in data]
    chosen = entry.pop("data", names)
    chosen = [chosen] if isinstance(chosen, str) else chosen
    for one in chosen:
        one_of(one, names, name=f"split {name!r}: data")
    return Split(name, entry, tuple(chosen))


def _evaluate(entry: Any) -> dict[str, Any]:
    entry = known_keys(entry, EVALUATE, where="evaluate")
    metrics = entry.get("metrics")
    if metrics is not None:
        if isinstance(metrics, str) or not isinstance(metrics, Sequence) or not metrics:
            msg = f"evaluate: metrics must be a list with at least one metric, not {metrics!r}"
            raise TypeError(msg)
        for metric in metrics:
            one_of(metric, SUITE, name="evaluate: metrics")
    return entry


def _items(entry: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Return names and entries of a part."""
    if not isinstance(entry, Mapping) or not entry:
        msg = (
            f"{where} must be a mapping from names to settings with at least one entry, not "
            f"{entry!r}"
        )
        raise TypeError(msg)
    return ((checked_name(name, where), value) for name, value in entry.items())
