"""Named recipes of a model, with changes of their settings."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..._validate import one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

Config = TypeVar("Config")


@dataclass(frozen=True)
class Recipes(Generic[Config]):
    """The presets of a model.

    Attributes
    ----------
    model
        Name of the model in messages.
    presets
        Settings of each preset; the first is the default.
    training
        Settings of training of each preset.
    beside
        What the constructor takes beside the settings, for messages.
    """

    model: str
    presets: Mapping[str, Config]
    training: Mapping[str, Mapping[str, Any]]
    beside: str = "preset, embedding and n_latent"

    @property
    def default(self) -> str:
        """Name of the default preset."""
        return next(iter(self.presets))

    def configured(self, preset: str, changes: Mapping[str, Any]) -> Config:
        """Return a preset with some changes.

        Raises
        ------
        ValueError
            If the preset or the value of a setting is not known.
        TypeError
            If there is no such setting.
        """
        one_of(preset, self.presets, name="preset")
        return self.changed(self.presets[preset], changes)

    def changed(self, config: Config, changes: Mapping[str, Any]) -> Config:
        """Return settings with some changes.

        Raises
        ------
        ValueError
            If the value of a setting is not known.
        TypeError
            If there is no such setting.
        """
        known = [f.name for f in fields(config)]  # type: ignore[arg-type]
        odd = [name for name in changes if name not in known]
        if odd:
            msg = (
                f"{self.model} has no setting {odd[0]!r}; beside {self.beside} it takes "
                f"{', '.join(known)}"
            )
            raise TypeError(msg)
        return replace(config, **changes)  # type: ignore[type-var]

    @staticmethod
    def plain(config: Config) -> dict[str, Any]:
        """Return settings as plain values."""
        return asdict(config)  # type: ignore[call-overload]
