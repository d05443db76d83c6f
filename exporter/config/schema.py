"""The configuration file's keys: which there are, what each takes, and which exclude each other.

Every problem is found in one pass: where pydantic stops (a check across fields does not run beside a field's
error), Section goes on, and all texts are ours.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self, cast

from pydantic import (
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

from exporter import durations
from exporter.config import values
from exporter.config.entries import read_entries
from exporter.config.problems import Problem, RefusedError, dotted, unknown_key
from exporter.config.settings import Action, ApiSettings, PollSettings

KEY_SOURCES = ("key_file", "key_env", "key")
_TENANT_KEYS = ("api", "actions", "action_files")


class Context(NamedTuple):
    """What validation takes as context.

    ``owns`` tells by its name whether a tenant is polled by this process: what others read, keys and certificate
    authorities, need not be there. ``reading`` is that answer for the tenant whose ``api`` is validated.
    """

    folder: Path
    owns: Callable[[str | None], bool]
    reading: bool = True


class Section(BaseModel):
    """A mapping of the file. Validation takes a Context, and reports all that is wrong."""

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
        problems = [unknown_key(key, value, known) for key, value in raw.items() if key not in known]
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


def _default(settings: type[BaseModel], field: str) -> Any:
    return settings.model_fields[field].default


def _context(info: ValidationInfo) -> Context:
    return cast("Context", info.context)


def _key_from_file(raw: Any, info: ValidationInfo) -> values.Key:
    return values.key_from_file(raw, _context(info).folder, reading=_context(info).reading)


def _key_from_environment(raw: Any, info: ValidationInfo) -> values.Key:
    return values.key_from_environment(raw, reading=_context(info).reading)


def _ca_file(raw: Any, info: ValidationInfo) -> values.CaFile | None:
    return values.ca_file(raw, _context(info).folder, reading=_context(info).reading)


def _action_files(raw: Any, info: ValidationInfo) -> str:
    return values.action_files(raw, _context(info).folder)


def _state_path(raw: Any, info: ValidationInfo) -> Path | None:
    return values.state_path(raw, _context(info).folder)


Duration = Annotated[float, PlainValidator(values.duration)]
PositiveDuration = Annotated[float, PlainValidator(values.positive_duration)]


class ApiSection(Section):
    """``api``: how a tenant is asked."""

    url: Annotated[str, PlainValidator(values.api_url)]
    """`https://api-` and the tenant's FQDN, with nothing behind it."""
    key_id: Annotated[str, PlainValidator(values.key_id)]
    """The key's number in Cortex XDR's list of API keys."""
    key_type: Annotated[Literal["advanced", "standard"], PlainValidator(values.key_type)] = _default(
        ApiSettings, "key_type"
    )
    """The security level chosen when the key was made."""
    key_file: Annotated[values.Key | None, PlainValidator(_key_from_file)] = None
    """A file that holds the key and nothing else, in which it may be rotated."""
    key_env: Annotated[values.Key | None, PlainValidator(_key_from_environment)] = None
    """The environment variable that holds the key."""
    key: Annotated[values.Key | None, PlainValidator(values.key)] = None
    """The key itself, in a file that then is a secret as a whole."""
    requests_per_second: Annotated[float, PlainValidator(values.requests_per_second)] = _default(
        ApiSettings, "requests_per_second"
    )
    """The share of the tenant's 10 requests per second that the exporter may use."""
    timeout: Annotated[float, PlainValidator(values.timeout)] = _default(ApiSettings, "timeout_seconds")
    """How long a whole request may take, from connecting to the last byte."""
    ca_file: Annotated[values.CaFile | None, PlainValidator(_ca_file)] = None
    """Certificate authorities to trust, in PEM, as of a proxy that inspects TLS; else the public ones."""
    proxy_url: Annotated[SecretStr | None, PlainValidator(values.proxy_url)] = None
    """For example `http://user:password@proxy.example.com:3128`; else as `HTTPS_PROXY` and `NO_PROXY` say."""

    @classmethod
    def conflicts(cls, raw: dict[str, Any]) -> Iterator[Problem]:
        """Yield unless there is one source of the key."""
        given = [source for source in raw if source in KEY_SOURCES]
        if not given:
            yield (), "the key is missing: give one of key_file, key_env and key"
        for source in given[1:]:
            yield (source,), f"does not go with {given[0]}: give one of key_file, key_env and key"


def _api(raw: Any, info: ValidationInfo) -> ApiSection:
    context = _context(info)
    return ApiSection.model_validate(raw, context=context._replace(reading=context.owns(info.data.get("name"))))


Api = Annotated[ApiSection, PlainValidator(_api)]


def _list_or_nothing(raw: Any) -> Any:
    # "actions:" with every entry commented out is null to YAML.
    return [] if raw is None else raw


def _mapping_or_nothing(raw: Any) -> Any:
    return {} if raw is None else raw  # As above.


def _actions(raw: Any) -> tuple[Action, ...]:
    raw = _list_or_nothing(raw)
    if not isinstance(raw, list):
        raise RefusedError(_MESSAGES["list_type"])
    entries = read_entries(raw)
    problems = entries.problems + [
        (location, f"{action_id} is the ID at {dotted(('actions', *first))} already")
        for location, action_id, first in entries.repeated
    ]
    if problems:
        raise _invalid(problems)
    return entries.actions


Actions = Annotated[tuple[Action, ...], PlainValidator(_actions)]
ActionFiles = Annotated[
    list[Annotated[str, PlainValidator(_action_files)]],
    BeforeValidator(_list_or_nothing),
]


class TenantSection(Section):
    """An entry of ``tenants``."""

    name: Annotated[str, PlainValidator(values.tenant_name)]
    """The value of the label `tenant`. No two tenants have the same."""
    api: Api
    """How this tenant is asked."""
    actions: Actions = ()
    """The script executions to track in this tenant."""
    action_files: ActionFiles = []
    """Files that list further ones."""


class PollSection(Section):
    """``poll``: how often, and for how long."""

    interval: PositiveDuration = _default(PollSettings, "interval_seconds")
    """How often an action is polled that is not finished."""
    settled_interval: PositiveDuration = _default(PollSettings, "settled_interval_seconds")
    """How often one that is; also the longest time between two attempts where polls fail."""
    retire_after: Duration = _default(PollSettings, "retire_after_seconds")
    """How long after it finished an action is polled and shown. 0s: for ever."""
    stale_after: Duration = _default(PollSettings, "stale_after_seconds")
    """An unfinished action that could not be polled for this long loses its counts, instead of showing old ones.
    At least twice the interval. 0s: it keeps them."""

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

    path: Annotated[Path | None, PlainValidator(_state_path)] = None
    """A SQLite file that keeps what is known over a restart; else it is kept in memory only."""


class FileSection(Section):
    """The whole file: one tenant at the top, or ``tenants``."""

    api: Api | None = None
    """How the API of the one tenant is asked. Required, unless there are `tenants`."""
    actions: Actions = ()
    """The script executions to track."""
    action_files: ActionFiles = []
    """Files that list further ones. They are watched, and need no reload."""
    tenants: list[TenantSection] = []
    """Several tenants, instead of the three above. Their metrics carry a label `tenant`."""
    poll: Annotated[PollSection, BeforeValidator(_mapping_or_nothing)] = PollSection()
    """How often actions are polled, and for how long they are kept."""
    state: Annotated[StateSection, BeforeValidator(_mapping_or_nothing)] = StateSection()
    """What outlives a restart."""

    @classmethod
    def conflicts(cls, raw: dict[str, Any]) -> Iterator[Problem]:
        """Yield what keeps the file from having either one tenant or a list of distinct ones."""
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
