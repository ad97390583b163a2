"""What later stages add."""

from pathlib import Path

import pytest
from tracking_samples import save_model, train

from cvd import tracking
from cvd.tracking import gate as gates
from cvd.tracking import records, runs, store


def test_additions_go_to_the_newest_run_of_the_very_model(place: Path, opened: store.Store, tmp_path: Path) -> None:
    model = save_model(place / "models/baseline.keras", seed=2)
    train(model=model)
    run_id = train(model=model)
    train()  # another, without this model
    for name in ("one/baseline.csv", "two/baseline.csv"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(name)
    files = sorted(tmp_path.rglob("*.csv"))
    for _ in range(2):
        tracking.add_to_run(
            variant="baseline", model_path=model, metrics={"test": {"accuracy": 0.7}}, files=files, folder="evaluation"
        )
    assert opened.client.get_run(run_id).data.metrics["test/accuracy"] == 0.7
    assert len(opened.client.get_metric_history(run_id, "test/accuracy")) == 1
    folders = {entry.path for entry in opened.client.list_artifacts(run_id, "evaluation")}
    assert folders == {"evaluation/one", "evaluation/two"}
    assert (place / f"mlartifacts/{run_id}/artifacts/evaluation/two/baseline.csv").read_text() == "two/baseline.csv"


def test_evaluation_in_another_experiment_points_to_its_source(
    place: Path, opened: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(place / "models/baseline.keras", seed=3)
    source = train(model=model)
    tracking.add_to_run(variant="baseline", model_path=model, metrics={"test": {"accuracy": 0.7}})
    monkeypatch.setenv("DVC_EXP_NAME", "odd-owl")
    records.describe_origin.cache_clear()
    tracking.add_to_run(variant="baseline", model_path=model, metrics={"test": {"accuracy": 0.7}})
    assert not runs.find_runs(opened, {"dvc.exp_name": "odd-owl"}), "the training has these figures already"
    for value in (0.8, 0.9):
        tracking.add_to_run(variant="baseline", model_path=model, metrics={"test": {"accuracy": value}})
    (own,) = runs.find_runs(opened, {"dvc.exp_name": "odd-owl"})
    assert own.data.tags["source_run_id"] == source
    assert own.data.tags["kind"] == "evaluation"
    assert own.data.metrics["test/accuracy"] == 0.9
    assert own.data.params == opened.client.get_run(source).data.params
    assert own.info.status == "FINISHED"


@pytest.mark.parametrize(("serve", "status"), [(gates.SERVE, 0), ("raise SystemExit(3)", 3)])
def test_another_process_adds_or_this_one_does(
    serve: str, status: int, place: Path, opened: store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(place / "models/baseline.keras", seed=len(serve))
    run_id = train(model=model)
    monkeypatch.setattr(gates, "SERVE", serve)
    with tracking.Courier() as courier:
        courier.send(tracking.add_to_run, variant="baseline", model_path=model, metrics={"test": {"accuracy": 0.7}})
    assert courier._process.returncode == status
    assert opened.client.get_run(run_id).data.metrics["test/accuracy"] == 0.7


def test_another_process_adds_nothing_after_an_error(place: Path, opened: store.Store) -> None:
    model = save_model(place / "models/baseline.keras", seed=4)
    run_id = train(model=model)
    with pytest.raises(ZeroDivisionError), tracking.Courier():
        raise ZeroDivisionError
    assert "test/accuracy" not in opened.client.get_run(run_id).data.metrics
