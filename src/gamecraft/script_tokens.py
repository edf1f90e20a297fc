"""The words of an action script, and errors that point at one of them."""

import math
import re

from gamecraft.errors import ActionError

__all__ = ["TokenStream"]

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)
        | (?P<word>[^\W\d_]+(?::[^\W\d_]+)?)
        | (?P<mark>\S)
        | $
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_CONTEXT = 48


class TokenStream:
    """A cursor over the numbers, words and marks of a script.

    Attributes:
        position: character at which the next token starts (after white space).
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._end = self.position = 0
        self._kind: str | None = None
        self._token = ""
        self._advance()

    def at_end(self) -> bool:
        return self._kind is None

    def next_is_number(self) -> bool:
        return self._kind == "number"

    def accept(self, token: str) -> bool:
        """Step over ``token`` if it comes next."""
        if self._token != token:
            return False
        self._advance()
        return True

    def expect(self, token: str, wanted: str) -> None:
        if not self.accept(token):
            raise self.error(f"expected {wanted}")

    def word(self, wanted: str) -> str:
        if self._kind != "word":
            raise self.error(f"expected {wanted}")
        return self._take()

    def number(self, wanted: str, maximum: float = math.inf, unit: str = "") -> float:
        """The next number (there are no negative ones), which must not exceed ``maximum``."""
        if self._kind != "number":
            raise self.error(f"expected {wanted}")
        start, value = self.position, float(self._take())
        if value > maximum * (1 + 1e-9):  # the maxima of angles are converted from radians, so rounded
            raise self.error(f"{value:g} is out of range, expected 0 to {maximum:g} {unit}", start)
        return min(value, maximum)

    def error(self, message: str, position: int | None = None) -> ActionError:
        """An error with the line of the script below it and a caret under ``position``, by default the next token."""
        position = self.position if position is None else position
        if position >= len(self._text):
            message += ", but the script ends here"
        start = max(self._text.rfind("\n", 0, position) + 1, position - _CONTEXT)
        line = re.split(r"[\n\r]", self._text[start : position + _CONTEXT])[0]
        line = "".join(c if c.isprintable() else " " for c in line)
        return ActionError(f"{message}\n  {line}\n  {' ' * (position - start)}^")

    def _take(self) -> str:
        token = self._token
        self._advance()
        return token

    def _advance(self) -> None:
        match = _TOKEN.match(self._text, self._end)
        assert match  # every text matches: white space, then a token or any other character or the end
        self._kind = match.lastgroup
        self._token = (match[self._kind] if self._kind else "").lower()
        self.position = match.start(self._kind) if self._kind else len(self._text)
        self._end = match.end()
