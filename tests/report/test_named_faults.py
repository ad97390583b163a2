"""The report names the faults that the other stages' figures show, and none where there are none."""

import pytest

from cvd.report.faults import list_faults

LABELS = {"images": 1600, "suspects": 0}


def explain(share: float) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    return {
        "gradcam": {"conv4": {"watermark_share": 0.9}},
        "hirescam+": {"conv1": {"watermark_share": 0.9}, "conv4": {"watermark_share": share}},
        "chance": {"random": {"watermark_share": 0.02}},
    }


def test_sound_data_have_no_faults() -> None:
    figures = {"baseline": {"hirescam+": {"conv4": {"deletion": 0.3}}, "chance": {"random": {"deletion": 0.6}}}}
    intake = {"near_duplicates": {"groups": 3}}
    assert list_faults(intake, LABELS, figures) == list_faults(None, None, {}) == []  # type: ignore[arg-type]


def test_a_leak_is_counted() -> None:
    [said] = list_faults({"near_duplicates": {"leaked": 694}}, None, {})  # type: ignore[typeddict-item]
    assert said.startswith("A leak: 694 validation and test images have a near-copy")


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.10, "A shortcut: 10.0% of the heat of baseline"), (0.09, "No shortcut: 9.0% of the heat of baseline")],
)
def test_a_shortcut_is_five_times_chance_by_the_last_method_and_layer(share: float, said: str) -> None:
    [sentence] = list_faults(None, None, {"baseline": explain(share)})
    times = f"{share / 0.02:.1f} times chance (hirescam+ at conv4)"
    assert sentence == f"{said} lies on the watermark, {times}. Test images have no watermark."


def test_wrong_labels_are_counted_and_graded_where_they_were_planted() -> None:
    planted = {"labels": 30, "among": 600, "recall_at_planted": 0.9}
    graded, found = list_faults(None, LABELS | {"suspects": 41, "planted": planted}, {})
    assert "30 of 600 training labels were exchanged on purpose. 90.0% of them" in graded
    assert found.startswith("41 of 1,600 labels look wrong.")
