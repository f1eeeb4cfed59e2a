"""How long work says how far it is: a bar on a terminal, lines elsewhere, nothing if it is short."""

from __future__ import annotations

import re

import pytest

from shoal import _logging
from shoal._logging import Lines, bar, duration, progress
from shoal._settings import settings


@pytest.fixture
def clock(monkeypatch):
    """Seconds that go by as the test says."""
    now = [0.0]
    monkeypatch.setattr(_logging, "perf_counter", lambda: now[0])
    return now


def run(clock, total, seconds, **more):
    """Do `total` steps of `seconds` each."""
    shown = Lines(total, desc="training", unit="steps", **more)
    for _ in range(total - int(shown.n)):
        clock[0] += seconds
        shown.update()
    shown.close()


def test_a_line_says_the_step_of_how_many_and_the_time_left(clock, capsys):
    run(clock, 30, 1.0)
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "training: 5 of 30 steps, about 25 s left"
    assert told[1] == "training: 10 of 30 steps, about 20 s left"
    assert told[-1] == "training: 30 steps in 30 s"
    assert len(told) == 6


def test_short_work_says_nothing(clock, capsys):
    run(clock, 40, 0.1)
    assert capsys.readouterr().err == ""


def test_long_work_says_about_fifty_lines(clock, capsys):
    run(clock, 36_000, 1.0)
    told = capsys.readouterr().err.splitlines()
    assert 40 <= len(told) <= 55
    assert told[0] == "training: 5 of 36,000 steps, about 10 h left"


def test_long_work_says_once_what_makes_it_shorter(clock, capsys):
    run(clock, 200, 1.0, hint="max_steps= takes fewer")
    told = capsys.readouterr().err.splitlines()
    assert told[0] == "training: 5 of 200 steps, about 3 min 15 s left (max_steps= takes fewer)"
    assert sum("max_steps" in line for line in told) == 1
    run(clock, 100, 1.0, hint="max_steps= takes fewer")
    assert "max_steps" not in capsys.readouterr().err


def test_steps_of_an_earlier_run_took_no_time(clock, capsys):
    run(clock, 30, 1.0, initial=20)
    assert capsys.readouterr().err.splitlines()[0] == "training: 25 of 30 steps, about 5 s left"


def test_numbers_beside_the_steps_and_an_unknown_total(clock, capsys):
    shown = Lines(0, desc="file", unit="MB")
    shown.set_postfix({"loss": "0.5"})
    clock[0] = 6.0
    shown.update(3.2)
    assert capsys.readouterr().err == "file: 3 MB, loss 0.5\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59.6, "1 min"), (125, "2 min 5 s"), (3599.9, "1 h"), (12_000, "3 h 20 min")],
)
def test_times_in_words(seconds, text):
    assert duration(seconds) == text


def test_what_is_shown_is_what_the_settings_say(monkeypatch):
    assert isinstance(bar(3, desc="x"), Lines)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert type(bar(3, desc="x", delay=9)).__name__.startswith("tqdm")
    monkeypatch.setattr(settings, "progress", False)
    assert bar(3, desc="x") is None
    assert list(progress([1, 2])) == [1, 2]
    assert type(bar(3, desc="x", show=True, delay=9)).__name__.startswith("tqdm")


def test_items_go_through_and_are_counted(clock, capsys):
    def slow():
        for i in range(4):
            clock[0] += 10
            yield i

    assert list(progress(slow(), total=4, desc="folds")) == [0, 1, 2, 3]
    told = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"folds: 1 of 4, about .* left", told[0])
    assert told[-1] == "folds: 4 in 40 s"


def test_what_breaks_off_says_how_far_it_came(clock, capsys):
    def invert(values):
        for value in progress(values, desc="folds"):
            clock[0] += 10
            1 / value

    with pytest.raises(ZeroDivisionError):
        invert([2, 1, 0, 3])
    assert capsys.readouterr().err.splitlines()[-1].startswith("folds: 2 of 4 in ")
