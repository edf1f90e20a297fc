"""Ids of sessions, uploads and jobs: nobody can guess them, and they are file names."""

import re
import secrets

__all__ = ["is_id", "new_id"]

_ID = re.compile(r"[A-Za-z0-9_-]{22}")


def new_id() -> str:
    """An id of 128 random bits, which is also a file name."""
    return secrets.token_urlsafe(16)


def is_id(text: str) -> bool:
    """Whether ``new_id`` could have made it."""
    return _ID.fullmatch(text) is not None
