# SPDX-License-Identifier: Apache-2.0
"""Checks names, docstrings, comments and texts of Python modules against a stop list.

``python -m tests.support.language [path ...]`` prints ``file:line: word: what to use instead``.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support import stop_list

ROOT = Path(__file__).parents[2]

_PROSE = [
    (re.compile(rf"(?<![\w-])(?:{words})(?![\w-])", re.IGNORECASE), hint) for words, hint in stop_list.PROSE.items()
]
_WORD = re.compile(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*|\d+")
_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Documented = ast.Module | ast.ClassDef | _Function


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A word or name to replace, and what to use instead."""

    line: int
    word: str
    hint: str


def check_source(source: str) -> list[Finding]:
    """Return the findings in the source text of a module, in the order of lines."""
    tree = ast.parse(source)
    return sorted({*_check_names(tree), *_check_docstrings(tree), *_check_texts(tree), *_check_comments(source)})


def check_file(path: Path) -> list[Finding]:
    """Return the findings in a module."""
    return check_source(path.read_text(encoding="utf-8"))


# ---- names ----------------------------------------------------------------------------------------------------------


def _check_names(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef():
                yield from _check_name(node.name, node.lineno)
                members = [field for field in node.body if isinstance(field, ast.AnnAssign)]
                for target in (field.target for field in members if isinstance(field.target, ast.Name)):
                    yield from _check_member(target.id, target.lineno)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _check_name(node.name, node.lineno)
                yield from _check_member(node.name, node.lineno)
                if (verb := _words(node.name)[:1]) and verb[0] in stop_list.FUNCTION_VERBS:
                    yield Finding(node.lineno, f"{node.name}()", stop_list.FUNCTION_VERBS[verb[0]])
            case ast.arg():
                yield from _check_name(node.arg, node.lineno)
            case ast.Name(ctx=ast.Store()):
                yield from _check_name(node.id, node.lineno)
            case ast.Attribute(ctx=ast.Store()):
                yield from _check_name(node.attr, node.lineno)
                yield from _check_member(node.attr, node.lineno)


def _check_name(name: str, line: int) -> Iterator[Finding]:
    if (hint := stop_list.OLD_NAMES.get(name.lstrip("_"))) is not None:
        yield Finding(line, name, hint)
    words = _words(name)
    for word in words:
        if word in stop_list.NAME_WORDS:
            yield Finding(line, name, f"not {word}: {stop_list.NAME_WORDS[word]}")
    joined = f"_{'_'.join(words)}_"
    for phrase, hint in stop_list.NAME_PHRASES.items():
        if f"_{phrase}_" in joined:
            yield Finding(line, name, f"not {phrase}: {hint}")


def _check_member(name: str, line: int) -> Iterator[Finding]:
    if (hint := stop_list.OLD_MEMBERS.get(name.lstrip("_"))) is not None:
        yield Finding(line, f".{name}", hint)


def _words(name: str) -> list[str]:
    """Return the words of a name in snake_case or CamelCase, in lower case."""
    return [word.lower() for word in _WORD.findall(name)]


# ---- prose ----------------------------------------------------------------------------------------------------------


def _check_docstrings(tree: ast.Module) -> Iterator[Finding]:
    for node in ast.walk(tree):
        if not isinstance(node, _Documented) or (docstring := _docstring(node)) is None:
            continue
        text, line = str(docstring.value), docstring.lineno
        yield from _check_text(text, line)
        opening = re.match(r"\s*([A-Za-z]+)", text)
        if opening is None:
            continue
        first = opening[1]
        if first in stop_list.OPENINGS:
            yield Finding(line, f"{first} ...", stop_list.OPENINGS[first])
        elif isinstance(node, _Function) and not _is_property(node) and not _is_imperative(first):
            yield Finding(line, f"{first} ...", "imperative mood, as in Return ...")


def _docstring(node: _Documented) -> ast.Constant | None:
    first = node.body[0] if node.body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value
    return None


def _is_property(node: _Function) -> bool:
    return any("property" in ast.unparse(decorator) for decorator in node.decorator_list)


def _is_imperative(first: str) -> bool:
    is_third_person = first.endswith("s") and not first.endswith("ss")
    return first not in stop_list.NOT_IMPERATIVE and not is_third_person


def _check_texts(tree: ast.Module) -> Iterator[Finding]:
    """Check literals: those with a blank are taken for text, others for a name of an option, metric or operation."""
    skipped = {id(_docstring(node)) for node in ast.walk(tree) if isinstance(node, _Documented)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign | ast.AnnAssign) and "RENAMED" in ast.unparse(node).partition("=")[0]:
            skipped |= {id(constant) for constant in ast.walk(node)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in skipped:
            continue
        if (hint := stop_list.OLD_STRINGS.get(node.value)) is not None:
            yield Finding(node.lineno, repr(node.value), hint)
        elif not node.value.isidentifier():
            yield from _check_text(node.value, node.lineno)


def _check_comments(source: str) -> Iterator[Finding]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield from _check_text(token.string, token.start[0])


def _check_text(text: str, line: int) -> Iterator[Finding]:
    for words, hint in _PROSE:
        for found in words.finditer(text):
            yield Finding(line + text.count("\n", 0, found.start()), found[0], hint)


# ---- command line ---------------------------------------------------------------------------------------------------


def modules(paths: Iterable[Path]) -> list[Path]:
    """Return the Python files under the paths, sorted."""
    return sorted({file for path in paths for file in ([path] if path.is_file() else path.rglob("*.py"))})


def main(arguments: list[str]) -> int:
    """Print the findings; return 1 if there are some, else 0."""
    paths = [Path(argument).resolve() for argument in arguments] or [ROOT / "l3agent"]
    count = 0
    for path in modules(paths):
        for finding in check_file(path):
            shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
            print(f"{shown}:{finding.line}: {finding.word}: {finding.hint}")
            count += 1
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
