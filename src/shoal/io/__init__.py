"""Files: screens in the form in which they come, and predictions for other tools."""

from ._read import read
from ._write_predictions import write_predictions

__all__ = ["read", "write_predictions"]
