"""The sizes that the house keeps: a file that outgrows its limit has more than one purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MOST_LINES = {"kemi/sip": 150, "kemi": 300, "kamailio": 300, "lab": 300, "tests": 400}


@pytest.mark.parametrize("folder", MOST_LINES)
def test_no_python_file_is_longer_than_its_folder_allows(folder: str) -> None:
    files = sorted((PROJECT / folder).rglob("*.py"))
    assert files
    lengths = {str(path.relative_to(PROJECT)): len(path.read_text().splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES[folder]} == {}
