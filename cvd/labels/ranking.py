"""Out-of-fold answers to every image, and which given labels they make suspect (confident learning)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold

STRENGTH = 6e-4  # scikit-learn's C: the loss of all images against half the squared weights; 3e-4 to 1e-3 find as much
MOST_STEPS = 300  # of L-BFGS


class Answers(NamedTuple):
    """What linear classifiers say of images on which they were not trained."""

    probabilities: np.ndarray  # (n,) of the second class
    folds: np.ndarray  # (n,) number of the fold that an image was held out in
    weights: np.ndarray  # (folds, k), of the features as they are
    biases: np.ndarray  # (folds,); a logit is features @ weights + bias


def answer_out_of_fold(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray, *, n_folds: int, seed: int
) -> Answers:
    """Ask of each image a logistic regression that was trained without it and its near-duplicates.

    Args:
        features: (n, k), float32.
        labels: (n,) 0 or 1, as they are given.
        groups: (n,) names; images of one group are in one fold.
        n_folds: of the cross-validation, at least 2; fewer where a class has fewer groups.
        seed: of the folds.
    """
    n_folds = min(n_folds, *(len(set(groups[labels == label])) for label in (0, 1)))
    folding = StratifiedGroupKFold(n_folds, shuffle=True, random_state=seed)
    probabilities, folds = np.zeros(len(labels)), np.zeros(len(labels), np.int64)
    weights, biases = [], []
    for fold, (learned, held_out) in enumerate(folding.split(features, labels, groups)):
        weight, bias = _fit_classifier(features[learned], labels[learned])
        logits = features[held_out].astype(np.float64) @ weight + bias
        probabilities[held_out], folds[held_out] = 1 / (1 + np.exp(-logits.clip(-500, 500))), fold
        weights.append(weight)
        biases.append(bias)
    return Answers(probabilities, folds, np.stack(weights), np.array(biases))


def _fit_classifier(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, float]:
    """Fit logistic regression on standardised features (m, k); weights (k,) and bias for features as they are."""
    mean, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 1e-6)  # of what never varies: 0
    standard = ((features - mean.astype(np.float32)) * scale.astype(np.float32)).astype(np.float32)
    classifier = LogisticRegression(C=STRENGTH, max_iter=MOST_STEPS).fit(standard, labels)
    weight = classifier.coef_[0] * scale
    return weight, float(classifier.intercept_[0] - weight @ mean)


def find_suspects(labels: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Score given labels, and name those that are likely wrong (Northcutt et al., Confident Learning, 2021).

    Args:
        labels: (n,) 0 or 1, as they are given.
        probabilities: (n,) of the second class, out of fold.

    Returns:
        Scores (n,), the probability of the given label: low is suspicious. Suspects (n,), bool: as many as the
            estimated joint distribution of given and true labels says.
    """
    both = np.stack([1 - probabilities, probabilities], axis=1)  # (n, 2)
    scores = get_label_quality_scores(labels, both, method="self_confidence")
    return np.asarray(scores, np.float64), np.asarray(find_label_issues(labels, both, n_jobs=1), bool)
