"""The configuration file's keys: which there are, what each takes, and which exclude each other.

Every problem is found in one pass: where pydantic stops (a check across fields does not run beside a field's
error), Section goes on, and all texts are ours.
"""

import difflib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ModelWrapValidatorHandler,
    PlainValidator,
    SecretStr,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from exporter.config import durations, values
from exporter.config.settings import ApiSettings, PollSettings
from exporter.config.yaml_loading import Location, Problem, RefusedError, dotted

_KEY_SOURCES = ("key_file", "key_env", "key")
_TENANT_KEYS = ("api", "actions", "action_files")


class Section(BaseModel):
    """A mapping of the file. Validation takes the file's folder as context, and reports all that is wrong."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)

    @classmethod
    def conflicts(cls, raw: dict[str, Any]) -> Iterator[Problem]:
        """Yield what is wrong between fields, each of which may be invalid or missing itself."""
        del raw
        yield from ()

    @model_validator(mode="wrap")
    @classmethod
    def _report_everything(cls, raw: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        known = list(cls.model_fields)
        if not isinstance(raw, dict):
            raise RefusedError(f"must be a mapping with the keys {', '.join(known)}")
        problems = [_unknown(key, value, known) for key, value in raw.items() if key not in known]
        problems += cls.conflicts(raw)
        try:
            section = handler({key: value for key, value in raw.items() if key in known})
        except ValidationError as error:
            problems += problems_of(error)
        if problems:
            raise _invalid(problems)
        return section


def problems_of(error: ValidationError) -> list[Problem]:
    """Return what an error of validation reports, in our words."""
    return [
        (details["loc"], _MESSAGES.get(details["type"]) or details["msg"].removeprefix("Value error, "))
        for details in error.errors(include_url=False, include_input=False, include_context=False)
    ]


_MESSAGES = {"missing": "is missing", "list_type": "must be a list"}


def _invalid(problems: list[Problem]) -> ValidationError:
    details = [
        InitErrorDetails(type=PydanticCustomError("problem", "{text}", {"text": text}), loc=location, input=None)
        for location, text in problems
    ]
    return ValidationError.from_exception_data("configuration", details, hide_input=True)


def _unknown(key: str, value: Any, known: list[str]) -> Problem:
    close = difflib.get_close_matches(key.lower(), known, n=1, cutoff=0.7)
    keys = f"known are: {', '.join(known)}"
    if close:
        return (key,), f"unknown key; did you mean {close[0]}? {keys}"
    # YAML tears an unquoted secret apart, "{key: ab,cd}", and its pieces are keys without a value then.
    if value is None or not re.fullmatch(r"[A-Za-z_][\w.-]{0,63}", key, re.ASCII):
        return (), f"an unknown key, not shown as it may be a piece of a secret; {keys}"
    return (key,), f"unknown key; {keys}"


def _default(settings: type[BaseModel], field: str) -> Any:
    return settings.model_fields[field].default


def _labels(raw: Any) -> tuple[tuple[str, str], ...]:
    raw = _mapping_or_nothing(raw)
    if not isinstance(raw, dict):
        raise RefusedError("must be a mapping of label names to values")
    problems: list[Problem] = []
    for name, value in raw.items():
        for check, part in ((values.label_name, name), (values.label_value, value)):
            try:
                check(part)
            except RefusedError as refusal:
                problems.append(((name,), str(refusal)))
    if problems:
        raise _invalid(problems)
    return tuple(sorted((name, values.label_value(value)) for name, value in raw.items()))


def _key_from_file(raw: Any, info: ValidationInfo) -> values.Key:
    return values.key_from_file(raw, cast("Path", info.context))


def _ca_file(raw: Any, info: ValidationInfo) -> Path | None:
    return values.ca_file(raw, cast("Path", info.context))


Duration = Annotated[float, PlainValidator(values.duration)]
PositiveDuration = Annotated[float, PlainValidator(values.positive_duration)]


class ApiSection(Section):
    """``api``: how a tenant is asked."""

    url: Annotated[str, PlainValidator(values.api_url)]
    key_id: Annotated[str, PlainValidator(values.key_id)]
    key_type: Annotated[Literal["advanced", "standard"], PlainValidator(values.key_type)] = _default(
        ApiSettings, "key_type"
    )
    key_file: Annotated[values.Key | None, PlainValidator(_key_from_file)] = None
    key_env: Annotated[values.Key | None, PlainValidator(values.key_from_environment)] = None
    key: Annotated[values.Key | None, PlainValidator(values.key)] = None
    requests_per_second: Annotated[float, PlainValidator(values.requests_per_second)] = _default(
        ApiSettings, "requests_per_second"
    )
    timeout: Annotated[float, PlainValidator(values.timeout)] = _default(ApiSettings, "timeout_seconds")
    ca_file: Annotated[Path | None, PlainValidator(_ca_file)] = None
    proxy_url: Annotated[SecretStr | None, PlainValidator(values.proxy_url)] = None

    @classmethod
    def conflicts(cls, raw: dict[str, Any]) -> Iterator[Problem]:
        """Yield unless there is one source of the key."""
        given = [source for source in raw if source in _KEY_SOURCES]
        if not given:
            yield (), "the key is missing: give one of key_file, key_env and key"
        for source in given[1:]:
            yield (source,), f"does not go with {given[0]}: give one of key_file, key_env and key"


class ActionSection(Section):
    """An entry of ``actions``: written as a mapping, or as the ID alone."""

    id: Annotated[str, PlainValidator(values.action_id)]
    labels: Annotated[tuple[tuple[str, str], ...], PlainValidator(_labels)] = ()


def _action(raw: Any) -> ActionSection:
    if isinstance(raw, dict):
        return ActionSection.model_validate(raw)
    return ActionSection.model_construct(id=values.action_id(raw))


def _list_or_nothing(raw: Any) -> Any:
    # "actions:" with every entry commented out is null to YAML.
    return [] if raw is None else raw


def _mapping_or_nothing(raw: Any) -> Any:
    return {} if raw is None else raw  # As above.


def _refuse_action_files(patterns: list[str]) -> list[str]:
    if patterns:
        raise RefusedError("is not supported by this version: list the actions under actions")
    return patterns


Actions = Annotated[list[Annotated[ActionSection, PlainValidator(_action)]], BeforeValidator(_list_or_nothing)]
ActionFiles = Annotated[
    list[Annotated[str, PlainValidator(values.action_file)]],
    BeforeValidator(_list_or_nothing),
    AfterValidator(_refuse_action_files),
]


def _repeated_ids(raw: dict[str, Any]) -> Iterator[Problem]:
    actions = raw.get("actions")
    first: dict[str, Location] = {}
    for index, action in enumerate(actions if isinstance(actions, list) else []):
        location: Location = ("actions", index, "id") if isinstance(action, dict) else ("actions", index)
        try:
            action_id = values.action_id(action.get("id") if isinstance(action, dict) else action)
        except RefusedError:
            continue
        if action_id in first:
            yield location, f"{action_id} is the ID at {dotted(first[action_id])} already"
        first.setdefault(action_id, location)


class TenantSection(Section):
    """An entry of ``tenants``."""

    name: Annotated[str, PlainValidator(values.tenant_name)]
    api: ApiSection
    actions: Actions = []
    action_files: ActionFiles = []

    @classmethod
    def conflicts(cls, raw: dict[str, Any]) -> Iterator[Problem]:
        """Yield each ID that stands there twice."""
        yield from _repeated_ids(raw)


class PollSection(Section):
    """``poll``: how often, and for how long."""

    interval: PositiveDuration = _default(PollSettings, "interval_seconds")
    settled_interval: PositiveDuration = _default(PollSettings, "settled_interval_seconds")
    retire_after: Duration = _default(PollSettings, "retire_after_seconds")
    stale_after: Duration = _default(PollSettings, "stale_after_seconds")

    @classmethod
    def conflicts(cls, raw: dict[str, Any]) -> Iterator[Problem]:
        """Yield if data were stale before a poll or two had the time to renew it."""
        try:
            interval, stale_after = (
                values.duration(raw[key]) if key in raw else cls.model_fields[key].default
                for key in ("interval", "stale_after")
            )
        except RefusedError:
            return
        if 0 < stale_after < 2 * interval:
            if "stale_after" in raw:
                twice = durations.render(2 * interval)
                yield ("stale_after",), f"must be at least twice the interval, {twice}, or 0s for never"
            else:
                text = durations.render(stale_after)
                yield (
                    ("interval",),
                    f"must be at most half of stale_after, which is {text} where it is not set",
                )


class StateSection(Section):
    """``state``: what outlives a restart."""

    path: Annotated[None, PlainValidator(values.state_path)] = None


class FileSection(Section):
    """The whole file: one tenant at the top, or ``tenants``."""

    api: ApiSection | None = None
    actions: Actions = []
    action_files: ActionFiles = []
    tenants: list[TenantSection] = []
    poll: Annotated[PollSection, BeforeValidator(_mapping_or_nothing)] = PollSection()
    state: Annotated[StateSection, BeforeValidator(_mapping_or_nothing)] = StateSection()

    @classmethod
    def conflicts(cls, raw: dict[str, Any]) -> Iterator[Problem]:
        """Yield what keeps the file from having either one tenant or a list of distinct ones."""
        yield from _repeated_ids(raw)
        if "tenants" not in raw:
            if raw.get("api") is None:
                yield ("api",), "is missing (or tenants, a list of several)"
            return
        for key in _TENANT_KEYS:
            if key in raw:
                yield (key,), "does not go with tenants: move it into one of them"
        tenants = raw["tenants"] if isinstance(raw["tenants"], list) else [None]
        if not tenants:
            yield ("tenants",), "must not be empty"
        first: dict[str, int] = {}
        for index, tenant in enumerate(tenants):
            name = tenant.get("name") if isinstance(tenant, dict) else None
            if isinstance(name, str) and first.setdefault(name, index) != index:
                yield ("tenants", index, "name"), f"is the name of tenants[{first[name]}] already"
