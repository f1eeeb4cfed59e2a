"""Settings of a model in groups, groups that several models share, and named recipes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from ..._validate import one_of, positive, whole
from ...nn import POOLS

if TYPE_CHECKING:
    from collections.abc import Iterable

Config = TypeVar("Config")
Guidance: TypeAlias = float | Mapping[str, float]
"""How far to follow covariates: a weight by name, or one number for all of them together."""


# -- groups that several models share --------------------------------------------------------------


@dataclass(frozen=True)
class StartConfig:
    """Where predictions start.

    Parameters
    ----------
    cross_context
        Share of the training sets that start at the perturbation's own cells of other contexts,
        where there are some. These cells are moved by the difference between the contexts' control
        means. The network is given no perturbation for them, and learns what else differs between
        the contexts. Above 0, predictions start there wherever they can.
    mean_shrinkage
        Share of the change of the mean that is taken back in predictions that start there. What a
        network adds to the mean is less certain than the mean itself.
    """

    cross_context: float = 0.0
    mean_shrinkage: float = 0.0

    def __post_init__(self) -> None:
        check_shares(self, "cross_context", "mean_shrinkage")


@dataclass(frozen=True)
class PostConfig:
    """What is done to predicted values.

    Parameters
    ----------
    match_zeros
        Whether a gene is off in as many predicted cells as its mean and the starting cells let
        expect. A network moves all cells a little, zeros among them. It matters only for
        log-normalised genes.
    renew_library
        Whether predicted cells get the total that training cells were normalised to, where these
        have one.
    """

    match_zeros: bool = True
    renew_library: bool = True


@dataclass(frozen=True)
class ConditioningConfig:
    """How a network is given the condition.

    Parameters
    ----------
    condition_dropout
        Probability with which covariates are left out in training.
    unseen_weight
        How far to follow the vector of a perturbation that was not in training. The rest is what
        the perturbations of training do on average. Guidance that names the perturbation comes
        first.
    pooling
        How the parts of a combination become one vector: ``"mean"``, ``"sum"`` or ``"attention"``.
    """

    condition_dropout: float = 0.1
    unseen_weight: float = 1.0
    pooling: str = "mean"

    def __post_init__(self) -> None:
        one_of(self.pooling, POOLS, name="pooling")
        check_dropout(self, "condition_dropout")
        check_shares(self, "unseen_weight")


@dataclass(frozen=True)
class SamplingConfig:
    """How cells are generated.

    Parameters
    ----------
    sampler
        Method of the sampler.
    n_steps
        Number of its steps.
    guidance
        How far to follow covariates: a mapping of their names to weights, or one number for all of
        them together. 1 is plain, 0 ignores the covariate, above 1 overstates it. Covariates that
        the screen does not have are passed over.
    """

    sampler: str
    n_steps: int
    guidance: Guidance = 1.0

    def __post_init__(self) -> None:
        whole(self.n_steps, name="n_steps")
        check_guidance(self.guidance)
        if isinstance(self.guidance, Mapping):
            object.__setattr__(self, "guidance", dict(self.guidance))


# -- checks ----------------------------------------------------------------------------------------


def check_shares(config: Any, *names: str) -> None:
    """Raise ``ValueError`` unless these settings are from 0 to 1."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            msg = f"{name} is a share, from 0 to 1, not {getattr(config, name)!r}"
            raise ValueError(msg)


def check_dropout(config: Any, *names: str) -> None:
    """Raise ``ValueError`` unless these are shares below 1, which leave something to learn from."""
    check_shares(config, *names)
    for name in names:
        if getattr(config, name) == 1:
            msg = f"{name}=1 leaves out everything, and nothing is learned: give a share below 1"
            raise ValueError(msg)


def check_choices(config: Any, choices: Mapping[str, Iterable[Any]]) -> None:
    """Raise ``ValueError`` unless these settings have one of their values."""
    for name, known in choices.items():
        one_of(getattr(config, name), known, name=name)


def check_whole(config: Any, *names: str) -> None:
    """Raise ``TypeError`` unless these settings are whole numbers."""
    for name in names:
        if not isinstance(getattr(config, name), Integral):
            msg = f"{name} is a whole number, not {getattr(config, name)!r}"
            raise TypeError(msg)


def check_positive(config: Any, *names: str) -> None:
    """Raise ``ValueError`` unless these settings are above 0."""
    for name in names:
        positive(getattr(config, name), name=name)


def check_n_visible(n_visible: Any) -> None:
    """Raise ``ValueError`` unless `n_visible` is ``"auto"``, ``None`` or a whole number above 0."""
    whole = isinstance(n_visible, Integral) and n_visible > 0
    if not (n_visible in (None, "auto") or whole):
        msg = f"n_visible must be 'auto', None or a whole number above 0, not {n_visible!r}"
        raise ValueError(msg)


def check_guidance(guidance: Any) -> None:
    """Raise ``TypeError`` or ``ValueError`` unless guidance is finite numbers of the right form."""
    weights = list(guidance.values()) if isinstance(guidance, Mapping) else [guidance]
    if not all(isinstance(weight, Real) for weight in weights):
        msg = (
            "guidance is one number for all covariates, or a mapping of covariates to numbers "
            f"(1 is plain), not {guidance!r}"
        )
        raise TypeError(msg)
    if not all(isfinite(weight) for weight in weights):
        msg = f"guidance={guidance!r} must be finite"
        raise ValueError(msg)


# -- changes and recipes ---------------------------------------------------------------------------


def changed(
    config: Config, changes: Mapping[str, Any], *, model: str = "this config", beside: str = ""
) -> Config:
    """Return settings with some changes.

    Parameters
    ----------
    config
        Settings in groups: a frozen dataclass of frozen dataclasses.
    changes
        New values by the name of the setting, or a mapping of these by the name of the group.
    model, beside
        Name of the model, and what it takes beside the settings, for messages.

    Raises
    ------
    TypeError
        If there is no such setting; the message lists the groups.
    ValueError
        If a value makes no sense.
    """
    groups = {
        group.name: [f.name for f in fields(getattr(config, group.name))]
        for group in fields(config)  # type: ignore[arg-type]
    }
    group_of = {name: group for group, names in groups.items() for name in names}
    new: dict[str, dict[str, Any]] = {}
    for name, value in changes.items():
        in_group = value if name in groups and isinstance(value, Mapping) else {name: value}
        for setting, each in in_group.items():
            group = group_of.get(setting)
            if group is None or (in_group is value and group != name):
                lists = "; ".join(f"{key}: {', '.join(names)}" for key, names in groups.items())
                where = f" in the group {name!r}" if in_group is value else ""
                msg = f"{model} has no setting {setting!r}{where}; {beside}it takes {lists}"
                raise TypeError(msg)
            new.setdefault(group, {})[setting] = each
    parts = {group: replace(getattr(config, group), **each) for group, each in new.items()}
    return replace(config, **parts)  # type: ignore[type-var]


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
        beside = f"beside {self.beside} "
        return changed(self.presets[preset], changes, model=self.model, beside=beside)

    @staticmethod
    def plain(config: Config) -> dict[str, Any]:
        """Return settings as plain values, by group."""
        return asdict(config)  # type: ignore[call-overload]
