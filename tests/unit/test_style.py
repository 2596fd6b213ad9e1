"""Sizes that keep the code easy to find one's way in."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDERS = ("hqt_async_db", "examples", "tests", "alembic", ".ci")
LINES_OF_A_FILE = 400
LINES_OF_A_FUNCTION = 40
MEDIAN_OF_THE_PACKAGE = 6


def _sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((CHECKOUT / folder).rglob("*.py"))]


def _bodies(path: Path) -> dict[str, int]:
    """Return how many lines each function has, signature and docstring aside."""
    lengths = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            length = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
            lengths[f"{path.relative_to(CHECKOUT)}:{node.lineno} {node.name}"] = length
    return lengths


def test_no_file_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in _sources(*FOLDERS)}
    assert {path: length for path, length in lengths.items() if length > LINES_OF_A_FILE} == {}


def test_no_function_is_too_long() -> None:
    lengths = {name: size for path in _sources(*FOLDERS) for name, size in _bodies(path).items()}
    assert {name: size for name, size in lengths.items() if size > LINES_OF_A_FUNCTION} == {}


def test_most_functions_are_short() -> None:
    sizes = [size for path in _sources("hqt_async_db") for size in _bodies(path).values()]
    assert statistics.median(sizes) <= MEDIAN_OF_THE_PACKAGE


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "XXX:"])
def test_nothing_is_left_for_later(word: str) -> None:
    sources = _sources("hqt_async_db", "examples", "alembic")
    assert [path for path in sources if word in path.read_text()] == []
