"""What params.yaml names outside of itself is there, or is refused in one line."""

import copy
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from cvd.data.intake.assignment import assign_splits
from cvd.runtime.errors import InputError
from cvd.runtime.params.graph import place_variant
from cvd.runtime.params.loading import Params, load_params, parse_params
from cvd.runtime.params.references import check_cluster, check_counts, check_graph, check_paths, name_layers, read_graph

ROOT = Path(__file__).parents[2]
RAW: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
PARAMS = load_params(ROOT / "params.yaml")


def change(**sections: dict[str, Any]) -> Params:
    raw = copy.deepcopy(RAW)
    for section, values in sections.items():
        raw[section] |= values
    return parse_params(raw)


def test_shipped_ones_are_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    check_paths(PARAMS, ROOT)
    check_counts(PARAMS)
    graph = yaml.safe_load((ROOT / "dvc.yaml").read_text())["vars"][0]
    entries, networks = read_graph(Path("dvc.yaml"))
    assert {name: entry.__dict__ for name, entry in entries.items()} == graph["graph"]
    assert networks == list(graph["networks"])
    check_graph(PARAMS, entries)
    assert name_layers(PARAMS) == []


@pytest.mark.parametrize(
    ("source", "path", "said"),
    [
        ("directory", "photos", ""),
        ("archive", "data/README.md", ""),
        ("drawn", "data/README.md", ""),
        ("drawn", "photos", ""),
        ("directory", "data/README.md", "is 'data/README.md', a file, not a folder"),
        ("archive", "photos", "is 'photos', a folder, not a zip or tar: use data.source=directory"),
        ("drawn", "nowhere", "is 'nowhere': there is no such file or folder"),
    ],
)
def test_data_fit_their_source(monkeypatch: pytest.MonkeyPatch, source: str, path: str, said: str) -> None:
    monkeypatch.chdir(ROOT)
    params = change(data={"source": source, "path": path})
    if not said:
        check_paths(params, ROOT)
        return
    with pytest.raises(InputError, match=f"data.path {said}"):
        check_paths(params, ROOT)


def test_copy_of_the_project_asks_for_an_absolute_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for folder in ("copy/data", "copy/photos", "project"):
        (tmp_path / folder).mkdir(parents=True)
    for place in ("copy/data/README.md", "project/weights.pth"):
        (tmp_path / place).touch()
    monkeypatch.chdir(tmp_path / "copy")
    check_paths(PARAMS, tmp_path / "project")
    with pytest.raises(InputError, match=f"weights is 'weights.pth': the copy .*such as {tmp_path}/project/"):
        check_paths(change(backbone={"weights": "weights.pth"}), tmp_path / "project")
    check_paths(change(backbone={"weights": str(tmp_path / "project/weights.pth")}), tmp_path / "project")


def test_drawn_images_suffice_for_the_splits() -> None:
    sizes = {"train": None, "validation": 200, "test": 599}
    check_counts(change(split=sizes))
    with pytest.raises(InputError, match=r"801 images of each class, but data.drawn.n_per_class is 800"):
        check_counts(change(split=sizes | {"test": 600}))
    check_counts(change(split=sizes | {"test": 600}, data={"source": "filtered"}))


def test_shares_of_drawn_images_are_counted_as_split_counts_them() -> None:
    """`check` refuses before any output is deleted exactly what `split` would refuse."""
    for n, train, validation, test in product((10, 29, 100), (None, 0.29, 0.5, 7), (0.1, 0.29, 3), (0.2, 0.01, 12)):
        sizes = {"train": train, "validation": validation, "test": test}
        params = change(split=sizes, data={"drawn": {"n_per_class": n, "seed": 1, "shortcut": 0.0, "leak": 0.0}})
        labels, groups = [0] * n + [1] * n, [str(i) for i in range(2 * n)]
        outcomes = []
        for work in (
            partial(check_counts, params),
            partial(assign_splits, labels, groups, **sizes, seed=1, classes=("cat", "dog")),
        ):
            try:
                work()
                outcomes.append("")
            except InputError as error:
                outcomes.append(str(error).partition("split asks for")[1])
        assert outcomes[0] == outcomes[1], (n, sizes)


def test_several_machines_need_to_know_each_other() -> None:
    check_cluster(PARAMS, {})
    several = change(train={"strategy": "multi_worker"})
    check_cluster(several, {"TF_CONFIG": "{}"})
    with pytest.raises(InputError, match="multi_worker, but TF_CONFIG is not set"):
        check_cluster(several, {"TF_CONFIG": ""})


@pytest.mark.parametrize(
    "line", ["", "{reads: data/images.sha256}", "{reads: a, network: b, pixels: c, section: d, base: e, x: f}"]
)
def test_line_without_a_key_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "dvc.yaml"
    path.write_text(f"vars:\n- networks: {{}}\n  graph:\n    small: {line}\n")
    with pytest.raises(InputError, match=r"graph gives small .*: it needs reads, network, .*`cvd add small` mends it"):
        read_graph(path)


def test_file_without_a_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("vars: []\n")
    with pytest.raises(InputError, match=r"dvc\.yaml has no `vars` with `graph` and `networks`"):
        read_graph(tmp_path / "dvc.yaml")


def test_what_a_variant_starts_from_is_in_the_graph() -> None:
    entries = {name: place_variant(PARAMS, name) for name in ("transfer", "fine_tuned")}
    check_graph(PARAMS, entries)
    del entries["transfer"]
    with pytest.raises(InputError, match=r"'fine_tuned' starts from 'transfer', which is not in .*`cvd add transfer`"):
        check_graph(PARAMS, entries)
    with pytest.raises(InputError, match=r"'nobody' is not in params.yaml"):
        check_graph(PARAMS, {"nobody": place_variant(PARAMS, "small")})


def test_layers_are_named_with_the_methods_that_explain_by_them() -> None:
    params = change(
        filters={"layers": ["conv1"]},
        gradcam={"layers": ["conv2"], "method": "hirescam"},
        explanations={"layers": ["conv3"], "methods": ["gradcam", "gradcam++"]},
    )
    assert name_layers(params) == [
        ("filters.layers", ["conv1"], ["gradcam"]),
        ("gradcam.layers", ["conv2"], ["hirescam"]),
        ("explanations.layers", ["conv3"], ["gradcam", "gradcam++"]),
    ]
