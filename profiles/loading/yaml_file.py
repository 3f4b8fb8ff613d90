"""Reads a YAML file as plain data, with the line of every key.

Applies YAML's own rules (1.2: country NO stays text; a duplicate key is a mistake), whatever the keys mean. Dates stay
text, because profiles hold them as text; lists become tuples, as in profiles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from nightboard.profiles.errors import KeyPath, Mistake, ProfileError, describe_value, join_key
from nightboard.profiles.loading.regular_file import open_regular

# The largest shipped profile has a tenth of these.
_MOST_BYTES = 2**20
_MOST_VALUES = 50_000
# Longer than any number or date; Python needs minutes to parse the longest ones.
_LONGEST_SCALAR = 100
_TYPED_SCALARS = {f"tag:yaml.org,2002:{name}" for name in ("int", "float", "bool", "null")}


@dataclass(frozen=True)
class Document:
    """One file: its data and the line (from 1) of every key path in it."""

    path: Path
    data: dict[str, Any]
    lines: dict[KeyPath, int]

    @property
    def first_key(self) -> str:
        return next(iter(self.data))

    def line(self, key: KeyPath) -> int:
        """Line of `key`, or of the nearest enclosing key that is in the file."""
        while key not in self.lines and key:
            key = key[:-1]
        return self.lines.get(key, 1)

    def mistake(self, key: KeyPath, text: str) -> Mistake:
        return Mistake(str(self.path), self.line(key), join_key(key), text)


def read_document(path: Path) -> Document:
    """Read one YAML file. Raises ProfileError with every syntax error that can be found."""
    text = _read_text(path)
    try:
        return _build_document(path, _compose(path, text))
    except RecursionError:
        raise _refuse(path, 1, "is nested too deeply (got hundreds of levels). A profile needs six at most.") from None


def _build_document(path: Path, root: Node | None) -> Document:
    if root is None:
        raise _refuse(path, 1, "is empty (got nothing). Start it with its kind and name, such as `board: my-board`.")
    if not isinstance(root, MappingNode):
        kind = "a list" if isinstance(root, SequenceNode) else describe_value(root.value)
        raise _refuse(
            path, 1, f"must be a mapping of keys to values (got {kind}). Write lines such as `board: my-board`."
        )
    builder = _Builder(path)
    data = builder.build(root, ())
    if builder.mistakes:
        raise ProfileError(builder.mistakes)
    if not data:
        raise _refuse(path, 1, "is empty (got no keys). Start it with its kind and name, such as `board: my-board`.")
    return Document(path, data, builder.lines)


def _refuse(path: Path, line: int, text: str) -> ProfileError:
    return ProfileError([Mistake(str(path), line, "", text)])


def _read_text(path: Path) -> str:
    try:
        with open_regular(path, _MOST_BYTES) as file:
            return file.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        text = f"is not UTF-8 text (got byte 0x{error.object[error.start]:02x}). Save the file as UTF-8."
        raise _refuse(path, line, text) from None
    except OSError as error:
        text = f"cannot be read: {error.strerror}. Check the path and its permissions."
        raise _refuse(path, 0, text) from None


def _compose(path: Path, text: str) -> Node | None:
    try:
        node: Node | None = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise _refuse(path, line, _explain_syntax(text, line, error.problem or error.context or "")) from None
    except YAMLError as error:
        problem = str(error).splitlines()[0]
        raise _refuse(path, 1, f"is not valid YAML: {problem}. Correct the file.") from None
    return node


def _explain_syntax(text: str, line: int, problem: str) -> str:
    lines = text.splitlines()
    given = describe_value(lines[line - 1].strip()) if line <= len(lines) else "the end of the file"
    return f"is not valid YAML: {problem} (got {given}). Check indentation, colons and quotes here and just above."


@dataclass
class _Builder:
    """Turns YAML nodes into plain data; collects lines and mistakes."""

    path: Path
    lines: dict[KeyPath, int] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    open_nodes: list[Node] = field(default_factory=list)
    n_values: int = 0
    constructor: Any = field(default_factory=lambda: YAML(typ="safe", pure=True).constructor)

    def build(self, node: Node, key: KeyPath) -> Any:
        self.lines.setdefault(key, node.start_mark.line + 1)
        self.n_values += 1
        if self.n_values > _MOST_VALUES:  # nested aliases turn a few lines into any number of values
            text = f"has more than {_MOST_VALUES:,} values when its aliases are expanded. Write a smaller file."
            raise _refuse(self.path, node.start_mark.line + 1, text)
        if isinstance(node, ScalarNode):
            return self._build_scalar(node, key)
        if any(node is outer for outer in self.open_nodes):
            self._add(node, key, "contains itself (got an alias of an enclosing value). Write the value out.")
            return None
        self.open_nodes.append(node)
        try:
            if isinstance(node, MappingNode):
                return {name: self.build(value, (*key, name)) for name, value in self._walk_keys(node, key)}
            return tuple(self.build(value, (*key, index)) for index, value in enumerate(node.value))
        finally:
            self.open_nodes.pop()

    def _build_scalar(self, node: ScalarNode, key: KeyPath) -> Any:
        if node.tag not in _TYPED_SCALARS:
            return node.value
        try:
            if len(node.value) > _LONGEST_SCALAR:
                raise ValueError("too long for a number")
            return self.constructor.construct_object(node)
        except (ValueError, YAMLError):
            self._add(node, key, f"is not a YAML value (got {describe_value(node.value)}). Put text in quotes.")
            return None

    def _walk_keys(self, node: MappingNode, key: KeyPath) -> Iterator[tuple[str, Node]]:
        seen: dict[str, int] = {}
        for name_node, value in node.value:
            line = name_node.start_mark.line + 1
            if not isinstance(name_node, ScalarNode):
                self._add(
                    name_node, key, "has a key that is not plain text (got a list or mapping). Write a plain word."
                )
                continue
            name = name_node.value
            if name in seen:
                text = f"is a duplicate (got it on lines {seen[name]} and {line}). Keep one of them."
                self._add(name_node, (*key, name), text)
                continue
            seen[name] = line
            self.lines[(*key, name)] = line
            yield name, value

    def _add(self, node: Node, key: KeyPath, text: str) -> None:
        self.mistakes.append(Mistake(str(self.path), node.start_mark.line + 1, join_key(key), text))
