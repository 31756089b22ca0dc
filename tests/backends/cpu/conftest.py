"""Tests of native code: skipped where it cannot be made; their cache is a folder of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from minigrad.backends.cpu import jit


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    missing = jit.missing()
    here = Path(__file__).parent
    for item in items:
        if missing and here in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=missing))


@pytest.fixture(autouse=True, scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the user's own cache out of the tests."""
    folder = tmp_path_factory.mktemp("objects")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINIGRAD_CACHE_DIR", str(folder))
        patch.delenv("MINIGRAD_CPU_TARGET", raising=False)
        yield folder
