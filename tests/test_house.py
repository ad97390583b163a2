"""The rules of the house (docs/architecture.md): who imports whom, and what each stage depends on."""

import ast
from functools import cache
from graphlib import TopologicalSorter
from itertools import product
from pathlib import Path

import pytest
import yaml

from cvd.runtime.params.graph import place_variant
from cvd.runtime.params.loading import load_params
from cvd.runtime.params.sections import Section
from cvd.runtime.project import OUTPUTS
from cvd.training.identity import CODE

ROOT = Path(__file__).parent.parent
MODULES = sorted(path for folder in ("cvd", "stages") for path in (ROOT / folder).rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("[!_]*.py"))
DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text())
VARS = DVC["vars"][0]

FRAME = ("cvd/runtime", "cvd/tracking")
NAMES = ROOT / "cvd/__init__.py"  # what people import: it loads a module when it is asked for it
DOORS = ("cvd/commands", "cvd/web", "cvd/cli.py")  # for people: no stage depends on them
LENT = {f"cvd/runtime/{name}.py" for name in ("errors", "files", "locks", "threads", "vocabulary")}  # to work folders
NUMERIC = ("cvd/labels", "cvd/vis/examining", "cvd/vis/explaining", "cvd/vis/filters", "cvd/evaluation")
DRAWING = ("cvd/vis/sheets", "cvd/vis/charts")
LIGHT = ("cvd/runtime", "cvd/tracking", "cvd/evaluation", "cvd/report", "cvd/data/intake", "cvd/data/archives",
         "cvd/data/images", "cvd/data/drawn", "cvd/data/faults", "cvd/data/sources", "cvd/vis/charts", "cvd/vis/sheets",
         "cvd/commands", "cvd/web")  # fmt: skip


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def is_in(path: Path, *folders: str) -> bool:
    return any(name_of(path) == folder or name_of(path).startswith(f"{folder}/") for folder in folders)


def find_module(name: str) -> Path | None:
    """The project's file of a dotted name, or None for other libraries."""
    path = ROOT.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def imported_names(file: Path, *, top_only: bool = False) -> frozenset[str]:
    tree = ast.parse(file.read_text())
    names: set[str] = set()
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{file}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(names)


@cache
def imported_modules(file: Path) -> frozenset[Path]:
    """Modules of the project that a file imports itself, without empty packages and the names for people."""
    modules = {module for name in imported_names(file) if (module := find_module(name))} - {NAMES}
    return frozenset(module for module in modules if len(ast.parse(module.read_text()).body) > 1)


@cache
def reached_modules(file: Path) -> frozenset[Path]:
    """Modules of the project that a file imports, directly or by way of others, itself included."""
    reached, todo = set(), [file]
    while todo:
        current = todo.pop()
        if current not in reached:
            reached.add(current)
            todo += imported_modules(current)
    return frozenset(reached)


def stage_entry(stage: str) -> dict[str, list[str]]:
    entry: dict[str, list[str]] = DVC["stages"][stage]
    return entry.get("do", entry)  # type: ignore[call-overload, no-any-return]


def code_dependencies(stage: str) -> set[str]:
    return {dep for dep in stage_entry(stage)["deps"] if dep.startswith(("cvd/", "stages/"))}


def work_folders(files: frozenset[Path]) -> set[str]:
    return {name_of(file.parent) for file in files if is_in(file, "cvd") and not is_in(file, *FRAME)}


ids = [name_of(file) for file in MODULES]


@pytest.mark.parametrize("stage", STAGES)
def test_stage_depends_on_its_script_and_the_work_folders_that_it_imports(stage: str) -> None:
    """Rule 1, in both directions. Networks from scratch are imported by name."""
    needed = work_folders(reached_modules(ROOT / "stages" / f"{stage}.py"))
    by_graph = {"cvd/models/scratch"} if stage in ("check", "train") else set()
    said = code_dependencies(stage) - {f"stages/{stage}.py"}
    assert f"stages/{stage}.py" in code_dependencies(stage)
    within = {
        "cvd/training/distributed": "cvd/training",
        "cvd/evaluation/lesson": "cvd/evaluation",
        "cvd/report/instrument": "cvd/report",
    }  # no dependency of its own
    assert {within.get(folder, folder) for folder in needed} - by_graph == said - by_graph


def test_graph_of_each_variant_names_what_its_block_needs() -> None:
    params = load_params(ROOT / "params.yaml")
    for name, entry in (VARS["networks"] | VARS["graph"]).items():
        assert place_variant(params, name).__dict__ == entry, name


def test_no_stage_depends_on_the_folder_of_image_files() -> None:
    """DVC looks at every file of a dependency, each time, for each stage. The manifest has the images' hashes."""
    assert not [stage for stage in STAGES if "data/images" in stage_entry(stage)["deps"]]
    assert "data/images" not in {entry["reads"] for entry in VARS["graph"].values()}


@pytest.mark.parametrize("file", MODULES, ids=ids)
def test_frame_imports_no_work_and_work_little_of_the_frame(file: Path) -> None:
    """Rule 2, and that nobody goes in by the doors for people but these themselves."""
    imports = imported_modules(file)
    if is_in(file, *FRAME):
        assert not {name_of(module) for module in imports if not is_in(module, *FRAME)}, "frame imports work"
    elif is_in(file, "cvd") and not is_in(file, *DOORS):
        taken = {name_of(module) for module in imports if is_in(module, *FRAME)}
        assert not taken - LENT, "work imports more of the frame than is lent to it"
    if not is_in(file, *DOORS):
        assert not {name_of(module) for module in imports if is_in(module, *DOORS)}


def test_folders_import_one_another_in_one_direction() -> None:
    arrows: dict[Path, set[Path]] = {folder: set() for folder in FOLDERS}
    for file in MODULES:
        arrows[file.parent] |= {other.parent for other in imported_modules(file)} - {file.parent, ROOT / "cvd"}
    TopologicalSorter(arrows).prepare()  # raises CycleError, which names the folders


def list_sections(kind: type[Section]) -> list[type[Section]]:
    return [section for child in kind.__subclasses__() for section in (child, *list_sections(child))]


def test_parameters_have_no_defaults_and_are_what_the_file_says() -> None:
    """Rule 3: what is loaded, dumped again, is the YAML, with `like` resolved."""
    for section in list_sections(Section):
        assert not {name for name, field in section.model_fields.items() if not field.is_required()}, section
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    params = load_params(ROOT / "params.yaml")
    dumped = params.model_dump(mode="json")
    for name, block in raw["variants"].items():
        blocks = [raw["variants"][ancestor] for ancestor in reversed(params.trace(name))]
        whole = {key: value for ancestor in blocks for key, value in ancestor.items()}
        # Another network's keys, and `like`, stay behind.
        assert dumped["variants"][name] == {key: whole[key] for key in whole if key in dumped["variants"][name]}, name
        assert "like" in block or name in VARS["graph"] or name in VARS["networks"]
    assert {**dumped, "variants": None} == {**raw, "variants": None}


def test_identity_of_a_training_is_keyed_by_the_train_stages_folders() -> None:
    """Rule 4: one list."""
    folders = {dep for dep in code_dependencies("train") if dep.startswith("cvd/")}
    assert set(CODE) == folders | {"cvd/models/scratch"}


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_folder_says_what_it_is_and_holds_nine_modules_at_most(folder: Path) -> None:
    """Rule 5."""
    text = ast.get_docstring(ast.parse((folder / "__init__.py").read_text()))
    assert text is not None
    assert text.splitlines()[0].endswith((".", ":"))
    n_modules = len(list(folder.glob("[!_]*.py")))
    assert n_modules <= 9 or name_of(folder) in ("cvd/data/drawn", "stages")


@pytest.mark.parametrize("file", MODULES, ids=ids)
def test_modules_and_functions_fit_on_few_screens(file: Path) -> None:
    """Rule 5. A stage with more lines has library in it."""
    text = file.read_text()
    assert len(text.splitlines()) <= (80 if is_in(file, "stages") else 250)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            n_lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            assert n_lines <= 40, f"{node.name} has {n_lines} lines of code"


@pytest.mark.parametrize("file", MODULES, ids=ids)
def test_numerics_draw_nothing_and_doors_stay_shut(file: Path) -> None:
    """Rule 6."""
    names, imports = imported_names(file), imported_modules(file)
    if is_in(file, *NUMERIC):
        for module in reached_modules(file):
            assert not is_in(module, *DRAWING), name_of(module)
            assert "matplotlib" not in {name.split(".")[0] for name in imported_names(module)}, name_of(module)
    if "mlflow" in {name.split(".")[0] for name in names}:
        assert is_in(file, "cvd/tracking")
    if not is_in(file, "stages", "cvd/commands", "cvd/runtime/params"):
        assert not {name_of(module) for module in imports if is_in(module, "cvd/runtime/params")}
    if not is_in(file, "stages", "cvd/commands", "cvd/tracking"):
        assert not {name_of(module) for module in imports if is_in(module, "cvd/tracking")}


def test_nobody_imports_a_stage() -> None:
    """Rule 7: what tests and benchmarks need is in cvd."""
    files = [path for folder in ("cvd", "stages", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    guilty = {name_of(file) for file in files if any(name.split(".")[0] == "stages" for name in imported_names(file))}
    assert not guilty


@pytest.mark.parametrize("file", MODULES, ids=ids)
def test_nothing_works_at_import(file: Path) -> None:
    """Rule 8: a module's top holds imports, definitions and constants. stages/__init__.py says why it does not."""
    if name_of(file) == "stages/__init__.py":
        return
    for node in ast.parse(file.read_text()).body:
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_guard = isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'")
        plain = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef, ast.Assign, ast.AnnAssign)
        assert isinstance(node, plain) or is_text or is_guard, f"line {node.lineno}"


@pytest.mark.parametrize(
    "file", [file for file in MODULES if is_in(file, *LIGHT) and name_of(file) != "cvd/web/answers.py"], ids=name_of
)
def test_light_folders_load_neither_tensorflow_nor_scikit_learn(file: Path) -> None:
    """Rule 8."""
    reached, todo = set(), [file]
    while todo:
        current = todo.pop()
        if current not in reached:
            reached.add(current)
            names = imported_names(current, top_only=True)
            todo += [module for name in names if (module := find_module(name))]
            assert not {"tensorflow", "keras", "sklearn"} & {name.split(".")[0] for name in names}, name_of(current)


def test_every_stage_has_a_script_and_a_description() -> None:
    assert set(DVC["stages"]) == set(STAGES)
    for name in STAGES:
        assert stage_entry(name)["desc"], name
        assert f"python -m stages.{name} " in stage_entry(name)["cmd"]


def test_git_s_answers_on_code_leave_out_what_stages_write() -> None:
    for name in STAGES:
        entries = [entry for kind in ("outs", "metrics", "plots") for entry in stage_entry(name).get(kind, ())]
        paths = [path for entry in entries for path in ([entry] if isinstance(entry, str) else entry)]
        assert paths
        for path in paths:
            assert path in OUTPUTS or path.split("/")[0] in OUTPUTS, f"cvd.runtime.project.OUTPUTS lacks {path}"


def test_tests_have_names_of_their_own() -> None:
    """Pytest imports them by their base name, and refuses the whole suite where one comes twice."""
    names = [file.name for file in (ROOT / "tests").rglob("test_*.py")]
    assert not {name for name in names if names.count(name) > 1}


def test_every_parameter_is_commented() -> None:
    """The first block of a network explains its keys; a section's `layers`, `seed` and `size_px` say themselves."""
    explained = {"layers", "like", "seed", "size_px"}
    in_variants = False
    for line in (ROOT / "params.yaml").read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            in_variants = line.startswith("variants:")
        key, _, rest = line.partition(":")
        if line.lstrip().startswith("#") or not rest.split("#")[0].strip():
            continue
        is_block = in_variants and line.startswith("  ") and line[2] != " "
        if in_variants and not is_block and "#" in line:
            explained.add(key.strip())
        assert is_block or "#" in line or key.strip() in explained, f"params.yaml says nothing about: {line.strip()}"


def test_limits_of_the_files_that_people_read_first() -> None:
    limits = {"dvc.yaml": 456, "params.yaml": 215}
    for name, limit in limits.items():
        lines = (ROOT / name).read_text().splitlines()
        assert len([line for line in lines if "{reads: " not in line]) <= limit, name  # but what `cvd add` adds
    codes = {stage: code_dependencies(stage) for stage in STAGES}
    assert sum(len(deps) for deps in codes.values()) <= 114
    for stage, dep in product(STAGES, FRAME):
        assert not {path for path in codes[stage] if path.startswith(dep)}
