"""The map of images: alike means near, and the same input gives the same map."""

import numpy as np
import pytest

from cvd.vis.mapping.embedding import embed_features


def test_alike_images_are_neighbours_and_the_map_repeats() -> None:
    """Three clusters of vectors in 64 dimensions: the nearest point on the plane is of the same cluster."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, 64)) * 3
    kinds = np.arange(90) % 3
    features = (centres[kinds] + generator.normal(size=(90, 64))).astype(np.float32)
    points = embed_features(features, seed=1)
    assert points.shape == (90, 2)
    assert points.min(axis=0) == pytest.approx([0, 0])
    assert points.max(axis=0) == pytest.approx([1, 1])
    distances = np.linalg.norm(points[:, None] - points[None], axis=2) + 9 * np.eye(90)
    assert (kinds[distances.argmin(axis=1)] == kinds).mean() > 0.95
    assert np.array_equal(points, embed_features(features, seed=1))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6])
def test_few_images_have_a_map(n: int) -> None:
    points = embed_features(np.random.default_rng(1).normal(size=(n, 8)).astype(np.float32), seed=1)
    assert points.shape == (n, 2)
    assert np.isfinite(points).all()
