"""``python -m shoal``: the command line."""

from .cli import app

app(prog_name="shoal")
