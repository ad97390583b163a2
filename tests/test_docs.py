"""README and docs hold what they promise readers: short sentences and pages, links and pictures that are there."""

import re
import shlex
from collections.abc import Iterator
from functools import reduce
from itertools import pairwise
from pathlib import Path

import numpy as np
import pictures
import pytest
import yaml
from PIL import Image

from cvd.cli import parse_arguments
from cvd.runtime.params.loading import load_params

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), ROOT / "data" / "README.md", *(ROOT / "docs").glob("*.md")])
MOST_WORDS, MOST_LINES = 25, 150
LONG_SENTENCES: dict[str, str] = {}  # its first words, and why it stays
LONG_PAGES = {"README.md": 120}
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
PARAMS = load_params(ROOT / "params.yaml").model_dump(mode="json")


def read_paragraphs(path: Path) -> list[str]:
    """Read a page's running text: one string a paragraph or list item, without code blocks, tables and headings."""
    text = re.sub(r"^```.*?^```", "\n", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"!\[[^\]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]+`", "CODE", text)
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("|", "#", "    "))]
    blocks = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines))
    return [" ".join(block.split()) for block in blocks if block.strip()]


def split_sentences(paragraph: str) -> list[str]:
    """Split running text at full stops, question and exclamation marks that end a sentence."""
    return [sentence for sentence in re.split(r"(?<=[.!?])[)*\"]*\s+(?=[\"(*]*[A-Z0-9])", paragraph) if sentence]


def count_words(sentence: str) -> int:
    """Count the words of a sentence; a piece of code is one."""
    return len(re.findall(r"[\w'’%.,/+-]*\w[\w'’%.,/+-]*", sentence))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_sentences_are_short(page: Path) -> None:
    long = {
        f"{count_words(sentence)} words: {sentence}"
        for paragraph in read_paragraphs(page)
        for sentence in split_sentences(paragraph)
        if count_words(sentence) > MOST_WORDS and not sentence.startswith(tuple(LONG_SENTENCES))
    }
    assert not long


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_short(page: Path) -> None:
    assert len(page.read_text().splitlines()) <= LONG_PAGES.get(page.name, MOST_LINES)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_are_there(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for alternative, target in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", text):
        assert alternative, f"{target} has no alternative text"
        assert (page.parent / target).is_file(), target
    for target in re.findall(r"(?<!!)\[[^\]]*\]\(([^)]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        assert not anchor or anchor in read_anchors(linked), target


def read_anchors(path: Path) -> set[str]:
    """Read the anchors that a page's headings get."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("sentence", "n"), [("One two three.", 3), ("Say `cvd add x` twice, 5% more.", 5)])
def test_words_are_counted(sentence: str, n: int) -> None:
    assert count_words(re.sub(r"`[^`]+`", "CODE", sentence)) == n


def test_sentences_are_told_apart() -> None:
    assert len(split_sentences("It is 0.5 px. Then 3 more! Why? (See there.)")) == 4


def test_pictures_are_made_from_the_outputs_of_a_run_on_drawn_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert pictures.main() == "error: data/raw.json is missing: `make repro` makes it"
    for path in (*pictures.SHEETS, pictures.CURVES, pictures.HEAT, Path("docs/mlflow.png"), Path("data/raw.json")):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (786, 590), "green" if "dog" in path.name else "red").save(path, "PNG")
    Path("data/raw.json").write_text('{"source": "folder"}')
    assert "source 'folder'" in str(pictures.main())
    assert len(list(Path("docs").iterdir())) == 1
    Path("data/raw.json").write_text('{"source": "drawn"}')
    assert "docs/mlflow.png stays as it is" in str(pictures.main())
    assert Path("docs/curves.png").read_bytes() == pictures.CURVES.read_bytes()
    joined, heat, expected = (
        Image.open(path).convert("RGB") for path in ("docs/drawn.png", "docs/gradcam.jpg", pictures.HEAT)
    )
    assert joined.getpixel((0, 0)) == (255, 0, 0)
    assert joined.getpixel((1587, 295)) == (0, 128, 0)
    assert np.abs(np.asarray(heat).astype(int) - np.asarray(expected)).max() < 3
    made, shown = ({path.name for path in folder.iterdir()} for folder in (Path("docs"), ROOT / "docs"))
    assert made == {name for name in shown if name.endswith((".png", ".jpg"))}


def test_every_picture_is_shown() -> None:
    text = "".join(page.read_text() for page in PAGES)
    assert not [path.name for path in (ROOT / "docs").glob("*.[pj][np]g") if f"{path.name})" not in text]


def list_commands(page: Path) -> Iterator[tuple[list[str], bool]]:
    """The words of each command in a page, and whether it stands in the running text, where a part of one may do."""
    text = page.read_text()
    blocks = re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    inline = [" ".join(code.split()) for code in re.findall(r"`((?:cvd|dvc|make) [^`]+)`", rest)]
    fenced = "".join(blocks).replace("\\\n", " ").splitlines()
    for line, is_part in [*((line, False) for line in fenced), *((line, True) for line in inline)]:
        words = shlex.shlex(line, posix=True, punctuation_chars="&;|")
        words.whitespace_split = True
        for part in re.split(r"\0?[&;|]+\0?", "\0".join(words)):
            if part:
                yield part.split("\0"), is_part


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_commands_are_known(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, is_part in list_commands(page):
        name, *rest = words
        if name == "cvd":
            try:
                parse_arguments(rest)
            except SystemExit:
                said = capsys.readouterr().err
                assert is_part and "are required" in said, (words, said)  # noqa: PT018
        elif name == "make":
            assert not [word for word in rest if "=" not in word and word not in TARGETS], words
        for key in (value.split("=")[0] for option, value in pairwise(words) if option == "-S"):
            reduce(lambda section, part: section[part], key.split("."), PARAMS)  # a KeyError where there is none
        if words[:2] == ["dvc", "repro"] or words[:3] == ["dvc", "exp", "run"]:
            known = {"repro", "exp", "run", *STAGES}
            known |= {value for option, value in pairwise(words) if option in ("-S", "-n", "--name")}
            assert not [word for word in rest if word[0] not in "-$" and not {word, word.split("@")[0]} & known], words


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.parent.name == "docs" and page.name != "index.md"],
    ids=lambda page: page.name,
)
def test_pages_end_with_what_to_try_next(page: Path) -> None:
    assert re.findall(r"^## .*", page.read_text(), flags=re.MULTILINE)[-1] == "## Try next"
