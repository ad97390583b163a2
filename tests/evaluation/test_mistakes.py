"""Which images are shown."""

import numpy as np
import pandas as pd
import pytest

from cvd.evaluation.mistakes import choose_disagreements, choose_telling


@pytest.fixture
def predictions() -> pd.DataFrame:
    logits = {"cat.0": -5, "cat.1": 4, "cat.2": 0.1, "cat.3": -6, "dog.0": 3, "dog.1": -0.2, "dog.2": -2, "dog.3": 9}
    frame = pd.DataFrame({"path": list(logits), "logit": list(logits.values())})
    frame["label"] = frame["path"].str.startswith("dog").astype(int)
    frame["probability"] = 1 / (1 + np.exp(-frame["logit"]))
    return frame


def test_mistakes_doubts_and_hits_are_ranked(predictions: pd.DataFrame) -> None:
    chosen = choose_telling(predictions, 3)
    assert {kind: list(table["path"]) for kind, table in chosen.items()} == {
        "mistakes": ["cat.1", "dog.2", "dog.1"],
        "doubts": ["cat.2", "dog.1", "dog.2"],
        "hits": ["cat.3", "dog.3", "cat.0"],
    }
    assert all(list(table) == list(predictions) for table in chosen.values())


def test_a_network_without_mistakes_has_none(predictions: pd.DataFrame) -> None:
    perfect = predictions.assign(logit=np.where(predictions["label"] == 1, 2.0, -2.0))
    chosen = choose_telling(perfect, 5)
    assert chosen["mistakes"].empty
    assert len(chosen["hits"]) == 5


def test_disagreements_are_those_farthest_apart_wherever_they_stand(predictions: pd.DataFrame) -> None:
    other = predictions.assign(logit=-predictions["logit"], probability=1 - predictions["probability"])
    assert choose_disagreements({"a": predictions, "b": other.iloc[::-1]}, 2) == ["dog.3", "cat.3"]
    assert choose_disagreements({"a": predictions, "b": predictions}, 2) == []
