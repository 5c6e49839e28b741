"""Strict configuration: TOML or JSON in, frozen typed values out, and errors that name key, value and remedy.

A configuration class lies beside what it configures and derives from `Config`. Pydantic does the checking;
this file turns its findings into one line for a person.
"""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from nextword.errors import UsageError, did_you_mean, nearest

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of all configurations: unknown keys are errors, types are exact, values never change once read.

    The docstring under each field is its description; help texts and commented TOML are made from it.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        use_attribute_docstrings=True,
        protected_namespaces=(),
        allow_inf_nan=False,
    )


def parse(cls: type[C], values: Mapping[str, Any], section: str = "") -> C:
    """Check `values` against `cls`; `section` ("train") goes before the key in messages.

    Raises UsageError: unknown key (with the nearest known one), wrong type, or out of range.
    """
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        raise UsageError(_explain(error, cls, section)) from None


def _explain(error: ValidationError, cls: type[Config], section: str) -> str:
    """One line for the first finding, such as "train.steps: expected an integer, got '2k'"."""
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in ([section] if section else []) + list(first["loc"]))
    value, context = first.get("input"), first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            known = _section(cls, first["loc"][:-1]).model_fields
            return f"{key}: unknown key. {did_you_mean(str(first['loc'][-1]), known)}"
        case "missing":
            return f"{key}: required, but not given"
        case "literal_error":
            question = nearest(str(value), re.findall("'(.*?)'", context["expected"]))
            return f"{key}: expected one of {context['expected']}, got {value!r}. {question}".removesuffix(". ")
        case "value_error":
            return f"{key}: {context['error']}" if key else str(context["error"])
        case kind:
            return f"{key}: expected {_EXPECTED.get(kind, first['msg']).format(**context)}, got {value!r}"


def _section(cls: type[Config], path: Iterable[int | str]) -> type[Config]:
    """The class of a nested section, also in a table of sections; the outer one where the way is not plain."""
    parts = iter(path)
    for part in parts:
        field = cls.model_fields.get(str(part))
        annotation = None if field is None else field.annotation
        if get_origin(annotation) is dict:
            next(parts, None)  # the name
        kinds = (annotation, *get_args(annotation))  # of `Section | None` and of a table of sections, each
        found = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Config)]
        if len(found) != 1:
            return cls
        cls = found[0]
    return cls


_EXPECTED = {
    "model_type": "a section",
    "model_attributes_type": "a section",
    "dict_type": "a section",
    "finite_number": "a finite number",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "string_type": "a string",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
}


def to_toml(sections: Mapping[str, Config]) -> str:
    """All settings of some sections as TOML, each below its description; one that is left out is a comment.

    `read_toml` and `parse` give the same settings back.
    """
    lines: list[str] = []
    for name, section in sections.items():
        lines += ["", f"[{name}]"]
        values = section.model_dump(mode="json")
        for key, field in type(section).model_fields.items():
            lines += textwrap.wrap(field.description or "", 118, initial_indent="# ", subsequent_indent="# ")
            value = values[key]
            lines.append(f"# {key} =" if value is None else f"{key} = {_toml(value)}")
    return "\n".join(lines[1:]) + "\n"


def _toml(value: Any) -> str:
    """A JSON value as TOML; what is None in a table is left out."""
    if isinstance(value, dict):
        pairs = [f"{json.dumps(key, ensure_ascii=False)} = {_toml(v)}" for key, v in value.items() if v is not None]
        return f"{{ {', '.join(pairs)} }}" if pairs else "{}"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file as nested dicts. Raises UsageError naming the file (and the line, if it does not parse)."""
    return _read(path, "TOML", tomllib.loads)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object as a dict. Raises UsageError naming the file if it is missing or no JSON object."""
    values = _read(path, "JSON", json.loads)
    if not isinstance(values, dict):
        raise UsageError(f"{path}: expected a JSON object, got {type(values).__name__}")
    return values


def _read(path: Path, language: str, loads: Any) -> Any:
    try:
        return loads(path.read_text(encoding="utf-8-sig"))  # Windows may put a mark first
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, JSONDecodeError, UnicodeDecodeError
        raise UsageError(f"{path}: not valid {language}: {error}") from None


def assign(values: dict[str, Any], assignment: str) -> None:
    """Apply one `--set section.key=value` to nested dicts, in place. The value is read as TOML, else as a string.

    >>> values = {"train": {"steps": 10}}
    >>> assign(values, "train.learning_rate=3e-4")
    >>> values
    {'train': {'steps': 10, 'learning_rate': 0.0003}}
    """
    path, separator, text = assignment.partition("=")
    *sections, key = path.strip().split(".")
    if not separator or not key or not all(sections):
        raise UsageError(f"--set {assignment!r}: expected section.key=value, such as train.learning_rate=3e-4")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {assignment!r}: {section} is a value, not a section")
    values[key] = value
