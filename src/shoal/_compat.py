"""Optional libraries, imported at use, with a message that names the extra to install."""

from importlib import import_module
from types import ModuleType


def require(module: str, *, extra: str) -> ModuleType:
    """Import `module`, or say which extra brings it.

    Raises
    ------
    ImportError
        If the module is not installed.
    """
    try:
        return import_module(module)
    except ImportError as err:
        msg = f"{module} is needed here and is not installed: pip install 'shoal[{extra}]'"
        raise ImportError(msg) from err
