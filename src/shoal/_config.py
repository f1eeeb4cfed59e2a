"""A config file of the command line: options by name, in YAML."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._validate import key_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

PATHS = ("file", "out", "calls", "targets", "vectors", "genes", "perturbations", "controls")
NO_PATHS = ("annotations",)  # a value of vectors


@dataclass(frozen=True)
class Config:
    """What a config file says.

    Attributes
    ----------
    path
        The file. Paths in it are relative to its folder.
    values
        Value of every option that is named and has one.
    """

    path: Path
    values: Mapping[str, Any]

    def value(self, name: str, *, several: bool) -> Any:
        """Return the value of an option, as the command line takes it.

        Parameters
        ----------
        name
            Name of the option.
        several
            Whether it can be given several times.

        Raises
        ------
        ValueError
            If it is no number, text, or list of these.
        """
        found = self.values[name]
        each = found if isinstance(found, list) else [found]
        if not all(isinstance(one, (str, int, float, bool)) for one in each):
            msg = f"{self.path}: {name} must be a number, a text or a list of these, not {found!r}"
            raise ValueError(msg)
        if isinstance(found, list) and not several:
            msg = f"{self.path}: {name} takes one value, not the list {found!r}"
            raise ValueError(msg)
        if name in PATHS:
            each = [one if one in NO_PATHS else str(self._beside(str(one))) for one in each]
        plain = [one if isinstance(one, bool) else str(one) for one in each]
        return plain if several else plain[0]

    def _beside(self, path: str) -> Path:
        return self.path.parent / Path(path).expanduser()


def settings_of(path: Path, known: Collection[str]) -> Config:
    """Read a config file.

    Parameters
    ----------
    path
        The file.
    known
        Names of all options.

    Raises
    ------
    FileNotFoundError
        If it is not there.
    ValueError
        If it is no YAML, or holds something else than names and values.
    KeyError
        If a name is not that of an option.
    """
    import yaml

    if not path.is_file():
        msg = f"no such config file: {path}; shoal init FILE writes one"
        raise FileNotFoundError(msg)
    try:
        entry = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        msg = f"{path} is not YAML: {err}"
        raise ValueError(msg) from err
    if not isinstance(entry, dict):
        msg = f"{path} must hold lines such as 'by: perturbation', not {entry!r}"
        raise ValueError(msg)
    values = {str(name).replace("-", "_"): value for name, value in entry.items()}
    for name in values:
        key_in(name, known, where="the options", hint=f"(a line of {path})")
    return Config(path, {name: value for name, value in values.items() if value is not None})
