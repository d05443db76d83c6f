"""Action files: lists of actions that stand in files of their own, written by people or by programs.

The rule: a file is taken as a whole or not at all, and entries are those of ``actions``.
"""

from pathlib import Path
from typing import Any

from exporter.config.entries import read_entries
from exporter.config.json_loading import parse_json
from exporter.config.problems import Problem, RefusedError, describe
from exporter.config.settings import Action
from exporter.config.yaml_loading import parse_yaml, read_text
from exporter.errors import ConfigurationError
from exporter.files import gives_once, shown


def read_actions(path: Path) -> tuple[Action, ...]:
    """Return the actions of a file, one for each entry: an ID that stands there twice is no error here.

    A name that ends in ``.json`` is JSON, any other YAML. Raise ConfigurationError with every problem:
    ``actions.d/a.yaml: [3].id: what is wrong, what is right``.
    """
    try:
        raw, problems = _read_list(path)
    except RefusedError as refusal:
        raise ConfigurationError([f"{shown(path)}: {refusal}"]) from None
    entries = read_entries(raw)
    problems += entries.problems
    if problems:
        raise ConfigurationError(describe(path, raw, problems))
    return entries.actions


def _read_list(path: Path) -> tuple[list[Any], list[Problem]]:
    if gives_once(path):
        raise RefusedError("is not a regular file")
    parse = parse_json if path.suffix.lower() == ".json" else parse_yaml
    raw, problems = parse(read_text(path))
    if raw is None:
        raise RefusedError("is empty: write [] for no actions")
    if not isinstance(raw, list):
        raise RefusedError("must be a list of IDs, or of mappings with the keys id and labels")
    return raw, problems
