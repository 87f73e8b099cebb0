"""Pages that MkDocs makes of the code at build time, so that they cannot differ from it.

A hook of MkDocs (`docs/mkdocs.yml`): `commands.md` is made of the command line's own options,
`configuration.md` of the descriptions in `stream/config.py` and the trainer's recipe, and
`http-api.md` of the OpenAPI document that the service answers at /openapi.json.
"""

from collections.abc import Iterator
from typing import Any

import typer
from fastapi import FastAPI
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel

from stream.api.app import ROUTERS
from stream.api.contract import ALWAYS, complete, errors
from stream.cli.main import app as serving
from stream.config import Config
from trainer.cli import app as training
from trainer.training.recipe import Recipe

Schema = dict[str, Any]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those of the folder."""
    pages = {
        "commands.md": commands_page,
        "configuration.md": configuration_page,
        "http-api.md": http_page,
    }
    for name, make in pages.items():
        files.append(File.generated(config, name, content="\n".join(make()) + "\n"))
    return files


def table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Yield a Markdown table, with an empty line after it."""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
    yield ""


# Commands


def commands_page() -> Iterator[str]:
    """Yield the lines of the page of commands."""
    yield "# Commands"
    yield ""
    yield (
        "Every command has `--help` with an example. Results go to stdout, logs to stderr. "
        "Exit status: 0 done, 1 an expected failure in one line, 2 wrong usage. "
        "`--json` prints one JSON document."
    )
    yield ""
    for name, program in (("facewire", serving), ("facewire-train", training)):
        yield f"## {name} {{ #{name} }}"
        yield ""
        yield from _group(name, typer.main.get_command(program))


def _group(name: str, command: Any) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner is None:
        yield from _command(name, command)
        return
    for key, each in inner.items():
        yield from _group(f"{name} {key}", each)


def _command(name: str, command: Any) -> Iterator[str]:
    says, _, rest = (command.help or "").strip().partition("\n")
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name != "argument" and not p.hidden]
    words = [p.metavar or p.name.upper() for p in arguments]
    yield f"### {name}"
    yield ""
    yield says
    yield ""
    examples = [
        line.strip().removeprefix("Examples:").removeprefix("Example:").strip()
        for line in rest.splitlines()
    ]
    yield "```text"
    yield " ".join([name, *words, "[OPTIONS]"])
    yield "```"
    yield ""
    if any(examples):
        yield "For example:"
        yield ""
        yield "```text"
        yield from (line for line in examples if line)
        yield "```"
        yield ""
    rows = [[f"`{word}`", p.help or "", ""] for word, p in zip(words, arguments, strict=True)]
    rows += [[", ".join(f"`{o}`" for o in p.opts), p.help or "", _default(p)] for p in options]
    yield from table(["", "meaning", "default"], rows)


def _default(parameter: Any) -> str:
    value = parameter.default
    if value is None or value is False or value == "" or callable(value):
        return ""
    return f"`{value}`"


# Configuration


def configuration_page() -> Iterator[str]:
    """Yield the lines of the page of settings."""
    yield "# Configuration"
    yield ""
    yield (
        "`facewire serve --config facewire.toml` reads one TOML file. Order: the defaults, "
        "the file, the environment (secrets only), flags. An unknown key is refused by name. "
        "The file `facewire.toml` of the repository has every key with its default, to copy from."
    )
    yield ""
    for name, field in Config.model_fields.items():
        model, is_list = _section_of(field.annotation)
        yield f"## [[{name}]]" if is_list else f"## [{name}]"
        yield ""
        if is_list:
            yield f"A table for each. {field.description or ''}".strip()
            yield ""
        yield from _keys(model, Config)
    yield "## Recipes of the trainer { #recipes }"
    yield ""
    yield (
        "`facewire-train fit RECIPE` takes the name of a shipped recipe or a TOML file with these "
        "tables. `--set section.key=value` changes one key."
    )
    yield ""
    for name, field in Recipe.model_fields.items():
        model, _ = _section_of(field.annotation)
        yield f"### [{name}]"
        yield ""
        yield from _keys(model, Recipe)


def _section_of(annotation: Any) -> tuple[type[BaseModel], bool]:
    """Return the model of a table, and whether the file may hold several."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation, False
    (model, *_) = annotation.__args__
    return model, True


def _keys(model: type[BaseModel], whole: type[BaseModel]) -> Iterator[str]:
    properties: Schema = model.model_json_schema()["properties"]
    rows = []
    for key, schema in properties.items():
        required = "default" not in schema
        default = "required" if required else _toml(schema["default"])
        rows.append([f"`{key}`", schema.get("description", ""), _form(schema, {}), default])
    yield from table(["key", "meaning", "form", "default"], rows)


def _toml(value: Any) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, (list, tuple)):
        return "`[" + ", ".join(str(each) for each in value) + "]`" if value else "`[]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


# The HTTP API


def openapi() -> Schema:
    """Return the OpenAPI document, as a running service answers it at /openapi.json."""
    app = FastAPI(title="facewire")
    for router in ROUTERS:
        app.include_router(router, responses=errors(*ALWAYS))
    return complete(app.openapi())


def http_page() -> Iterator[str]:
    """Yield the lines of the page of the HTTP API."""
    document = openapi()
    schemas: Schema = document["components"]["schemas"]
    yield "# HTTP API"
    yield ""
    yield (
        "This page is made of the OpenAPI document that a running service answers at "
        "`/openapi.json`: give that to a generator of clients. With a token set, send "
        '`Authorization: Bearer TOKEN`. A refusal is `{"error": "one line"}`; every request '
        "may be answered by " + ", ".join(str(status) for status in ALWAYS) + "."
    )
    yield ""
    yield (
        "Live events and signaling go over the WebSocket `/api/ws`; see [Events](events.md). "
        "[Enroll people](enrolling.md) and [Cameras](cameras.md) have requests to copy."
    )
    yield ""
    yield "## Addresses"
    yield ""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield from _operation(method, path, operation, schemas)
    yield "## Forms of JSON { #forms }"
    yield ""
    for name, schema in sorted(schemas.items()):
        if name.startswith(("Body_", "HTTPValidationError", "ValidationError")):
            continue
        yield f"### {name}"
        yield ""
        if says := schema.get("description"):
            yield _one_line(says)
            yield ""
        yield from _fields(schema, schemas)


def _operation(method: str, path: str, operation: Schema, schemas: Schema) -> Iterator[str]:
    yield f"### {method.upper()} {path}"
    yield ""
    yield _one_line(operation.get("description") or operation.get("summary", ""))
    yield ""
    rows = [
        [
            f"`{each['name']}`",
            f"in {each['in']}" + (", required" if each.get("required") else ""),
            _form(each["schema"], schemas),
            _one_line(each.get("description") or each["schema"].get("description", "")),
        ]
        for each in operation.get("parameters", [])
    ]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content.get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        if name.startswith("Body_"):
            body = schemas[name]
            rows += [
                [
                    f"`{key}`",
                    f"in the form ({kind})"
                    + (", required" if key in body.get("required", ()) else ""),
                    _form(each, schemas),
                    _one_line(each.get("description", "")),
                ]
                for key, each in body["properties"].items()
            ]
        else:
            rows.append(["body", kind, _form(schema, schemas), ""])
    if rows:
        yield from table(["parameter", "where", "form", "meaning"], rows)
    answers = []
    for status, answer in operation["responses"].items():
        if int(status) in ALWAYS:
            continue
        forms = [
            f"{kind}: {_form(content['schema'], schemas)}" if content.get("schema") else kind
            for kind, content in answer.get("content", {}).items()
        ]
        answers.append([status, "; ".join(forms) or "no body"])
    yield from table(["answer", "body"], answers)


def _fields(schema: Schema, schemas: Schema) -> Iterator[str]:
    properties: Schema = schema.get("properties", {})
    if not properties:
        yield _form(schema, schemas)
        yield ""
        return
    needed = schema.get("required", ())
    yield from table(
        ["key", "form", "meaning"],
        [
            [
                f"`{key}`" + ("" if key in needed else " (may be absent)"),
                _form(each, schemas),
                _one_line(each.get("description", "")),
            ]
            for key, each in properties.items()
        ],
    )


def _one_line(text: str) -> str:
    """Return the first paragraph of a docstring in one line."""
    return " ".join(text.strip().partition("\n\n")[0].split()).replace("<", "&lt;")


def _form(schema: Schema, schemas: Schema) -> str:
    """Return in a few words what values a JSON schema allows."""
    if reference := schema.get("$ref", "").rpartition("/")[2]:
        return f"[{reference}](#{reference.lower()})" if reference in schemas else reference
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_form(each, schemas) for each in options))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = str(schema.get("type", "any"))
    if kind == "array":
        if "prefixItems" in schema:
            return (
                f"list of {len(schema['prefixItems'])} {_form(schema['prefixItems'][0], schemas)}"
            )
        return f"list of {_form(schema.get('items', {}), schemas)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_form(schema['additionalProperties'], schemas)}"
    kind = {"string": "text", "boolean": "true or false"}.get(kind, kind)
    if "format" in schema and schema["format"] != "path":
        kind += f" ({schema['format']})"
    return " ".join([kind, *_limits(schema)])


def _limits(schema: Schema) -> Iterator[str]:
    words = {
        "minimum": "from {}",
        "exclusiveMinimum": "above {}",
        "maximum": "to {}",
        "exclusiveMaximum": "below {}",
        "minLength": "of at least {} characters",
        "maxLength": "of at most {} characters",
    }
    for key, phrase in words.items():
        if key in schema:
            yield phrase.format(f"{schema[key]:g}")
