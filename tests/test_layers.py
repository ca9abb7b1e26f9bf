from __future__ import annotations

import ast
from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

PACKAGE = Path(__file__).resolve().parents[1] / "mergeit_async"
LONGEST_MODULE = 350
LONGEST_FUNCTION = 50


def test_every_layer_imports_only_those_below_it(monkeypatch):
    monkeypatch.chdir(PACKAGE.parent)
    assert lint_imports(no_cache=True) == EXIT_STATUS_SUCCESS


def test_modules_and_functions_stay_readable():
    too_long = []
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        if source.count("\n") > LONGEST_MODULE:
            too_long.append(f"{path.name}: {source.count(chr(10))} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                docstring = ast.get_docstring(node, clean=False) or ""
                length = node.end_lineno - node.body[0].lineno - docstring.count("\n")
                if length > LONGEST_FUNCTION:
                    too_long.append(f"{path.name}: {node.name} {length} lines")
    assert too_long == []
