"""The page `/docs`: what `/openapi.json` says, for people, with nothing to load from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cascade_clip.report import html
from cascade_clip.serve.limits import Limits


def reference_page(openapi: Mapping[str, Any], limits: Limits) -> str:
    """All operations of an OpenAPI description, and the limits that hold."""
    schemas = openapi["components"]["schemas"]
    sections = [
        _operation(method.upper(), path, operation, schemas)
        for path, operations in openapi["paths"].items()
        for method, operation in operations.items()
    ]
    sections.append(html.section("Limits", html.facts(_limits(limits))))
    sections.append(
        html.section(
            "For programs",
            html.paragraph("The same as OpenAPI, for tools that generate clients:"),
            html.command("/openapi.json"),
        )
    )
    title = f"{openapi['info']['title']} {openapi['info']['version']}"
    return html.page(title, openapi["info"]["summary"], sections)


def _operation(
    method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]
) -> str:
    parts = [html.paragraph(operation["summary"])]
    fields = _form_fields(operation, schemas)
    if fields:
        parts += [html.paragraph("Form fields (multipart):", note=True), html.facts(fields)]
    if path == "/v1/segment":
        parts.append(
            html.command(
                "curl -F picture=@scene.png -F 'classes=cat, house, sky' "
                "http://127.0.0.1:7860/v1/segment"
            )
        )
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            parts += _answer_fields(answer, schemas)
    answers = {status: a["description"] for status, a in operation["responses"].items()}
    parts.append(html.details("Statuses", html.facts(answers)))
    return html.section(f"{method} {path}", *parts)


def _form_fields(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, str]:
    body = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
    if body is None:
        return {}
    return _described(_resolve(body["schema"], schemas), schemas)


def _answer_fields(answer: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[str]:
    """The fields of a JSON answer, and those of the objects within it."""
    content = answer.get("content", {}).get("application/json")
    waiting = [content["schema"]] if content else []
    parts: list[str] = []
    while waiting:
        schema = _resolve(waiting.pop(0), schemas)
        if not schema.get("properties"):
            continue
        body = html.facts(_described(schema, schemas))
        parts.append(html.details(f"Answer: {schema['title']}", body))
        for value in schema["properties"].values():
            waiting += [inner for inner in (value, value.get("items", {})) if "$ref" in inner]
    return parts


def _described(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, str]:
    """Name of each field: its type, whether it is needed, what it means."""
    described = {}
    for name, value in schema["properties"].items():
        words = [_type(value, schemas)]
        if name in schema.get("required", ()):
            words.append("required")
        elif value.get("default") is not None:
            words.append(f"default {value['default']}")
        described[name] = f"{', '.join(words)}. {value.get('description', '')}".strip()
    return described


def _type(value: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    if "$ref" in value:
        return str(_resolve(value, schemas)["title"])
    if "anyOf" in value:
        return " or ".join(_type(part, schemas) for part in value["anyOf"])
    if "enum" in value:
        return " or ".join(map(str, value["enum"]))
    if value.get("type") == "array":
        return f"list of {_type(value['items'], schemas)}"
    if value.get("format") == "binary" or "contentMediaType" in value:
        return "file"
    return str(value.get("type", "any"))


def _resolve(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in schema:
        return schema
    found: Mapping[str, Any] = schemas[schema["$ref"].rpartition("/")[2]]
    return found


def _limits(limits: Limits) -> dict[str, str]:
    return {
        "body": f"{limits.megabytes:g} MB",
        "picture": f"{limits.megapixels:g} million pixels",
        "class names": f"{limits.classes}, each of at most {limits.name_length} characters",
        "waiting requests": str(limits.queue),
        "time": f"{limits.seconds:g} s",
    }
