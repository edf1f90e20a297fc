"""Several servers behind one address: one process for each replica of the model, held together by Ray Serve.

Every replica is the whole server. A session lives in the replica that its id names (``shards``), whose requests and
connections all come there; the files of all sessions lie in one folder. A replica that dies is started again by Ray,
takes up the same part of the sessions, and meanwhile the others play on.
"""

import logging
import os
import pickle
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from urllib.parse import parse_qs

from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation, RequestRouterConfig
from ray.serve.request_router import PendingRequest, RequestRouter, RunningReplica

from gamecraft.runtime import Runtime
from gamecraft.serving.config import ServerConfig
from gamecraft.serving.shards import Shard, candidates, home_of_request

__all__ = ["Replica", "SessionRouter", "serve_replicas", "start_replicas", "stop_replicas"]

_NAME = "gamecraft"
_MAX_CONNECTIONS = 500
_LOOK_SECONDS = 1.0  # between looks at how busy the replicas are


class Replica:
    """One server, as Ray Serve starts it. Its number is the rank that Ray gives it; its successor gets the same."""

    def __init__(self, config: ServerConfig, runtime: Runtime, replicas: int) -> None:
        self._shard = Shard(index=serve.get_replica_context().rank.rank, count=replicas)
        self._config, self._runtime = replace(config, shard=self._shard), runtime
        self._server: Any = None

    def __serve_build_asgi_app__(self) -> Any:
        """The application that answers this replica's requests."""
        from gamecraft.serving.app import create_app
        from gamecraft.serving.listen import load_model

        app = create_app(self._config, partial(load_model, self._config, self._runtime))
        self._server = app.state.server
        return app

    def record_routing_stats(self) -> dict[str, Any]:
        """What the router is told every second: which replica this is, and how many play or wait here."""
        lobby = self._server.lobby
        return {"index": self._shard.index, "busy": lobby.playing + lobby.waiting}


class SessionRouter(RequestRouter):  # type: ignore[misc]
    """Leads requests to the home of their session, and new players to where the fewest play."""

    def initialize_state(self, replicas: int) -> None:
        """Take over what ``RequestRouterConfig`` was given."""
        self._replicas_wanted = replicas

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> Sequence[list[RunningReplica]]:
        """Groups to be tried in turn; empty while the one that has to answer is being started."""
        home = None
        if pending_request is not None:
            pending_request.routing_context.should_backoff = True
            scope = pickle.loads(pending_request.args[0]).asgi_scope  # packed by Ray's proxy, in this very process
            query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
            home = home_of_request(scope.get("path", ""), query, self._replicas_wanted)
        return candidates(candidate_replicas, home)


def serve_replicas(config: ServerConfig, runtime: Runtime, replicas: int, *, gpus: bool) -> int:
    """Serve until SIGINT or SIGTERM, then write all sessions to disk; returns the exit code.

    Args:
        gpus: give each replica a GPU of its own; otherwise they share the processor's cores.

    Raises:
        InputError: the state folder cannot be used.
    """
    stop = threading.Event()
    try:
        start_replicas(config, runtime, replicas, gpus=gpus)
        for number in (signal.SIGINT, signal.SIGTERM):  # now, because Ray has handlers of its own
            signal.signal(number, lambda *_: stop.set())
        stop.wait()
    finally:
        stop_replicas()
    return 0


def start_replicas(config: ServerConfig, runtime: Runtime, replicas: int, *, gpus: bool) -> None:
    """Start Ray if it does not run here, and the replicas; returns when they accept connections."""
    import ray

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not ray.is_initialized():
        if address := os.environ.get("RAY_ADDRESS"):
            ray.init(address=address, **quiet)
        else:
            ray.init(include_dashboard=False, **quiet)
    options = HTTPOptions(host=config.host, port=config.port)
    serve.start(proxy_location=ProxyLocation.HeadOnly, http_options=options)
    deployment = serve.deployment(
        name=_NAME,
        num_replicas=replicas,
        max_ongoing_requests=_MAX_CONNECTIONS,
        ray_actor_options=_resources(replicas, gpus=gpus),
        graceful_shutdown_timeout_s=30,
        request_router_config=RequestRouterConfig(
            request_router_class=SessionRouter,
            request_router_kwargs={"replicas": replicas},
            request_routing_stats_period_s=_LOOK_SECONDS,
        ),
    )(serve.ingress()(Replica))
    serve.run(deployment.bind(config, runtime, replicas), name=_NAME, route_prefix="/")


def stop_replicas() -> None:
    """End the replicas, which write their sessions to disk, and the Ray that was started here."""
    import ray

    serve.shutdown()
    ray.shutdown()


def _resources(replicas: int, *, gpus: bool) -> dict[str, Any]:
    if gpus:
        return {"num_cpus": 1, "num_gpus": 1}
    threads = max(1, (os.cpu_count() or 1) // replicas)
    return {"num_cpus": 0, "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(threads)}}}
