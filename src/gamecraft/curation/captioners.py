"""Models that look at pictures and answer: a local one through transformers, or one behind an endpoint."""

from __future__ import annotations

import base64
import functools
import io
import json
import os
import urllib.request
from collections.abc import Sequence
from typing import Any
from urllib.error import URLError

from PIL import Image

from gamecraft.curation.extras import load_plugin
from gamecraft.errors import GameCraftError, InputError

__all__ = ["SOURCES", "ask", "ask_endpoint", "ask_transformers", "check_source"]

SOURCES = ("transformers", "endpoint")

_TIMEOUT = 120  # seconds
_MAX_ANSWER = 1_000_000  # bytes
_TOKENS = 160


def check_source(source: str, model: str, url: str) -> None:
    """Refuse settings that cannot work before anything runs.

    Raises:
        InputError: a model or an address is missing.
    """
    if source in SOURCES and not model:
        raise InputError(f"the source {source!r} needs a model; set its model")
    if source == "endpoint" and not url.startswith(("http://", "https://")):
        raise InputError(f"the endpoint's url is {url!r}, expected http:// or https://")


def ask(source: str, model: str, url: str, key_variable: str, pictures: Sequence[Image.Image], request: str) -> str:
    """Ask the model behind ``transformers``, an ``endpoint`` or a plug-in ``module:function`` (pictures, request)."""
    if source == "endpoint":
        return ask_endpoint(url, model, key_variable, pictures, request)
    if source == "transformers":
        return ask_transformers(model, pictures, request)
    return str(load_plugin(source)(pictures, request))


def ask_endpoint(url: str, model: str, key_variable: str, pictures: Sequence[Image.Image], request: str) -> str:
    """Ask a server that speaks OpenAI's chat completions.

    Raises:
        GameCraftError: the server cannot be reached, refuses, or answers something else. Not an ``InputError``: it is
            not this clip's fault, and the next run continues here.
    """
    content: list[dict[str, Any]] = [{"type": "text", "text": request}]
    content += [{"type": "image_url", "image_url": {"url": _data_url(picture)}} for picture in pictures]
    body = {
        "model": model, "messages": [{"role": "user", "content": content}], "max_tokens": _TOKENS, "temperature": 0,
    }  # fmt: skip
    headers = {"Content-Type": "application/json"}
    if key_variable:
        if not (key := os.environ.get(key_variable)):
            raise GameCraftError(f"the environment variable {key_variable} with the endpoint's key is not set")
        headers["Authorization"] = f"Bearer {key}"
    query = urllib.request.Request(f"{url.rstrip('/')}/chat/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(query, timeout=_TIMEOUT) as answer:
            return str(json.loads(answer.read(_MAX_ANSWER))["choices"][0]["message"]["content"])
    except (URLError, TimeoutError, OSError) as error:
        raise GameCraftError(f"the caption endpoint {url} does not answer: {error}") from None
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise GameCraftError(f"the caption endpoint {url} answered something else than a chat: {error!r}") from None


def ask_transformers(model: str, pictures: Sequence[Image.Image], request: str) -> str:
    """Ask an image-text-to-text model that runs here.

    Raises:
        GameCraftError: there is no such model, or it is of another kind.
    """
    content: list[dict[str, Any]] = [{"type": "image", "image": picture} for picture in pictures]
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": request}]}]
    answer = _pipeline(model)(text=messages, max_new_tokens=_TOKENS, do_sample=False, return_full_text=False)
    return str(answer[0]["generated_text"])


@functools.cache
def _pipeline(model: str) -> Any:
    from transformers import pipeline

    try:
        return pipeline("image-text-to-text", model=model)
    except (OSError, ValueError, KeyError) as error:
        raise GameCraftError(f"the caption model {model} does not load: {error}") from None


def _data_url(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "JPEG", quality=90)
    return "data:image/jpeg;base64," + base64.b64encode(data.getvalue()).decode("ascii")
