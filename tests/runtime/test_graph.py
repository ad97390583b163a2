"""A variant's line in dvc.yaml's graph fits its block in params.yaml, or is refused with the right one."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cvd.runtime.errors import InputError
from cvd.runtime.params.graph import Entry, check_entry, describe_configuration, place_variant
from cvd.runtime.params.loading import load_params

PARAMS = load_params(Path(__file__).parents[2] / "params.yaml")


def test_line_follows_from_the_block() -> None:
    assert place_variant(PARAMS, "fine_tuned") == Entry(
        reads="data/images.sha256",
        network="models/transfer.keras",
        pixels="backbone",
        section="augment",
        like="transfer_augmented",
        base="transfer",
    )
    tfrecord = place_variant(PARAMS, "tfrecord")
    assert tfrecord == replace(place_variant(PARAMS, "baseline"), reads="data/shards", like="tfrecord", base="tfrecord")


@pytest.mark.parametrize("name", PARAMS.variants)
def test_wrong_line_is_refused_with_the_right_one(name: str) -> None:
    right = place_variant(PARAMS, name)
    check_entry(PARAMS, name, right)
    for key, value in asdict(right).items():
        with pytest.raises(InputError) as caught:
            check_entry(PARAMS, name, replace(right, **{key: "other"}))
        message = str(caught.value)
        assert f"{name} `{key}: other`" in message
        assert f"needs `{key}: {value}`" in message
        assert "\n" not in message


def test_configuration_holds_what_a_training_reads_and_no_more() -> None:
    augmented, transfer = (describe_configuration(PARAMS, name) for name in ("augmented", "transfer"))
    assert set(augmented) == {"seed", "train", "image", "augment", "variants", "every_epochs"}
    assert set(transfer) == {"seed", "train", "backbone", "variants", "every_epochs"}
    assert augmented["variants"] == {"augmented": PARAMS.variants["augmented"].model_dump()}
