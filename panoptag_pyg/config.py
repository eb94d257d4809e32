"""Strict configuration models: every wrong key or value becomes one sentence that a user can act on."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from panoptag_pyg.errors import ConfigError, suggest

Model = TypeVar("Model", bound=BaseModel)


class StrictConfig(BaseModel):
    """A pydantic model that refuses keys it doesn't know and never turns ``"5"`` into 5."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_default=True)


def validate(model: type[Model], values: dict[str, Any], source: str, prefix: str = "") -> Model:
    """Build ``model`` from ``values``, or say in one sentence what doesn't fit.

    Args:
        model: the pydantic model.
        values: its keys and values, nested as in the file.
        source: what the sentence calls the values' origin, such as ``"recipe small.toml"``.
        prefix: where ``values`` sit in the file, such as ``"task"``; empty (the default) for its top.

    Raises:
        ConfigError: at the first unknown key, missing key or wrong value.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_sentence(model, error, prefix)}") from error


def _sentence(model: type[BaseModel], error: ValidationError, prefix: str) -> str:
    problems = error.errors(include_url=False)
    # An unknown key first: a misspelt required key also shows as a missing one, which would only mislead.
    first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
    location = [str(part) for part in first["loc"]]
    path = ".".join(([prefix] if prefix else []) + location)
    if first["type"] == "extra_forbidden":
        return f"unknown key '{path}'{suggest(location[-1], _fields_at(model, location[:-1]))}"
    if first["type"] == "missing":
        return f"'{path}' is missing"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if first["type"] == "value_error":
        return f"{path}: {message}" if path else message
    # A union such as `int | None` reports once per member; all of them belong in the sentence.
    wanted = [
        other["msg"].removeprefix("Input should be ")
        for other in problems
        if other["input"] is first["input"] and other["loc"][: len(location)][:1] == first["loc"][:1]
    ]
    path = ".".join(part for part in path.split(".") if "[" not in part)
    return f"'{path}' should be {' or '.join(dict.fromkeys(wanted))}, not {first['input']!r}"


def _fields_at(model: type[BaseModel], location: list[str]) -> list[str]:
    """Names of the fields of the sub-model that ``location`` leads to."""
    for part in location:
        field = model.model_fields.get(part)
        if field is None or not isinstance(field.annotation, type):
            break
        if issubclass(field.annotation, BaseModel):
            model = field.annotation
    return list(model.model_fields)
