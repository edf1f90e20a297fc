"""Two whole servers behind one address in the tests' process, led to as Ray's router leads, so no Ray is needed."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from gamecraft.serving.app import create_app
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.shards import Shard, home_of_request
from tiny import tiny_pipeline


class Front:
    """Whoever may be answered by any replica is answered by ``usual``."""

    def __init__(self, state: Path, count: int = 2) -> None:
        shards = (Shard(index=index, count=count) for index in range(count))
        # Each its own model, as processes have: a scheduler counts its steps.
        self.apps = [create_app(ServerConfig(state=state, shard=shard), tiny_pipeline) for shard in shards]
        self.usual = 0
        self.app = FastAPI(lifespan=self._life)
        self.app.mount("/", self._lead)

    @asynccontextmanager
    async def _life(self, app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for replica in self.apps:
                await stack.enter_async_context(replica.router.lifespan_context(replica))
            yield

    async def _lead(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = parse_qs(scope["query_string"].decode())
        home = home_of_request(scope["path"], query, len(self.apps))
        await self.apps[self.usual if home is None else home](scope, receive, send)
