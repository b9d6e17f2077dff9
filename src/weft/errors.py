"""The exceptions weft raises. Each message says what was attempted, what was found and what to do next."""

from __future__ import annotations


class WeftError(Exception):
    """Base of every error weft raises on purpose; `exit_code` is what the command line returns for it."""

    exit_code = 2


class ConfigError(WeftError, ValueError):
    """The experiment file, or a value given to a command, is not usable."""


class DataError(WeftError, ValueError):
    """A data set cannot be read, or holds values that training cannot use."""


class ShapeError(WeftError, ValueError):
    """Arrays or layers do not fit together."""


class UnsupportedError(WeftError, ValueError):
    """A model holds something that this flow cannot represent exactly."""


class RunError(WeftError, RuntimeError):
    """A run directory is missing something, is locked, or is damaged."""


class TrainingError(WeftError, RuntimeError):
    """Training cannot go on: the loss or a weight is not finite."""


class ToolNotFoundError(WeftError, RuntimeError):
    """A program or library that this step needs is not installed."""

    exit_code = 3


class ToolError(WeftError, RuntimeError):
    """A program was found, ran, and failed."""

    exit_code = 3


class VerificationError(WeftError, RuntimeError):
    """Two levels of a design disagree on at least one output."""

    exit_code = 4


class BudgetError(WeftError, RuntimeError):
    """No design meets the budget."""

    exit_code = 5


class RenamedWarning(UserWarning):
    """A field of an experiment has another name by now; the old one goes on working for a while."""


class PluginWarning(UserWarning):
    """A package offers something to weft that cannot be used, and is left out."""


class NoEffectWarning(UserWarning):
    """A step found nothing to do, which is rarely what its caller wanted."""


class UnfinishedWarning(UserWarning):
    """Training ended before its last stage, so that masks are not fixed, or short of its target."""


class AccessError(WeftError, ValueError):
    """An agent's call asks for a file, a function or an address that it may not have."""
