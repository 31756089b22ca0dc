"""What all tests share: fresh seeds, the default dtype, the backends, what a skip would need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import minigrad as mg
from minigrad.core import recorder

#: Backends that run on a CPU and are held to the reference, bit for bit or by tolerance.
CPU_BACKENDS = ["numpy"]


@pytest.fixture(params=CPU_BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each backend usable here; the others are skipped with what they lack."""
    state = mg.backends()[request.param]
    if state != "usable":
        pytest.skip(f"backend {request.param!r}: {state}")
    return str(request.param)


@pytest.fixture(autouse=True)
def clean_state() -> Iterator[None]:
    """Seed the default generator, and see that a test leaves nothing switched over."""
    mg.random.seed(0)
    yield
    assert recorder.tape is None, "a test left a trace open"
    assert recorder.recording, "a test left no_grad on"
    assert recorder.scope == (), "a test left a scope open"
    assert recorder.transforming == 0, "a test left a transformation open"
    assert mg.get_default_dtype() == mg.float32, "a test left another default dtype"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the measured experiments as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run; each skip says which line would enable it."""
    for item in items:
        if item.get_closest_marker("slow") and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="a measured experiment: pytest --slow"))
        for marker, missing in _missing().items():
            if item.get_closest_marker(marker) and missing:
                item.add_marker(pytest.mark.skip(reason=missing))


def _missing() -> dict[str, str | None]:
    from importlib.util import find_spec
    from shutil import which

    gpu = mg.backends().get("cupy", "CuPy is not supported")
    oracle = any(find_spec(name) for name in ("torch", "jax"))
    browser = any(which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return {
        "gpu": None if gpu == "usable" else gpu,
        "mpi": None if find_spec("mpi4py") else "pip install 'minigrad[mpi]'",
        "oracle": None if oracle else "pip install 'minigrad[oracle]'",
        "browser": None if browser else "install Chromium",
    }
