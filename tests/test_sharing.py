"""Photos stay home: what DVC carries to which remote, by every route, through the project's own graph and config."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tiny_project import MAKE, fake_graph, list_outs

ROOT = Path(__file__).parent.parent
CONFIG = yaml.safe_load((ROOT / "dvc.yaml").read_text())

# What cannot show a photo, and may go to any remote. A new output that is not named here must be private.
SHAREABLE = {
    "data/checked.txt", "data/raw.json", "data/images.sha256", "data/manifest.csv", "data/quarantine.csv",
    "data/features", "models/backbone", "models/${key}.keras", "models/${key}.history.csv",
    "models/${key}.timing.json", "models/${key}.training.json", "models/${key}.layers.md",
    "models/${key}.checkpoints.npz", "predictions/${key}.csv", "plots/evaluation/${key}.png", "plots/comparison",
    "metrics/data.json", "metrics/timings.json", "plots/map.csv", "predictions/labels.csv",
}  # fmt: skip


def test_every_output_that_may_show_a_photo_is_private() -> None:
    outs = {path: each for stage in CONFIG["stages"].values() for path, each in list_outs(stage).items()}
    cached = {path: each for path, each in outs.items() if each.get("cache", True)}
    assert {path for path, each in cached.items() if each.get("remote") != "private"} == SHAREABLE
    # Git carries the rest, which is text; and `dvc exp save` adds top-level plots to git, cached or not.
    assert all(Path(path).suffix in {".json", ".csv", ".md"} for path in outs.keys() - cached.keys())
    private = cached.keys() - SHAREABLE
    plots = [each for each in CONFIG["plots"] if isinstance(each, str)]
    assert plots
    inside = [(Path(each), Path(path)) for each in plots for path in private]
    assert not [pair for pair in inside if pair[0].is_relative_to(pair[1]) or pair[1].is_relative_to(pair[0])]


class Project:
    """A working copy, `folder`, of a user who lives in `home`."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home = folder, home
        home.mkdir(exist_ok=True)

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "GIT_", "XDG_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        env = kept | {"PATH": path, "HOME": str(self.home), "DVC_SITE_CACHE_DIR": str(self.home / "site")}
        env |= {f"GIT_{who}_NAME": "test" for who in ("AUTHOR", "COMMITTER")}
        env |= {f"GIT_{who}_EMAIL": "test@example.org" for who in ("AUTHOR", "COMMITTER")}
        done = subprocess.run(command, cwd=self.folder, env=env, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def set_remotes(self, **folders: Path) -> None:
        """The user's own settings: these remotes, the first one the default."""
        entries = [f"['remote \"{name}\"']\n    url = {folder}" for name, folder in folders.items()]
        text = "\n".join([f"[core]\n    remote = {next(iter(folders))}", *entries, ""])
        (self.folder / ".dvc/config.local").write_text(text)

    def commit(self, message: str) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)

    def clone(self, target: Path, home: Path) -> "Project":
        self.run("git", "clone", "-q", str(self.folder), str(target))
        return Project(target, home)

    def hash_files(self) -> dict[str, str]:
        """Path -> md5 of every file that DVC keeps, as far as it is here: those that git ignores."""
        ignored = self.run("git", "ls-files", "-oi", "--exclude-standard").stdout.split()
        return {path: hash_md5(self.folder / path) for path in ignored if not path.startswith(".dvc/")}


def hash_md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def list_objects(remote: Path) -> set[str]:
    """md5 of the content of every file in a remote, whatever it is called there."""
    return {hash_md5(path) for path in remote.rglob("*") if path.is_file()}


def is_private(path: str) -> bool:
    outs = [out for stage in CONFIG["stages"].values() for out in list_outs(stage).items()]
    private = [path for path, settings in outs if settings.get("remote") == "private"]
    patterns = [re.escape(each).replace(re.escape("${key}"), "[^/]+") for each in private]
    return any(re.match(f"{pattern}(/|$)", path) for pattern in patterns)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """At a committed and tagged experiment with photos, whose parent is a run with drawn images."""
    beside = tmp_path_factory.mktemp("sharing")
    made = Project(beside / "project", beside / "home")
    (made.folder / ".dvc").mkdir(parents=True)
    (made.folder / "data").mkdir()
    for name in (".dvc/config", ".dvcignore", ".gitignore", "params.yaml", "data/corrections.csv"):
        shutil.copy(ROOT / name, made.folder / name)
    (made.folder / ".dvc/.gitignore").write_text("/config.local\n/tmp\n/cache\n")
    (made.folder / "make.py").write_text(MAKE)
    (made.folder / "dvc.yaml").write_text(yaml.safe_dump(fake_graph(), sort_keys=False))
    made.run("git", "init", "-qb", "main")
    made.run("dvc", "repro", "-q")
    made.commit("drawn")
    made.run("dvc", "exp", "run", "-q", "--temp", "-n", "photos", "-S", "data.source=directory")
    made.run("dvc", "exp", "apply", "-q", "photos")
    made.commit("photos")
    made.run("git", "tag", "photos")
    made.run("git", "init", "-q", "--bare", "../git")
    return made


@pytest.fixture(scope="module")
def photos(project: Project) -> dict[str, str]:
    """Private output -> md5, with photos."""
    found = {out: md5 for out, md5 in project.hash_files().items() if is_private(out)}
    assert {"data/raw.zip", "data/images/test/cat.0.jpg", "plots/report.html"} < found.keys()
    return found


ROUTES = {
    "default": ["push"],
    "remote": ["push", "-r", "public"],
    "commits": ["push", "--all-commits"],
    "branches": ["push", "-a", "-r", "public"],
    "tags": ["push", "-T"],
    "run cache": ["push", "--run-cache"],
    "targets": ["push", "-r", "public", "data/images", "data/raw.zip", "plots/report.html", "models/transfer.keras"],
    "experiment": ["exp", "push", "../git", "photos", "-r", "public"],
    "experiment and run cache": ["exp", "push", "../git", "photos", "--run-cache"],
}


@pytest.mark.parametrize("route", ROUTES)
def test_no_route_carries_photos_to_a_public_remote(
    project: Project, photos: dict[str, str], tmp_path: Path, route: str
) -> None:
    project.set_remotes(public=tmp_path)
    project.run("dvc", *ROUTES[route])
    carried = list_objects(tmp_path)
    assert hash_md5(project.folder / "models/transfer.keras") in carried
    assert not carried & set(photos.values())


def test_a_lock_of_photos_under_params_of_drawn_images_leaks_nothing(
    project: Project, photos: dict[str, str], tmp_path: Path
) -> None:
    """As after an interrupted way back: params.yaml says drawn, dvc.lock still names the photos."""
    project.set_remotes(public=tmp_path)
    before = (project.folder / "params.yaml").read_text()
    try:
        project.run("git", "checkout", "-q", "HEAD~", "params.yaml")
        assert "source: drawn" in (project.folder / "params.yaml").read_text()
        project.run("dvc", "push", "--run-cache")
    finally:
        project.run("git", "checkout", "-q", "HEAD", "params.yaml")
    assert (project.folder / "params.yaml").read_text() == before
    assert list_objects(tmp_path)
    assert not list_objects(tmp_path) & set(photos.values())


def test_git_holds_no_photo(project: Project, photos: dict[str, str]) -> None:
    known = project.run("git", "cat-file", "--batch-all-objects", "--batch-check").stdout
    names = project.run("git", "hash-object", "--no-filters", *photos).stdout.split()
    assert len(names) == len(photos)
    assert not [name for name in names if name in known]


def test_a_clone_on_another_machine_pulls_the_rest_and_makes_the_pictures_anew(
    project: Project, photos: dict[str, str], tmp_path: Path
) -> None:
    project.set_remotes(public=tmp_path / "public")
    project.run("dvc", "push")
    there = project.clone(tmp_path / "clone", tmp_path / "home")
    there.set_remotes(public=tmp_path / "public")
    plain = there.run("dvc", "pull", check=False)
    assert plain.returncode == 1
    assert "data/images" in plain.stderr
    there.run("dvc", "pull", "--allow-missing")
    wanted = {out: md5 for out, md5 in project.hash_files().items() if out not in photos}
    assert len(wanted) > 20
    assert there.hash_files() == wanted

    again = set(re.findall(r"Running stage '(\w+)", there.run("dvc", "repro").stdout))
    assert again == {
        *("download", "split", "shard", "labels", "augmentations", "activations", "filters", "explanations"),
        *("gradcam", "mistakes", "side_by_side", "photos", "report"),
    }
    assert there.hash_files() == project.hash_files()
    assert not there.run("git", "status", "--porcelain").stdout


def test_a_clone_of_the_same_user_pulls_everything(project: Project, photos: dict[str, str], tmp_path: Path) -> None:
    project.set_remotes(public=tmp_path / "public")
    project.run("dvc", "push")
    assert set(photos.values()) <= list_objects(project.home / ".local/share/cvd/private")
    there = project.clone(tmp_path / "clone", project.home)
    there.set_remotes(public=tmp_path / "public")
    there.run("dvc", "pull")
    assert there.hash_files() == project.hash_files()


def test_one_command_makes_a_private_remote_carry_everything(
    project: Project, photos: dict[str, str], tmp_path: Path
) -> None:
    (project.folder / ".dvc/config.local").unlink(missing_ok=True)
    add = ["dvc", "remote", "add", "--local", "--default", "private", str(tmp_path / "private")]
    project.run(*add)
    project.run("dvc", "push")
    assert set(project.hash_files().values()) <= list_objects(tmp_path / "private")

    there = project.clone(tmp_path / "clone", tmp_path / "home")
    there.run(*add)
    there.run("dvc", "pull")
    assert there.hash_files() == project.hash_files()
    assert photos.items() <= there.hash_files().items()
    assert there.run("dvc", "status").stdout == "Data and pipelines are up to date.\n"
