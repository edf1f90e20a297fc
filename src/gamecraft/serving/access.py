"""Who is let in: the token, the page's origin, the name the server is called by, and how often."""

import hmac
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from gamecraft.serving.config import ServerConfig, is_loopback
from gamecraft.serving.rate import RateLimits

__all__ = ["AccessControl"]

_COOKIE = "gamecraft_token"
_OPEN = "/api/health"  # for load balancers, which have no token
_READING = ("GET", "HEAD", "OPTIONS")
_MONTH = 30 * 24 * 3600


class AccessControl:
    """ASGI middleware that answers what may not come in, for HTTP and WebSockets alike."""

    def __init__(self, app: ASGIApp, config: ServerConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._app, self._config = app, config
        self._requests = RateLimits(50, 200, clock)
        self._handshakes = RateLimits(5, 30, clock)
        self._origins = {_place(origin) for origin in config.origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        refusal = self._refuse(scope, Headers(scope=scope))
        if refusal is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()  # websocket.connect
            await send({"type": "websocket.close", "code": 1008})  # before accepting: the handshake answers 403
        else:
            await refusal(scope, receive, send)

    def _refuse(self, scope: Scope, headers: Headers) -> Response | None:
        socket = scope["type"] == "websocket"
        client = scope["client"][0] if scope.get("client") else ""
        if not (self._handshakes if socket else self._requests).allow(client):
            return _error(429, "rate", "too many requests; slow down")
        host = headers.get("host", "").lower()
        if self._config.token is None and not self._known_host(host):
            # A page elsewhere whose name was made to point here must not be taken for our own.
            return _error(403, "host", "this server is for this machine only; open it as http://127.0.0.1 or localhost")
        origin = headers.get("origin")
        if origin is not None and (socket or scope["method"] not in _READING):
            place = _place(origin)
            if not place or (place != host and place not in self._origins):
                return _error(403, "origin", "requests from other servers' pages are not accepted")
        if scope["path"] == _OPEN or self._config.token is None:
            return None
        return self._check_token(scope, headers, self._config.token)

    def _known_host(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return is_loopback(name) or host in self._origins

    def _check_token(self, scope: Scope, headers: Headers, token: str) -> Response | None:
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        bearer = headers.get("authorization", "").removeprefix("Bearer ")
        if _equal(_cookie(headers), token) or _equal(bearer, token):
            return None
        if not _equal(query.get("token", [""])[0], token):
            if "text/html" in headers.get("accept", ""):
                return PlainTextResponse("Open this server with the link it printed, which ends in ?token=...", 401)
            return _error(401, "token", "the token is missing or wrong; send Authorization: Bearer TOKEN")
        if scope["type"] == "websocket":
            return None
        rest = {name: values for name, values in query.items() if name != "token"}
        path = "/" + scope["path"].lstrip("/")  # two slashes would be another server's address
        response = RedirectResponse(path + ("?" + urlencode(rest, doseq=True) if rest else ""), status_code=303)
        secure = scope.get("scheme") == "https"
        response.set_cookie(_COOKIE, token, max_age=_MONTH, httponly=True, samesite="lax", secure=secure)
        return response


def _place(origin: str) -> str:
    """Host and port of a page's origin; empty if it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _cookie(headers: Headers) -> str:
    try:
        morsel = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel else ""


def _equal(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), expected.encode())


def _error(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"code": code, "message": message}}, status)
