"""The user's own functions, named in an experiment as `module:function`."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

from weft.errors import ConfigError


def load(name: str, what: str) -> Callable[..., Any]:
    """Import a function; its module is sought where Python seeks them, and then in the working directory.

    Args:
        name: As `module:function`.
        what: What it is for, in an error message.

    Raises:
        ConfigError: There is none.
    """
    module_name, _, attribute = name.partition(":")
    try:
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError:
            if os.getcwd() in sys.path:
                raise
            sys.path.append(os.getcwd())  # stays: workers get the same path
            importlib.invalidate_caches()
            module = importlib.import_module(module_name)
    except Exception as error:
        raise ConfigError(
            f"cannot import '{module_name}' for {what} '{name}': {type(error).__name__}: {error}; "
            "put its folder on PYTHONPATH, or call weft from there"
        ) from error
    function = getattr(module, attribute, None)
    if not inspect.isfunction(function):
        has = ", ".join(found for found, _ in inspect.getmembers(module, inspect.isfunction) if found[0] != "_")
        raise ConfigError(f"'{module_name}' has no function '{attribute}'; it has {has or 'none'}")
    return function
