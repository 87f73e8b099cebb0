"""Reading of the configuration file; an invalid one is an error of one sentence."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recognizer import read_file
from stream.errors import ConfigError

MAX_BYTES = 4 * 2**20  # a thousand cameras take 200 kB
MAX_WHERE = 200  # characters; a key in the file can have any length


def read_tables(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file, unchecked.

    Raises:
        ConfigError: if it cannot be read or is not TOML.
    """
    try:
        # Windows editors start the file with a byte order mark.
        return tomllib.loads(read_file(path, max_bytes=MAX_BYTES).decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path} is not UTF-8 text (byte {error.start}): save it as UTF-8"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except (ValueError, RecursionError) as error:  # numbers and nesting beyond Python's limits
        raise ConfigError(f"{path} is not TOML: a number or its nesting is too large") from error


def update_table(tables: dict[str, Any], section: str, values: Mapping[str, Any]) -> None:
    """Update a table of a file; a value that is not a table stays, and fails the validation."""
    table = tables.setdefault(section, {})
    if isinstance(table, dict):
        table.update(values)


def describe(error: ValidationError, source: str) -> str:
    """Return the first error in one line, never the value: it may hold a password."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    if len(where) > MAX_WHERE:
        where = f"{where[:MAX_WHERE]}..."
    match first["type"]:
        case "extra_forbidden":
            return f"{source}: unknown key {where}"
        case "model_type" | "dict_type":
            what = f"[[{where.partition('.')[0]}]]" if "." in where else f"[{where}]"
            return f"{source}: {where}: must be a table, as after {what}"
        case "tuple_type" | "list_type":
            hint = f", each after [[{where}]]" if "." not in where else ""
            return f"{source}: {where}: must be a list{hint}"
    what = first["msg"].removeprefix("Value error, ")
    return f"{source}: {where}: {what}" if where else f"{source}: {what}"
