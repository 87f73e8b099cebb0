"""No number about similarities stands in the code that recognizes: they follow from the model."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = [
    path
    for folder in ("stream", "gallery", "recognizer", "scripts")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if path.relative_to(ROOT).as_posix()
    not in {"recognizer/similarities.py", "stream/bench/search.py"}  # derived; invented vectors
]
WORDS = ("similar", "cosine", "embedding", "template", "alike")
NAMED = ("threshold", "margin", "same_face", "min_own", "max_other", "lead")


def literals(source: str) -> Iterator[str]:
    """Yield comparisons of similarities with a number, and such numbers given by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            text = ast.unparse(node)
            if any(map(is_share, sides)) and any(word in text for word in WORDS):
                yield text
        elif isinstance(node, ast.keyword) and node.arg in NAMED and is_share(node.value):
            yield f"{node.arg}={ast.unparse(node.value)}"


def is_share(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Constant) and isinstance(node.value, float) and 0.001 <= node.value < 1
    )


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_no_number_about_similarities_is_written_down(path: Path):
    assert list(literals(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "source",
    [
        "if match.similarity >= 0.36: pass",
        "is_other = float(look.embedding @ pooled) < 0.3",
        "people.search(probes, threshold=t, margin=0.05)",
    ],
)
def test_one_that_is_written_down_is_found(source: str):
    assert list(literals(source))
