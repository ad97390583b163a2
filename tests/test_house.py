"""Who may import whom, and that dvc.yaml names every module that a stage runs."""

import ast
from functools import cache
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for folder in ("cvd", "stages") for path in (ROOT / folder).rglob("*.py"))
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[!_]*.py"))
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())
MORE = yaml.safe_load((ROOT / "more.yaml").read_text())
NETWORKS = {ROOT / item["network"] for graph in (DVC["vars"][0]["graph"], MORE["optional"]) for item in graph.values()}


def module_file(name: str) -> Path | None:
    """The project's file of a dotted name, or None for other libraries."""
    path = ROOT.joinpath(*name.split("."))
    for file in (path.with_suffix(".py"), path / "__init__.py"):
        if file.is_file():
            return file
    return None


def imported_names(file: Path, *, top_only: bool = False) -> set[str]:
    tree = ast.parse(file.read_text())
    names: set[str] = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def started_stages(file: Path) -> set[str]:
    """Stages that a stage starts as processes of their own: it depends on their code as if it imported it."""
    calls = (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call))
    names = [call.args[0] for call in calls if isinstance(call.func, ast.Name) and call.func.id == "run_stage_apart"]
    return {f"stages.{name.value}" for name in names if isinstance(name, ast.Constant)}


@cache
def project_imports(file: Path) -> frozenset[Path]:
    """Files of the project that a file imports, directly or by way of others, itself included."""
    seen, todo = set(), [file]
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        todo += [found for name in imported_names(current) | started_stages(current) if (found := module_file(name))]
    return frozenset(seen)


def area(file: Path) -> str:
    parts = file.relative_to(ROOT).parts
    return ".".join(parts[:2]) if parts[0] == "cvd" and len(parts) > 2 else parts[0]


def stage_deps(stage: str) -> set[Path]:
    entry = DVC["stages"][stage]
    entry = entry.get("do", entry)
    return {ROOT / dep for dep in entry["deps"] if "$" not in dep}


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_rooms_keep_their_doors(file: Path) -> None:
    names = imported_names(file)
    if area(file) != "stages":
        assert not {name for name in names if name.split(".")[0] == "stages"}, "cvd imports a stage"
    else:
        others = {name for name in names if name.startswith("stages.")}
        assert not others, "a stage imports another"
    rooms = {"cvd.vis", "cvd.data", "cvd.models"}
    if area(file) in rooms:
        for other in rooms - {area(file)}:
            assert not {name for name in names if name == other or name.startswith(other + ".")}, f"imports {other}"
    if area(file) not in ("stages", "cvd.commands") and file.name != "cli.py":
        own = {"cvd.runtime.params", "cvd.runtime.params.sections"}
        assert file.stem in ("params", "sections") or not own & names, "only stages and the CLI read params"
        if file.parent.name != "tracking" and file.name != "tracking.py":
            assert "cvd.tracking" not in names, "only stages and the CLI touch tracking"
    if "mlflow" in {name.split(".")[0] for name in names}:
        assert "tracking" in file.relative_to(ROOT).as_posix(), "only tracking imports mlflow"


LIGHT_FOLDERS = ["cvd/evaluation", "cvd/report", "cvd/data/drawn"]
NO_TENSORFLOW = [
    *sorted(str(file.relative_to(ROOT)) for folder in LIGHT_FOLDERS for file in (ROOT / folder).glob("*.py")),
    "cvd/params.py", "cvd/data/split.py", "cvd/data/manifest.py", "cvd/data/decode.py", "cvd/data/intake.py",
    "cvd/photos.py", "cvd/vis/charts.py", "cvd/vis/diagnostics.py", "cvd/vis/drawing.py", "cvd/vis/forests.py",
    "cvd/vis/grids.py", "cvd/vis/overlays.py", "cvd/vis/previews.py", "cvd/vis/sizes.py", "cvd/vis/themes.py",
    "cvd/commands/compare.py", "cvd/data/subset.py", "cvd/web/app.py", "cvd/web/server.py",
    "stages/download.py", "stages/split.py", "stages/compare.py", "stages/report.py", "stages/augmentations.py",
]  # fmt: skip


@pytest.mark.parametrize("name", NO_TENSORFLOW)
def test_light_modules_load_no_tensorflow(name: str) -> None:
    heavy = {
        str(file.relative_to(ROOT))
        for file in project_imports(ROOT / name)
        if {"tensorflow", "keras"} & {each.split(".")[0] for each in imported_names(file, top_only=True)}
    }
    assert not heavy


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(ROOT)))
def test_modules_and_functions_fit_on_few_screens(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            n_lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert n_lines <= 40, f"{node.name} has {n_lines} lines of code"


@pytest.mark.parametrize("stage", STAGES)
def test_stage_deps_cover_the_modules_it_imports(stage: str) -> None:
    imports = project_imports(ROOT / "stages" / f"{stage}.py")
    needed = {file for file in imports if file.name != "__init__.py" or len(ast.parse(file.read_text()).body) > 1}
    deps = stage_deps(stage)
    folders = tuple(dep for dep in deps if dep.is_dir())
    missing = {file for file in needed - deps if not any(folder in file.parents for folder in folders)}
    optional = NETWORKS if stage in ("train", "sizes") else set()  # each variant depends on its own
    assert not {str(file.relative_to(ROOT)) for file in missing - optional}


@pytest.mark.parametrize("stage", STAGES)
def test_stage_deps_name_no_module_it_does_not_import(stage: str) -> None:
    code = {dep for dep in stage_deps(stage) if dep.suffix == ".py"}
    assert not {str(file.relative_to(ROOT)) for file in code - project_imports(ROOT / "stages" / f"{stage}.py")}


def test_networks_of_the_graph_are_there() -> None:
    outs = {f"models/{name}.keras" for name in DVC["vars"][0]["graph"]} | {"models/backbone"}
    for network in NETWORKS:
        assert network.is_file() or network.relative_to(ROOT).as_posix() in outs, network


def test_every_stage_has_a_script_and_a_description() -> None:
    assert set(DVC["stages"]) == set(STAGES)
    for name, entry in DVC["stages"].items():
        assert entry.get("do", entry)["desc"], name
        assert f"python -m stages.{name} " in entry.get("do", entry)["cmd"]


def test_every_parameter_is_commented() -> None:
    lines = (ROOT / "params.yaml").read_text().splitlines()
    variant_keys: set[str] = set()
    in_variants = False
    for line in lines:
        if not line.startswith((" ", "#")) and line:
            in_variants = line.startswith("variants:")
        key, _, rest = line.partition(":")
        if line.lstrip().startswith("#") or not rest.split("#")[0].strip():
            continue
        # The blocks after the first repeat its keys; the first one explains them.
        if in_variants and key.strip() in variant_keys:
            continue
        if in_variants:
            variant_keys.add(key.strip())
        repeated = key.strip() in ("layers", "seed", "size_px")
        assert "#" in line or repeated, f"params.yaml says nothing about: {line.strip()}"
