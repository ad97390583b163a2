"""What cannot work is refused by the first stage: no other one runs, and DVC deletes no output.

What is refused, and how, is tested in test_params.py and runtime/test_references.py.
"""

import hashlib
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tiny_project import MAKE, ROOT, commit, fake_graph, list_outs, name_author, ran_stages, run

from cvd.runtime.experiments import list_experiments

CHECK = "data/checked.txt"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The project after a `dvc repro`: its own check, and stages that are done at once for all others."""
    root = tmp_path_factory.mktemp("refusals")
    for folder in ("cvd", "stages"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in (
        ".dvc/config",
        ".dvc/.gitignore",
        ".dvcignore",
        ".gitignore",
        "params.yaml",
        "data/README.md",
        "data/corrections.csv",
        "photos/README.md",
    ):
        (root / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, root / name)
    graph = fake_graph()
    graph["stages"]["check"] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["check"]
    (root / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    (root / "make.py").write_text(MAKE)
    run("git", "init", "-q", "-b", "main", cwd=root)
    name_author(root)
    commit(root, "start")
    assert ran_stages(run("dvc", "repro", "evaluate@augmented", "features", cwd=root)) > {"check", "download", "split"}
    commit(root, "results")
    yield root
    shutil.rmtree(root)


@pytest.fixture(autouse=True)
def _afterwards_as_before(project: Path) -> Iterator[None]:
    yield
    run("git", "checkout", "-q", "HEAD", ".", cwd=project)
    run("dvc", "checkout", "-q", CHECK, cwd=project)


def hash_outs(project: Path) -> dict[str, str]:
    """Path -> md5 of every output but the check's, as far as it is here."""
    lock = yaml.safe_load((project / "dvc.lock").read_text())
    outs = {entry["path"] for stage in lock["stages"].values() for entry in stage.get("outs", ())} - {CHECK}
    files = [
        file for out in outs for file in ([project / out] if (project / out).is_file() else (project / out).rglob("*"))
    ]
    return {str(file): hashlib.md5(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def refuse(project: Path, *command: str, **environment: str) -> str:
    """Run a command that is refused; returns the line that says why."""
    before = hash_outs(project)
    assert len(before) > 15
    done = run(*command, cwd=project, check=False, **environment)
    assert done.returncode != 0
    assert ran_stages(done) == {"check"}, done.stdout + done.stderr
    assert hash_outs(project) == before
    (line,) = re.findall(r"^error: (.*)$", done.stderr, re.MULTILINE)
    assert "Traceback" not in done.stderr
    return str(line)


def insert(project: Path, block: str, line: str) -> None:
    """Insert a variant's block and its line of the graph."""
    for name, text, more in (("params.yaml", "\nvariants:\n", block), ("dvc.yaml", "\n  graph:\n", line)):
        before = (project / name).read_text()
        assert before.count(text) == 1
        (project / name).write_text(before.replace(text, text + more))


def test_every_stage_comes_after_the_check() -> None:
    """So `dvc repro` and `dvc exp run` begin with it, whatever their target is."""
    stages = {
        name: stage.get("do", stage)
        for name, stage in yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"].items()
    }
    makers = {out: name for name, stage in stages.items() for out in list_outs(stage)}
    before = {
        name: {
            maker
            for out, maker in makers.items()
            for dep in stage["deps"]
            if Path(out).is_relative_to(dep) or dep == out
        }
        for name, stage in stages.items()
    }
    for name in stages.keys() - {"check"}:
        reached, todo = set(), [name]
        while todo:
            todo += before[current := todo.pop()] - reached
            reached.add(current)
        assert "check" in reached, name


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["augment.rotation_degrees=500", "evaluate@augmented"], "params: augment.rotation_degrees is 500.*180"),
        (["data.path=nowhere"], "data.path is 'nowhere': there is no such file or folder"),
        (["variants.baseline.input=shards"], "gives baseline `reads: data/images.sha256`.*needs `reads: data/shards`"),
    ],
)
def test_experiment_is_refused_before_anything_runs(project: Path, words: list[str], said: str) -> None:
    assert re.search(said, refuse(project, "dvc", "exp", "run", "-S", *words))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("activations.layers=[conv1]", "activations.layers does not fit transfer: layer 'conv1' is not in model .*"),
        (
            "activations.channels=[0,128]",
            "activations.channels names 128: the widest layer of model 'plain' .* 0 to 127",
        ),
        ("train.strategy=multi_worker", "train.strategy is multi_worker, but TF_CONFIG is not set: .*"),
    ],
)
def test_what_no_network_or_machine_has_is_refused(project: Path, change: str, said: str) -> None:
    """The plain networks have `conv1`, the first of them is checked before the backbone."""
    assert re.fullmatch(said, refuse(project, "dvc", "exp", "run", "-S", change))


def test_channels_that_all_networks_have_are_not_refused(project: Path) -> None:
    done = run("dvc", "exp", "run", "-S", "activations.channels=[0,127]", "check", cwd=project)
    assert ran_stages(done) == {"check"}


def test_more_blocks_than_the_backbone_has_are_refused(project: Path) -> None:
    insert(
        project,
        "  deep: {like: transfer_augmented, unfreeze: 17}\n",
        "    deep: {reads: data/images.sha256, network: models/backbone, pixels: backbone, section: augment, "
        "like: transfer_augmented, base: transfer}\n",
    )
    line = refuse(project, "dvc", "repro")
    assert line == "variants.deep.unfreeze is 17: model 'transfer' has 16 blocks that can be unfrozen"


def test_wrong_line_of_a_new_variant_is_refused(project: Path) -> None:
    insert(
        project,
        "  gentle: {like: augmented, dropout: 0.2}\n",
        "    gentle: {reads: data/images.sha256, network: cvd/models/scratch, pixels: image, "
        "section: image, like: augmented, base: augmented}\n",
    )
    line = refuse(project, "dvc", "repro")
    assert re.match("dvc.yaml's graph gives gentle `section: image`, but its block .*needs `section: augment`", line)


def test_relative_path_is_refused_in_a_copy_and_an_absolute_one_is_not(project: Path) -> None:
    (project / ".git/info/exclude").write_text("/mine\n")
    (project / "mine").mkdir()
    line = refuse(project, "dvc", "exp", "run", "--temp", "-S", "gradcam.photos=mine")
    assert line.startswith(
        "gradcam.photos is 'mine': the copy of the project in which queued and --temp experiments run"
    )
    assert line.endswith(f"give an absolute path, such as {project}/mine")
    done = run("dvc", "exp", "run", "--temp", "-S", f"gradcam.photos={project}/mine", "check", cwd=project)
    assert ran_stages(done) == {"check"}


def test_dvc_of_an_environment_that_is_not_activated_says_so(project: Path, tmp_path: Path) -> None:
    dvc = str(Path(sys.executable).parent / "dvc")
    with (project / "params.yaml").open("a") as file:
        file.write("# to be read again\n")
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -S "$@"\n')  # without the packages
    bare.chmod(0o755)
    line = refuse(project, dvc, "repro", PATH=str(tmp_path), SHELL="/bin/sh")
    advice = "source .venv/bin/activate, or make repro"
    assert re.fullmatch(f"`python` is .*, which lacks this project's packages: {advice}", line)


def test_settings_become_an_experiment_once_they_are_right(project: Path, tmp_path: Path) -> None:
    """In an environment that is not activated, too. It comes last: it leaves the outputs of three stages only."""
    graph = yaml.safe_load((project / "dvc.yaml").read_text())
    graph["stages"] = {name: graph["stages"][name] for name in ("check", "download", "split")}  # a few are enough
    (project / "dvc.yaml").write_text(yaml.safe_dump(graph, sort_keys=False))
    file = tmp_path / "mine.yaml"
    file.write_text("split: {train: null, validation: 0.1, test: 0.2}\nvariants: {small: {l2: 0.1}}\n")
    command = [sys.executable, "-m", "cvd.cli", "run", str(file), str(tmp_path)]
    done = run(*command, "-S", "split.test=0.3", cwd=project)
    assert ran_stages(done) == {"check", "download", "split"}
    assert "Ran experiment(s): mine\n" in done.stdout
    (experiment,) = [each for each in list_experiments(project) if each.name == "mine"]
    committed = yaml.safe_load(run("git", "show", f"{experiment.ref}:params.yaml", cwd=project).stdout)
    assert {key: committed["split"][key] for key in ("train", "validation", "test")} == {
        "train": None,
        "validation": 0.1,
        "test": 0.3,
    }
    assert committed["data"] | {"source": "directory", "path": str(tmp_path)} == committed["data"]
    assert committed["variants"]["small"]["l2"] == 0.1
    run("dvc", "checkout", "-q", cwd=project)
