"""Find, fetch and read a public screen."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import pandas as pd
from anndata import read_h5ad
from anndata.io import read_elem

from .._logging import bar, logger
from .._validate import check_folder, key_in, text
from ..pp._annotate import annotate
from . import _registry

if TYPE_CHECKING:
    from anndata import AnnData

    from ._registry import Dataset

VARIABLE = "SHOAL_DATA_DIR"
SHIPPED = Path(__file__).parent / "data"
COLUMNS = ("batch_key", "guide_key", "dose_key", "context_key")
PUBLICATION = ("title", "authors", "journal", "year", "doi")
SHOWN = (*PUBLICATION, "licence", "values", "size_mb", "perturbation_key")
MB = 1e6


def load(name: str, *, folder: str | Path | None = None) -> AnnData:
    """Load a screen by its name.

    ``"renge_small"`` is shipped with shoal and needs no network. Every other screen is downloaded
    the first time, and the size of the file is told before. The file is looked for in these
    folders, in this order:

    1. `folder`;
    2. the folder that the environment variable ``SHOAL_DATA_DIR`` names;
    3. the cache of the user;
    4. the package.

    If it is in none of them, it is downloaded into `folder`, or into the cache if no folder is
    given. Any other ``<name>.h5ad`` in the first two folders can be loaded too, if its
    ``uns["dataset_info"]`` holds ``perturbation_key`` and ``control_label``.

    Parameters
    ----------
    name
        A name that :func:`shoal.ds.available` lists.
    folder
        Folder to look in first, and to download into.

    Returns
    -------
    AnnData with the values of the file as they are, and the design in ``uns["shoal"]``, as
    :func:`shoal.pp.annotate` records it. Cells without a label belong to no group. Columns that the
    file does not have are left out of the design. The column ``values`` of
    :func:`shoal.ds.available` says whether values are counts or log-normalised.

    Raises
    ------
    KeyError
        If the name is not known.
    ConnectionError
        If the file cannot be downloaded. The message says what to put where by hand.
    FileNotFoundError
        If the file that is shipped with shoal is not in the installed package.

    Examples
    --------
    >>> import shoal as sh
    >>> adata = sh.ds.load("renge_small")
    >>> adata.shape
    (7412, 103)
    >>> adata.obs["day"].cat.categories.tolist()
    ['day2', 'day3', 'day4', 'day5']
    >>> adata = sh.ds.load("kang_2018")  # a download  # doctest: +SKIP
    """
    text(name, name="name")
    record = _registry.DATASETS.get(name)
    if record is not None:
        path = _find(record.file, folder) or _download(record, _home(folder))
        adata = _read(path, record)
        _record(
            adata,
            {k: getattr(record, k) for k in ("perturbation_key", "control", "sep", *COLUMNS)},
            name,
        )
        return adata
    local = _local(folder)
    key_in(
        name,
        [*_registry.DATASETS, *local],
        where="sh.ds.available()",
        hint=f"Folders searched: {_named(folder)}.",
    )
    adata = read_h5ad(local[name])
    info = adata.uns["dataset_info"]
    design = {"perturbation_key": info["perturbation_key"], "control": info["control_label"]}
    _record(adata, design | {k: info.get(k) for k in COLUMNS}, name)
    return adata


def available(*, folder: str | Path | None = None) -> pd.DataFrame:
    """List the screens that `load` can load.

    Parameters
    ----------
    folder
        Folder to look in, beside the one that ``SHOAL_DATA_DIR`` names and the cache of the user.

    Returns
    -------
    Table, index name, with

    - the publication: ``title``, ``authors``, ``journal``, ``year``, ``doi``;
    - the file: ``licence``, ``values`` (scale of ``X``), ``size_mb`` (NaN if it is not known),
      ``note``, ``page``, ``url`` (empty if it is shipped with shoal), ``checksum`` (empty if none
      was published), ``path`` (empty if it is not downloaded yet);
    - the design: ``perturbation_key``, ``control`` (joined by commas).

    Of a file that is not in the registry, columns hold what its ``uns["dataset_info"]`` says.

    Examples
    --------
    >>> import shoal as sh
    >>> sh.ds.available()[["year", "values", "doi"]].head(2)  # doctest: +SKIP
    """
    rows: dict[str, dict[str, Any]] = {}
    for name, record in _registry.DATASETS.items():
        found = _find(record.file, folder)
        rows[name] = {k: getattr(record, k) for k in SHOWN}
        rows[name] |= {
            "control": ",".join(record.control),
            "note": record.note,
            "page": record.page,
            "url": next(iter(record.urls), ""),
            "checksum": record.checksum or "",
            "path": str(found or ""),
        }
    for name, path in _local(folder).items():
        info = _info(path)
        rows[name] = {
            "licence": info.get("license", ""),
            "note": info.get("note", ""),
            "page": info.get("source", ""),
            "perturbation_key": info["perturbation_key"],
            "control": info["control_label"],
            "size_mb": path.stat().st_size / MB,
            "path": str(path),
        }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("name")
    texts = table.columns.drop(["year", "size_mb"])
    return table.astype({"year": "Int64", "size_mb": float}).fillna(dict.fromkeys(texts, ""))


def _folders(folder: str | Path | None) -> list[Path]:
    """Return the folders that the user names, in the order in which they are searched."""
    check_folder(folder, name="folder")
    return [Path(f).expanduser() for f in (folder, os.environ.get(VARIABLE)) if f]


def _cache() -> Path:
    import pooch

    return Path(pooch.os_cache("shoal"))


def _home(folder: str | Path | None) -> Path:
    return _cache() if folder is None else Path(folder).expanduser()


def _named(folder: str | Path | None) -> str:
    return ", ".join(map(str, _folders(folder))) or f"none (give folder= or set {VARIABLE})"


def _find(file: str, folder: str | Path | None) -> Path | None:
    places = (*_folders(folder), _cache(), SHIPPED)
    return next((f / file for f in places if (f / file).is_file()), None)


def _local(folder: str | Path | None) -> dict[str, Path]:
    """Return files that are not in the registry and say themselves what their columns mean."""
    known = {record.file for record in _registry.DATASETS.values()}
    found: dict[str, Path] = {}
    for place in _folders(folder):
        for path in sorted(place.glob("*.h5ad")):
            if (
                path.name not in known
                and {"perturbation_key", "control_label"} <= _info(path).keys()
            ):
                found.setdefault(path.stem, path)
    return found


def _info(path: Path) -> dict[str, Any]:
    """Return ``uns["dataset_info"]`` of a file without reading the rest, if it has one."""
    if not h5py.is_hdf5(path):
        return {}
    try:
        with h5py.File(path) as file:
            return dict(read_elem(file["uns/dataset_info"])) if "uns/dataset_info" in file else {}
    except (OSError, LookupError, TypeError, ValueError) as err:
        logger.warning("%s is left out, since it cannot be read: %s", path, err)
        return {}


class _Received:
    """Tells the size of a file before it comes, and then how much of it is there, for pooch."""

    def __init__(self, record: Dataset, url: str) -> None:
        self.record, self.url = record, url
        self._bar: Any = None

    @property
    def total(self) -> int:
        """Size in bytes, as the server says; 0 where it does not. pooch sets it."""
        return self._total

    @total.setter
    def total(self, n_bytes: int) -> None:
        self._total = n_bytes
        size = n_bytes / MB if n_bytes else self.record.size_mb
        told = "of unknown size" if size is None else f"{size:,.1f} MB"
        logger.warning("downloading %s, %s, from %s", self.record.name, told, self.url)
        self._bar = bar(n_bytes / MB, desc=self.record.name, unit="MB")

    def update(self, n_bytes: int) -> None:
        """Count bytes that have come."""
        if self._bar is not None and n_bytes < self._total:
            self._bar.update(n_bytes / MB)

    def reset(self) -> None:
        """Do nothing: pooch fills the bar at the end, which `update` passes over."""

    def close(self) -> None:
        """End the bar."""
        if self._bar is not None:
            self._bar.close()


def _download(record: Dataset, home: Path) -> Path:
    """Fetch the file from the first URL that gives a whole one, and keep no broken one."""
    import pooch

    from .. import __version__

    if not record.urls:
        msg = f"{record.file} is not in {SHIPPED}: this shoal is not whole, install it again"
        raise FileNotFoundError(msg)

    def fetch(url: str, part: str, caller: object) -> None:
        shown, headers = _Received(record, url), {"User-Agent": f"shoal/{__version__}"}
        get = pooch.HTTPDownloader(progressbar=shown, headers=headers, timeout=60)
        get(url, part, caller)
        with h5py.File(part):  # a page of HTML or a transfer cut short does not open
            pass

    problems = []
    for url in record.urls:
        try:
            path = pooch.retrieve(
                url, record.checksum, fname=record.file, path=home, downloader=fetch
            )
        except (OSError, ValueError) as err:  # of requests; or a wrong checksum
            problems.append((url, err))
            if (answer := getattr(err, "response", None)) is not None:
                answer.close()
        else:
            return Path(path)
    tried = "; ".join(f"{url} ({type(err).__name__}: {err})" for url, err in problems)
    msg = (
        f"could not download {record.name!r}: {tried}. Get the file where there is a network and "
        f"save it as {home / record.file}, or as {record.file} in the folder that {VARIABLE} names"
    )
    raise ConnectionError(msg) from problems[-1][1]


def _read(path: Path, record: Dataset) -> AnnData:
    """Read an h5ad, or the RNA of an h5mu with the columns that only the whole has."""
    if path.suffix != ".h5mu":
        return read_h5ad(path)
    with h5py.File(path) as file:
        adata: AnnData = read_elem(file["mod/rna"])
        whole = read_elem(file["obs"])
    for key in (record.perturbation_key, *(getattr(record, c) for c in COLUMNS)):
        source = next((k for k in (key, f"rna:{key}") if k in whole.columns), None)
        if key is not None and source is not None and key not in adata.obs:
            adata.obs[key] = whole[source].reindex(adata.obs_names)
    return adata


def _record(adata: AnnData, design: dict[str, Any], name: str) -> None:
    """Annotate with the columns and control labels that the file has; warn if there are none."""
    key, control = design["perturbation_key"], design["control"]
    seen = {str(v) for v in adata.obs[key].dropna().unique()} if key in adata.obs else set()
    controls = [c for c in ([control] if isinstance(control, str) else control) if c in seen]
    if not controls or len(seen) == len(controls):
        logger.warning(
            "%s: obs[%r] does not hold both controls %r and perturbations; not annotated",
            name,
            key,
            control,
        )
        return
    columns = {k: v for k in COLUMNS if (v := design[k]) is not None and v in adata.obs}
    columns["sep"] = design.get("sep", "auto")
    annotate(adata, key, control=controls, missing="ignore", **columns)
