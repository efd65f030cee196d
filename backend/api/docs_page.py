"""`/docs`: the OpenAPI document as one plain page, with no script and nothing from elsewhere.

It works without internet and under the strictest content policy; a program reads `/openapi.json` instead.

Example:
    >>> "<h1>" in render(app.openapi())
    True
"""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

_STYLE: Final = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
pre { background: #f4f4f4; padding: .6rem; overflow-x: auto; }
h3 { margin-top: 2rem; border-top: 1px solid #ccc; padding-top: 1rem; }
td, th { text-align: left; vertical-align: top; padding: .1rem .8rem .1rem 0; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd; } pre { background: #222; } }
"""

Document = Mapping[str, Any]
"""Part of an OpenAPI document, JSON as it comes."""


def render(document: Document) -> str:
    """Return the page."""
    info = document["info"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width'>",
        f"<title>{escape(info['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>",
        *(f"<p>{escape(text)}</p>" for text in info["description"].split("\n\n")),
        "<p>For programs: <a href=openapi.json>openapi.json</a> (OpenAPI 3.1).</p>",
    ]
    for tag in document.get("tags", ()):
        operations = list(_operations(document, tag["name"]))
        if operations:
            parts.append(f"<h2>{escape(tag['name'])}</h2><p>{escape(tag['description'])}</p>")
            parts += operations
    return "\n".join(parts)


def _operations(document: Document, tag: str) -> Iterator[str]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if tag in operation.get("tags", ()):
                yield _operation(document, method.upper(), path, operation)


def _operation(document: Document, method: str, path: str, operation: Document) -> str:
    parts = [
        f"<h3><code>{method} {escape(path)}</code> {escape(operation.get('summary', ''))}</h3>",
        *(f"<p>{escape(text)}</p>" for text in operation.get("description", "").split("\n\n")),
    ]
    if not operation.get("security"):
        parts.append("<p>Open: needs no API key.</p>")
    parameters = operation.get("parameters", ())
    if parameters:
        rows = (
            f"<tr><td><code>{escape(item['name'])}</code></td><td>{escape(item['in'])}</td>"
            f"<td>{escape(item.get('description', ''))}</td></tr>"
            for item in parameters
        )
        parts.append(f"<table>{''.join(rows)}</table>")
    if "requestBody" in operation:
        parts.append(_content(document, "Request", operation["requestBody"]))
    for status, response in operation["responses"].items():
        if status.startswith("2"):
            parts.append(_content(document, f"Answer {status}", response))
    failures = [status for status in operation["responses"] if not status.startswith("2")]
    parts.append(f"<p>Failures: {escape(', '.join(failures))}, as problem+json.</p>")
    return "\n".join(parts)


def _content(document: Document, title: str, body: Document) -> str:
    """Return the media types of a body, and its example where it has one."""
    parts = []
    for media_type, form in body.get("content", {}).items():
        parts.append(f"<p>{escape(title)}: <code>{escape(media_type)}</code></p>")
        example = form.get("example", find_example(document, form.get("schema", {})))
        if example is not None:
            text = example if isinstance(example, str) else json.dumps(example, indent=2)
            parts.append(f"<pre>{escape(text)}</pre>")
    return "\n".join(parts)


def find_example(document: Document, schema: Document) -> object:
    """Return the first example of a schema, following references and choices; for a page, one of one item."""
    if "$ref" in schema:
        return find_example(document, document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]])
    if schema.get("examples"):
        return schema["examples"][0]
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        example = find_example(document, choice)
        if example is not None:
            return example
    items = schema.get("properties", {}).get("items", {}).get("items")
    if items is not None:
        return {"items": [find_example(document, items)], "next_cursor": None}
    return None
