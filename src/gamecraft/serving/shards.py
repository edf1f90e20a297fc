"""Which of several replicas a session belongs to: its id says so, so nobody has to be asked."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gamecraft.serving.ids import is_id, new_id

__all__ = ["Shard", "candidates", "home_of", "home_of_request"]

_WITH_ID = ("/api/sessions/", "/api/jobs/")
_FIRST = ("/studio",)  # Gradio's conversations live in one process


@dataclass(frozen=True, kw_only=True)
class Shard:
    """One replica of ``count``: the ids whose home it is. The default is a server of its own."""

    index: int = 0
    count: int = 1

    def owns(self, id: str) -> bool:
        """Whether this replica is an id's home."""
        return home_of(id, self.count) == self.index

    def new_id(self) -> str:
        """An id nobody can guess, whose home is here."""
        while not self.owns(id := new_id()):
            continue
        return id


def home_of(id: str, count: int) -> int:
    """The replica, of ``count``, that keeps a session or job."""
    return int.from_bytes(hashlib.sha256(id.encode()).digest()[:8]) % count


def home_of_request(path: str, query: Mapping[str, list[str]], count: int) -> int | None:
    """The replica that has to answer a request; None if any can.

    Args:
        path, query: of its address. ``?session=ID`` asks for a session's home, ``?replica=K`` for a certain replica.
    """
    if (session := query.get("session", [""])[0]) and is_id(session):
        return home_of(session, count)
    replica = query.get("replica", [""])[0]
    if replica.isascii() and replica.isdecimal() and int(replica[:9]) < count:
        return int(replica[:9])
    if path.startswith(_FIRST):
        return 0
    for start in _WITH_ID:
        if path.startswith(start) and is_id(id := path.removeprefix(start).split("/")[0]):
            return home_of(id, count)
    return None


def candidates(replicas: Sequence[Any], home: int | None) -> list[list[Any]]:
    """The replicas that may answer, in groups to be tried in turn.

    Args:
        replicas: objects with ``routing_stats``, which is empty until a replica has told about itself.
        home: the replica that has to answer, or None.
    """
    known = [replica for replica in replicas if replica.routing_stats]
    if home is not None:
        return [[replica] for replica in known if replica.routing_stats["index"] == home][:1]
    mixed = random.sample(known, len(known))  # what is told is a second old; not all new players may go to the same one
    return [[replica] for replica in sorted(mixed, key=lambda replica: replica.routing_stats["busy"])]
