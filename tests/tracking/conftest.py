"""Real sqlite stores; one is shared by all files here, as making one takes seconds."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cvd.runtime.startup import start_tensorflow
from cvd.tracking import gate as gates
from cvd.tracking import records, store, sync
from cvd.tracking import training as live

VARIABLES = (
    *("DVC_ROOT", "DVC_STAGE", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"),
    *("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ignored = (
        "ignore:The ``noload`` loader strategy",  # mlflow's own use of SQLAlchemy
        "ignore:__array__ implementation doesn't accept a copy keyword",  # Keras' of NumPy
    )
    for item in items:
        if Path(__file__).parent in item.path.parents:
            for each in ignored:
                item.add_marker(pytest.mark.filterwarnings(each))


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with a store in it, and the working folder."""
    start_tensorflow()
    root = tmp_path_factory.mktemp("project")
    (root / ".dvc").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        patch.setattr(gates.GATE, "_store", None)
        yield root


@pytest.fixture
def gate(place: Path, monkeypatch: pytest.MonkeyPatch) -> gates.Gate:
    """A gate as a new process has it, onto the shared store."""
    gate = gates.Gate()
    gate._store = gates.GATE._store
    for module in (gates, live, sync):
        monkeypatch.setattr(module, "GATE", gate)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    records.describe_origin.cache_clear()
    monkeypatch.chdir(place)
    return gate


@pytest.fixture
def opened(gate: gates.Gate) -> store.Store:
    """The shared store, open."""
    found = gate.attempt(lambda each: each)
    assert found is not None
    gates.GATE._store = found
    return found


@pytest.fixture
def workspace(opened: store.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder; the store is the shared one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(opened.root))
    return tmp_path
