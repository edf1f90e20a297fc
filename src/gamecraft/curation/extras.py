"""Libraries that only curation needs, and plug-ins, both named by the user and loaded when they are first used."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from gamecraft.errors import GameCraftError, InputError

__all__ = ["load_plugin", "require"]


def require(library: str, purpose: str, package: str = "gamecraft[curation]") -> Any:
    """Import an optional library, which comes with ``package``.

    Raises:
        GameCraftError: it is not installed; the message says how to install it. No ``InputError``, which would only
            leave out the recording at hand.
    """
    try:
        return import_module(library)
    except ImportError as error:
        raise GameCraftError(
            f"{purpose} needs {library}, which does not load ({error}); install it with `pip install '{package}'`"
        ) from None


def load_plugin(name: str) -> Callable[..., Any]:
    """The function that ``module:function`` names.

    Raises:
        InputError: the name has another form, or there is no such module or function.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise InputError(f"{name!r} names no plug-in; expected module:function")
    try:
        found: Callable[..., Any] = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise InputError(f"the plug-in {name} does not load: {error}") from None
    return found
