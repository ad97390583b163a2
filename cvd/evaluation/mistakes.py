"""Choose the images that tell most: a network's mistakes, doubts and hits, and those on which networks disagree."""

from collections.abc import Mapping

import pandas as pd

from cvd.evaluation.measures import is_right

KINDS = {  # of images; with room for the plurals of both classes
    "mistakes": "Most confident mistakes",
    "doubts": "Least certain",
    "hits": "Best hits, {} and {} in turn",
}


def choose_telling(predictions: pd.DataFrame, n: int) -> dict[str, pd.DataFrame]:
    """Choose up to `n` rows of one split's predictions for each of KINDS, most telling first."""
    # The certainty of an answer is the distance of its logit from 0, where the network would toss a coin.
    ranked = predictions.assign(certainty=predictions["logit"].abs(), is_right=is_right(predictions))
    sure = ranked.sort_values(["certainty", "path"], ascending=[False, True], kind="stable")
    hits = sure[sure["is_right"]]
    hits = hits.assign(turn=hits.groupby("label").cumcount()).sort_values(["turn", "label"], kind="stable")
    chosen = {
        "mistakes": sure[~sure["is_right"]],
        "doubts": ranked.sort_values(["certainty", "path"], kind="stable"),
        "hits": hits,
    }
    return {kind: chosen[kind].head(n)[list(predictions.columns)].reset_index(drop=True) for kind in KINDS}


def choose_disagreements(predictions: Mapping[str, pd.DataFrame], n: int) -> list[str]:
    """List up to `n` paths of images on which variants disagree, the farthest apart of each story first.

    A story is the class, and which variants are right. Stories take turns, since six images of one story tell no more
    than one. All variants predict the same images.
    """
    by_variant = {name: frame.set_index("path") for name, frame in predictions.items()}
    logits = pd.DataFrame({name: frame["logit"] for name, frame in by_variant.items()})
    probabilities = pd.DataFrame({name: frame["probability"] for name, frame in by_variant.items()})
    is_split = (logits > 0).any(axis=1) & (logits <= 0).any(axis=1)
    spread = probabilities.max(axis=1) - probabilities.min(axis=1)
    ranked = spread[is_split].rename("spread").rename_axis("path").reset_index()
    ranked = ranked.sort_values(["spread", "path"], ascending=[False, True], kind="stable")
    first, *_ = by_variant.values()
    stories = [(first["label"][path], *(logits.loc[path] > 0)) for path in ranked["path"]]
    ranked["turn"] = ranked.groupby(pd.Series(stories, index=ranked.index, dtype=object)).cumcount()
    return [str(path) for path in ranked.sort_values("turn", kind="stable")["path"].head(n)]
