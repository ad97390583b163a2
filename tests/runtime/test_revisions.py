"""Revisions: their outputs in DVC's cache, how they differ, and the commands that make them again."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from dvc.config import Config
from hydra.core.override_parser.overrides_parser import OverridesParser
from revisions_project import Project, git

from cvd.runtime.errors import InputError
from cvd.runtime.experiments import parse_lock
from cvd.runtime.revisions import contents, reproduction
from cvd.runtime.revisions.differences import Differences, find_differences, gather_params, show_value


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    for name in ("DVC_ROOT", "DVC_EXP_NAME", "DVC_EXP_BASELINE_REV"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    made.write()
    made.commit()
    return made


def test_names_are_of_the_workspace_experiments_and_commits(project: Project) -> None:
    project.write(augmented=1.3, rotation=15)
    project.keep("turned")
    project.write(baseline=0.7)
    by_name = {name: contents.open_revision(name, project.root) for name in ("workspace", "turned", "HEAD", "main")}
    paths = {name: revision.find_output("predictions/augmented.csv") for name, revision in by_name.items()}
    assert paths["HEAD"] == paths["main"] == paths["workspace"] != paths["turned"]
    assert paths["HEAD"] is not None
    assert ".dvc/cache" in str(paths["HEAD"])
    assert by_name["turned"].variants == ["baseline", "augmented"]
    assert contents.open_baseline(by_name["turned"]).name == "HEAD"
    assert contents.open_baseline(by_name["workspace"]).stages == by_name["HEAD"].stages
    with pytest.raises(InputError, match=r"'nothing' is no revision: there are workspace, HEAD, turned, and what git"):
        contents.open_revision("nothing", project.root)
    with pytest.raises(InputError, match="'HEAD~1' is no revision"):
        contents.open_baseline(by_name["HEAD"])
    project.commit("another")
    origin = contents.open_baseline(by_name["turned"])
    assert origin.name == git(project.root, "rev-parse", "--short=10", "HEAD~1")


def test_output_is_taken_from_the_folder_where_the_cache_lacks_it(project: Project) -> None:
    head = contents.open_revision("HEAD", project.root)
    path = "predictions/augmented.csv"
    project.cached(head.digests[path]).unlink()
    assert head.find_output(path) == project.root / path
    (project.root / path).write_text("changed")
    assert head.find_output(path) is None
    assert head.find_output("predictions/none.csv") is None


def test_cache_is_the_revisions_own(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another folder, which is in no project, too."""
    head = contents.open_revision("HEAD", project.root)
    path = "predictions/augmented.csv"
    (project.root / path).unlink()
    monkeypatch.chdir(tmp_path.parent)
    assert head.find_output(path) == project.cached(head.digests[path])


def test_member_of_a_folder_is_found_by_its_listing(project: Project) -> None:
    images = project.root / "data/images"
    listed = project._store("data/images/test/cat.jpg", "a cat")
    listing = project._store("listing", f'[{{"md5": "{listed["md5"]}", "relpath": "test/cat.jpg"}}]')
    stages = {"split": {"outs": [{"path": "data/images", "md5": listing["md5"]}]}}
    revision = contents.Revision("own", "", project.root, stages)
    place = revision.find_member("data/images", "test/cat.jpg")
    assert place is not None
    assert place.read_text() == "a cat"
    assert revision.find_member("data/images", "test/dog.jpg") is None
    project.cached(listed["md5"]).unlink()
    assert revision.find_member("data/images", "test/cat.jpg") == images / "test/cat.jpg"


@pytest.mark.parametrize("name", ["config", "config.local"])
@pytest.mark.parametrize("given", ["../elsewhere", "/absolute", "'quoted'"])
def test_cache_is_where_dvc_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, given: str) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    folder = tmp_path / ".dvc"
    folder.mkdir()
    (folder / "config").write_text("[core]\n    autostage = true\n['remote \"private\"']\n    url = ~/private\n")
    assert contents.find_cache(tmp_path) == folder / "cache/files/md5"
    with (folder / name).open("a") as file:
        file.write(f'[cache]\n    type = "reflink,copy"\n    dir = {given}\n')
    said = folder / Config(str(folder), validate=True)["cache"]["dir"]
    assert contents.find_cache(tmp_path).parent.parent.resolve() == said.resolve()


def test_differences_are_those_of_the_stages_that_led_there(project: Project) -> None:
    before = contents.open_revision("HEAD", project.root).stages
    project.write(augmented=1.3, rotation=15)
    after = contents.open_revision("workspace", project.root).stages
    turned = find_differences(before, after, ["evaluate@augmented"])
    assert turned == Differences({"augment.rotation_degrees": (40, 15)})
    assert turned.describe() == ["augment.rotation_degrees 40 → 15"]
    assert turned.summarise(gather_params(after)) == ["rotation_degrees=15"]
    assert find_differences(before, after, ["evaluate@baseline"]) == Differences()
    project.write(split_seed=2, code="other")
    after = contents.open_revision("workspace", project.root).stages
    moved = find_differences(before, after, ["evaluate@baseline"])
    assert moved == Differences({"split.seed": (1, 2)}, [], ["cvd/training"])
    assert moved.describe() == ["split.seed 1 → 2", "code: cvd/training"]
    # `seed` alone would be the training's.
    assert moved.summarise(gather_params(after)) == ["split.seed=2", "code"]


def test_changed_source_stands_for_what_is_made_of_it() -> None:
    def lock(raw: str, seed: int = 1) -> dict[str, Any]:
        made = f"{raw} {seed}"
        return {
            "split": {
                "deps": [{"path": "raw.zip", "md5": raw}],
                "params": {"params.yaml": {"split": {"seed": seed}}},
                "outs": [{"path": "images", "md5": made}],
            },
            "train@a": {
                "deps": [{"path": "images", "md5": made}],
                "outs": [{"path": "models/a.keras", "md5": f"model {made}"}],
            },
            "gradcam": {"deps": [{"path": "models", "md5": f"models {made}"}], "outs": [{"path": "plots"}]},
        }

    changed = find_differences(lock("1"), lock("2"), ["gradcam"])
    assert changed == Differences({}, ["raw.zip"], [])
    assert changed.summarise([]) == ["data"]
    assert find_differences(lock("1"), lock("1", seed=2), ["gradcam"]) == Differences({"split.seed": (1, 2)})
    again = lock("1")
    again["train@a"]["outs"][0]["md5"] = again["gradcam"]["deps"][0]["md5"] = "trained on another machine"
    assert find_differences(lock("1"), again, ["gradcam"]) == Differences()
    again["split"]["cmd"] = "python -m stages.split --other"
    assert find_differences(lock("1"), again, again) == Differences({}, [], ["dvc.yaml"])


def test_parameter_in_a_command_is_no_other_code() -> None:
    """`${data.path}` stands resolved in dvc.lock, in the command and among the inputs."""

    def lock(path: str, n: int, more: str = "") -> dict[str, Any]:
        return {
            "download": {
                "cmd": f'python -m stages.download --source-path "{path}" --limit 40 --n {n}{more}',
                "deps": [{"path": path, "md5": path}, {"path": "extra.csv", "md5": "same"}],
                "params": {"params.yaml": {"data": {"path": path, "n": n}}},
                "outs": [{"path": "raw.zip", "md5": f"{path} {n}"}],
            }
        }

    old, new = lock("data/README.md", 40), lock("my photos/a.zip", 15)
    changes = {"data.path": ("data/README.md", "my photos/a.zip"), "data.n": (40, 15)}
    assert find_differences(old, new, ["download"]) == Differences(changes)
    for other in (lock("my photos/a.zip", 15, " --fast"), lock("my photos/a.zip", 15)):
        other["download"]["cmd"] = other["download"]["cmd"].replace("--limit 40", "--limit 50")
        assert find_differences(old, other, ["download"]) == Differences(changes, [], ["dvc.yaml"])
    new["download"]["deps"][1]["md5"] = "other"
    assert find_differences(old, new, ["download"]) == Differences(changes, ["extra.csv"])


def test_stage_whose_outputs_are_the_same_explains_nothing() -> None:
    """Such as one that checks all parameters first."""

    def lock(angle: int, other: str, model: str) -> dict[str, Any]:
        checked = {"path": "checked.txt", "md5": "good"}
        return {
            "check": {
                "deps": [{"path": "params.yaml", "md5": f"{angle} {other}"}, {"path": "cvd/vis", "md5": other}],
                "outs": [checked],
            },
            "train@a": {
                "deps": [checked],
                "params": {"params.yaml": {"augment": {"rotation_degrees": angle}}},
                "outs": [{"path": "models/a.keras", "md5": model}],
            },
        }

    before, after = lock(40, "1", "old"), lock(15, "2", "new")
    turned = {"augment.rotation_degrees": (40, 15)}
    assert find_differences(before, after, ["train@a"]) == Differences(turned)
    assert find_differences(before, after, after) == Differences(turned, [], ["cvd/vis"])


def test_values_read_back_from_hydra_are_the_same() -> None:
    values = [15, 1e-05, -0.5, None, True, "true", "null", "gradcam++", "test/cat/1.jpg", "~/x y", "it's", "a,b", "",
              "7", "https://x.y/z?q=1", "back\\", [0, 7], ["a", "b c", None], [[1], []]]  # fmt: skip
    changes = {f"key{i}": ("old", value) for i, value in enumerate(values)}
    words = reproduction.list_settings(changes)
    assert [override.value() for override in OverridesParser.create().parse_overrides(words)] == values
    assert reproduction.list_settings({"a.b": ("absent", 1), "c": (1, "absent")}) == ["+a.b=1", "~c"]
    assert [show_value(value) for value in (None, True, [1, "a"])] == ["null", "true", "[1, a]"]


def list_commands() -> list[str]:
    return [command for command, _ in reproduction.describe_run().commands]


def test_commands_that_reproduce(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    head = git(project.root, "rev-parse", "HEAD")
    assert list_commands() == [f"git checkout {head[:10]}", "dvc repro"]
    project.write(augmented=1.3, rotation=15)
    origin = reproduction.describe_run()
    assert (origin.name, origin.baseline) == ("workspace", head[:10])
    assert origin.differences == Differences({"augment.rotation_degrees": (40, 15)})
    varied = [f"git checkout {head[:10]}", "dvc exp run -S augment.rotation_degrees=15"]
    assert list_commands() == varied
    monkeypatch.setenv("DVC_EXP_NAME", "turned")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", head)
    assert list_commands() == ["dvc exp apply turned", *varied]
    (project.root / "cvd.py").write_text("changed")
    git(project.root, "add", "-A")
    assert list_commands() == ["dvc exp apply turned"]
    monkeypatch.delenv("DVC_EXP_NAME")
    assert list_commands() == ["dvc repro"]


def test_small_numbers_are_numbers_in_the_command(project: Project) -> None:
    """DVC writes 1e-05, which YAML 1.1 would read as text, and the project refuses text."""
    path = project.root / "params.yaml"
    text = path.read_text()
    assert text.count("learning_rate: 1.0e-3 ") + text.count("learning_rate: 1.0e-3\n") == 1
    path.write_text(text.replace("learning_rate: 1.0e-3", "learning_rate: 1e-05"))
    assert reproduction.describe_run().differences.params == {"variants.transfer.learning_rate": (1e-3, 1e-5)}
    assert list_commands()[-1] == "dvc exp run -S variants.transfer.learning_rate=1e-05"
    assert parse_lock("stages: {a: {params: {params.yaml: {x: 3e-05}}}}")["a"]["params"]["params.yaml"]["x"] == 3e-5


def test_what_dvc_writes_beside_outputs_is_no_code(project: Project) -> None:
    for name in ("heatmaps", "models"):
        (project.root / name).mkdir(exist_ok=True)
        (project.root / name / ".gitignore").write_text("/baseline\n")
        git(project.root, "add", "-f", f"{name}/.gitignore")
    assert list_commands()[-1] == "dvc repro"
    assert len(list_commands()) == 2


def test_without_a_commit_there_is_nothing_to_differ_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    origin = reproduction.describe_run()
    assert (origin.baseline, origin.differences, list_commands()) == ("", Differences(), ["dvc repro"])
    assert contents.find_former([Path("predictions/a.csv")]) == {}


def test_former_files_are_those_of_the_baseline(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [Path(f"predictions/{name}.csv") for name in ("baseline", "augmented", "none")]
    project.write(augmented=1.3)
    former = contents.find_former(paths)
    assert former[paths[0]] == paths[0]
    assert ".dvc/cache" in str(former[paths[1]])
    assert paths[2] not in former
    project.commit("turned")
    monkeypatch.setenv("DVC_EXP_BASELINE_REV", git(project.root, "rev-parse", "HEAD~1"))
    assert contents.find_former(paths) == former
    monkeypatch.delenv("DVC_EXP_BASELINE_REV")
    assert contents.find_former(paths)[paths[1]] == paths[1]
    lock = yaml.safe_load((project.root / "dvc.lock").read_text())
    assert lock["stages"]["evaluate@augmented"]["outs"][0]["path"] == str(paths[1])
