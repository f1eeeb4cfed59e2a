"""A function as a command: its groups of options, ``--config``, ``--json`` and ``--debug``."""

from __future__ import annotations

import inspect
import json
import math
from copy import copy
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path  # noqa: TC003 (typer looks the types up)
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import typer

from ._config import Config, settings_of
from ._console import reported

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Parameter, KEYWORD = inspect.Parameter, inspect.Parameter.KEYWORD_ONLY


@dataclass(frozen=True)
class Outcome:
    """What a command found: it goes to stdout.

    Attributes
    ----------
    text
        For people; empty for nothing.
    summary
        The same for programs (``--json``): numbers, texts and lists by name.
    """

    text: str = ""
    summary: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Always:
    """Of every command: where options are read from, and how the result is printed."""

    config: Annotated[
        Path | None,
        typer.Option(
            help="File with options, as shoal init writes it; those given here count for more.",
            is_eager=True,
            callback=_apply,
        ),
    ] = None
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a summary as JSON, for other programs.")
    ] = False
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False


def command(
    app: typer.Typer, *, goes_on: bool = False
) -> Callable[[Callable[..., Outcome]], Callable[..., Outcome]]:
    """Return a decorator that makes a command of a function.

    A parameter whose type is a dataclass is a group of options: its fields become options, and the
    function gets the whole. What the function returns is printed.

    Parameters
    ----------
    app
        The program.
    goes_on
        Whether the same command goes on where it was interrupted.
    """

    def decorate(function: Callable[..., Outcome]) -> Callable[..., Outcome]:
        types = get_type_hints(function, include_extras=True)
        groups = {name: kind for name, kind in types.items() if is_dataclass(kind)}
        groups.pop("return", None)
        parameters = []
        for one in inspect.signature(function).parameters.values():
            if one.name in groups:
                parameters += _options(groups[one.name])
            else:
                parameters.append(one.replace(annotation=types[one.name]))
        parameters += _options(Always)

        def run(**given: Any) -> None:
            always = Always(**{one.name: given.pop(one.name) for one in fields(Always)})
            options = tuple(given)
            with reported(options, debug=always.debug, as_json=always.as_json, goes_on=goes_on):
                whole = {
                    name: kind(**{one.name: given.pop(one.name) for one in fields(kind)})
                    for name, kind in groups.items()
                }
                outcome = function(**given, **whole)
                if always.as_json:
                    typer.echo(as_json(outcome.summary))
                elif outcome.text:
                    typer.echo(outcome.text)

        run.__name__, run.__doc__ = function.__name__, function.__doc__
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        app.command()(run)
        return function

    return decorate


def as_json(summary: Mapping[str, Any]) -> str:
    """Return a summary as JSON. What is no number, such as NaN, is null."""
    return json.dumps(_plain(summary), indent=1, ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    value = value.item() if hasattr(value, "item") else value  # a number of numpy
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _options(group: type) -> list[Parameter]:
    """Return the fields of a group as parameters that are options."""
    types = get_type_hints(group, include_extras=True)
    found = []
    for one in fields(group):
        plain, option = get_args(types[one.name])
        option = copy(option)
        option.rich_help_panel = str(group.__doc__).partition(":")[0].rstrip(".")
        kind = Annotated[plain, option]
        found.append(Parameter(one.name, KEYWORD, default=one.default, annotation=kind))
    return found


def _several(parameter: Any) -> bool:
    """Return whether a parameter takes several values."""
    return bool(getattr(parameter, "multiple", False)) or parameter.nargs == -1


def _apply(context: typer.Context, path: Path | None) -> Path | None:
    """Let the values of a config file be the defaults of the command."""
    if path is None:
        return None
    program = context.find_root().command
    with reported({}, debug=False):
        known = {
            one.name: one
            for each in program.commands.values()  # type: ignore[attr-defined]
            for one in each.params
            if one.name not in {one.name for one in fields(Always)}
        }
        config: Config = settings_of(path, sorted(known))
        own = {one.name: one for one in context.command.params}
        context.default_map = {
            name: config.value(name, several=_several(own[name]))
            for name in config.values
            if name in own
        }
    return path
