"""Files: screens in the form in which they come, and predictions for other tools."""

from ._read import read

__all__ = ["read"]
