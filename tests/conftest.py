"""What all tests share: fresh seeds, the default dtype, the backends, what a skip would need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import settings

import minigrad as mg
from minigrad.core import recorder

from .backends.cupy import stand_in
from .shadow import Shadow

# A machine that others use, too, is slow at times.
settings.register_profile("minigrad", deadline=None)
settings.load_profile("minigrad")

#: Backends that run on a CPU and are held to the reference as ``tests.agreement`` says.
#: On a device, the suite runs with ``"cupy"`` besides; see ``pytest_configure``.
CPU_BACKENDS = ["numpy", "cpu"]

#: Where tensors are in this run, if not in NumPy arrays: "cupy" or "stand-in".
_DEVICE: list[str] = []
#: What computes everything compiled, too, if this run was asked to.
_SHADOW = pytest.StashKey[Shadow]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes ``backend`` with each; those not usable are skipped with why."""
    given = [m.args[0] for m in metafunc.definition.iter_markers("parametrize")]
    if "backend" in metafunc.fixturenames and "backend" not in given:
        states = mg.backends()
        params = []
        for name in (*CPU_BACKENDS, *(["cupy"] if "cupy" in _DEVICE else [])):
            reason = f"backend {name!r}: {states[name]}"
            missing = pytest.mark.skipif(states[name] != "usable", reason=reason)
            params.append(pytest.param(name, marks=missing))
        metafunc.parametrize("backend", params)


@pytest.fixture(autouse=True)
def clean_state(request: pytest.FixtureRequest) -> Iterator[None]:
    """Seed the default generator, and see that a test leaves nothing switched over."""
    away = _DEVICE and not _about_the_host(request.node)
    shadow = request.config.stash.get(_SHADOW, None)
    with mg.use("cupy") if away else nullcontext(), shadow.installed() if shadow else nullcontext():
        mg.random.seed(0)
        yield
    assert recorder.tape is None, "a test left a trace open"
    assert recorder.recording, "a test left no_grad on"
    assert recorder.scope == (), "a test left a scope open"
    assert recorder.transforming == 0, "a test left a transformation open"
    assert mg.get_default_dtype() == mg.float32, "a test left another default dtype"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the measured experiments as well")
    parser.addoption(
        "--device",
        choices=("cupy", "stand-in"),
        help="run every test with its tensors on the GPU (as -m gpu does where there is one), or "
        "on a stand-in for it in host memory that is as strict about mixing",
    )
    parser.addoption(
        "--compiled",
        choices=tuple(mg.backends()),
        help="compile with this backend unless a test names one, and hold what tests compute at "
        "the prompt to the same graphs compiled",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Decide where tensors are. ``-m gpu`` on a machine with a GPU runs all tests there."""
    device = config.getoption("--device")
    if device is None and config.option.markexpr == "gpu" and mg.backends()["cupy"] == "usable":
        device = "cupy"
    if device == "stand-in":
        config._stand_in = stand_in.installed(kernels=False)
        config._stand_in.__enter__()
    if device:
        _DEVICE.append(device)
    compiled = config.getoption("--compiled")
    if compiled:
        config.stash[_SHADOW] = Shadow(compiled)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say how much was computed compiled, too."""
    shadow = config.stash.get(_SHADOW, None)
    if shadow:
        terminalreporter.write_line(
            f"{shadow.held} graphs of the prompt agree with backend {shadow.backend.name!r}; "
            f"{shadow.left} were left out, being long, many of one test, or of workers"
        )


def _about_the_host(item: pytest.Item) -> bool:
    backend = getattr(getattr(item, "callspec", None), "params", {}).get("backend")
    about = item.get_closest_marker("host") is not None or item.path.parent.name == "cpu"
    return about or backend == "cpu"  # native code takes NumPy arrays


def pytest_unconfigure(config: pytest.Config) -> None:
    _DEVICE.clear()
    if hasattr(config, "_stand_in"):
        config._stand_in.__exit__(None, None, None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what this machine cannot run; each skip says which line would enable it."""
    if _DEVICE:
        items[:] = [item for item in items if not _about_the_host(item)]
        for item in items:
            item.add_marker("gpu")
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
