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
            If it is no text, or list of texts.
        """
        found = self.values[name]
        each = found if isinstance(found, list) else [found]
        if not all(isinstance(one, str) for one in each):
            msg = f"{self.path}: {name} must be a number, a text or a list of these, not {found!r}"
            raise ValueError(msg)
        if isinstance(found, list) and not several:
            msg = f"{self.path}: {name} takes one value, not the list {found!r}"
            raise ValueError(msg)
        if name in PATHS:
            each = [one if one in NO_PATHS else str(self._beside(one)) for one in each]
        return each if several else each[0]

    def _beside(self, path: str) -> Path:
        return self.path.parent / Path(path).expanduser()


def _as_written(text: str) -> Any:
    """Read YAML with every value as the text that it is: labels such as ``NO`` and ``007`` stay.

    Raises
    ------
    yaml.YAMLError
        If it is no YAML.
    ValueError
        If a name is there twice.
    """
    import yaml

    class Texts(yaml.SafeLoader):
        yaml_implicit_resolvers = {  # noqa: RUF012 (a table of the class that it is a kind of)
            first: [one for one in several if one[0].endswith(":null")]
            for first, several in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    node = yaml.compose(text, Loader=Texts)
    if isinstance(node, yaml.MappingNode):
        names = [str(name.value).replace("-", "_") for name, _ in node.value]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"{', '.join(map(repr, twice))} is there twice: leave one of the lines"
            raise ValueError(msg)
    return yaml.load(text, Loader=Texts)


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
        If it is no YAML, holds something else than names and values, or a name twice.
    KeyError
        If a name is not that of an option.
    """
    import yaml

    if not path.is_file():
        msg = f"no such config file: {path}; shoal init FILE writes one"
        raise FileNotFoundError(msg)
    try:
        entry = _as_written(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        msg = f"{path} is not YAML: {err}"
        raise ValueError(msg) from err
    except ValueError as err:
        msg = f"{path}: {err}"
        raise ValueError(msg) from None
    if not isinstance(entry, dict):
        msg = f"{path} must hold lines such as 'by: perturbation', not {entry!r}"
        raise ValueError(msg)
    values = {str(name).replace("-", "_"): value for name, value in entry.items()}
    for name in values:
        key_in(name, known, where="the options", hint=f"(a line of {path})")
    return Config(path, {name: value for name, value in values.items() if value is not None})
