"""The REST interface as a page that needs nothing from elsewhere, unlike the viewers that load from a CDN."""

from html import escape
from typing import Any

__all__ = ["docs_page"]

_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>gamecraft: REST</title>
<style>
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code { font-size: .9em } summary { cursor: pointer } details { margin: .5rem 0 }
table { border-collapse: collapse; margin: .5rem 0 1rem } td, th { text-align: left; padding: .2rem .8rem .2rem 0 }
b { display: inline-block; min-width: 4.5rem }
</style>
"""


def docs_page(schema: dict[str, Any]) -> str:
    """HTML of an OpenAPI schema: every path with its parameters, body and answer."""
    parts = [_HEAD, f"<h1>{escape(schema['info']['title'])} {escape(schema['info']['version'])}: REST</h1>"]
    parts.append('<p>For programs: <a href="openapi.json">openapi.json</a>. Play is a WebSocket at /api/play.</p>')
    operations = [(path, method, op) for path, methods in schema["paths"].items() for method, op in methods.items()]
    for tag in dict.fromkeys(op["tags"][0] for _, _, op in operations):
        parts.append(f"<h2>{escape(tag)}</h2>")
        parts += [_operation(*operation) for operation in operations if operation[2]["tags"][0] == tag]
    parts.append("<h2>values</h2>")
    parts += [_model(name, model) for name, model in schema.get("components", {}).get("schemas", {}).items()]
    return "\n".join(parts)


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    lines = [f"<p>{escape(operation.get('description', ''))}</p>"]
    for parameter in operation.get("parameters", []):
        kind = _kind(parameter["schema"])
        lines.append(f"<p><code>{escape(parameter['name'])}</code> ({escape(parameter['in'])}): {kind}</p>")
    if body := operation.get("requestBody"):
        lines.append(f"<p>body: {_content(body)}</p>")
    lines += [f"<p>{escape(code)}: {_content(answer)}</p>" for code, answer in operation["responses"].items()]
    title = f"<b>{escape(method.upper())}</b> <code>{escape(path)}</code>"
    return f"<details><summary>{title}</summary>{''.join(lines)}</details>"


def _model(name: str, model: dict[str, Any]) -> str:
    rows = [
        f"<tr><td><code>{escape(field)}</code><td>{_kind(kind)}<td>"
        f"{'required' if field in model.get('required', []) else ''}"
        for field, kind in model.get("properties", {}).items()
    ]
    description = escape(model.get("description", ""))
    return f'<h3 id="{escape(name)}">{escape(name)}</h3><p>{description}</p><table>{"".join(rows)}</table>'


def _content(part: dict[str, Any]) -> str:
    kinds = [f"{escape(media)} {_kind(value.get('schema', {}))}" for media, value in part.get("content", {}).items()]
    return ", ".join(kinds) or escape(part.get("description", ""))


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = escape(schema["$ref"].rsplit("/", 1)[-1])
        return f'<a href="#{name}">{name}</a>'
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    return escape(", ".join(map(str, values)) or str(schema.get("type", "")))
