"""Lay feature vectors out on a plane: the first principal components, then t-SNE."""

import numpy as np

MOST_POINTS = 2000  # t-SNE's time grows with n log n; with these it is some seconds
N_COMPONENTS = 50  # as van der Maaten and Hinton (2008) reduce images before t-SNE
PERPLEXITY = 30  # about how many neighbours count
N_STEPS = 500  # of gradient descent; between 500 and 1,000 the default run's map hardly moves
DIGITS = 3  # of a coordinate


def embed_features(features: np.ndarray, *, seed: int) -> np.ndarray:
    """Embed n feature vectors (n, k) in a plane: (n, 2), each axis from 0 to 1; n is 1 or more.

    Near points are images that the backbone finds alike; distances between clusters mean little (t-SNE by Barnes and
    Hut's tree, van der Maaten 2014). The same features and seed give the same numbers: all runs on one thread, since
    sums of several threads differ in their last bits and t-SNE enlarges that.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    n = len(features)
    if n < 4:  # too few for t-SNE: on a line
        return np.stack([np.linspace(0, 1, n), np.full(n, 0.5)], axis=1)
    # Directions of vectors, since lengths of backbones' features follow contrast: (n, k).
    directions = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    with threadpool_limits(1):
        pca = PCA(min(N_COMPONENTS, n - 1, features.shape[1]), svd_solver="randomized", random_state=seed)
        components = pca.fit_transform(directions)  # (n, 50)
        perplexity = min(PERPLEXITY, (n - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="pca", max_iter=N_STEPS, random_state=seed, n_jobs=1)
        points = tsne.fit_transform(components)  # (n, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    return np.round((points - low) / np.maximum(high - low, 1e-12), DIGITS).astype(np.float64)
