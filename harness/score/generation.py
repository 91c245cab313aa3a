"""How far generated images are from real ones."""

from __future__ import annotations

import numpy as np

from harness.score.case import Case, ScoreError, flat

COMPONENTS = 64
"""Dimensions of the feature space, or as many as the images have numbers where that is fewer."""


def frechet_distance(case: Case) -> float:
    """The Frechet distance of Gaussians fitted to generated and to real test images, as in the FID (Heusel et
    al. 2017), in the space of the first principal components of the real training images.

    The space is fixed by the data and linear: the value is not comparable with an FID in Inception's
    features. The fewer the test examples, the larger it is for everyone.
    """
    from sklearn.decomposition import PCA

    made, real, train = flat(case.prediction), flat(case.test["x"]), flat(case.train["x"])
    if made.shape[1] != real.shape[1]:
        raise ScoreError(f"generated examples have {made.shape[1]} numbers, real ones {real.shape[1]}")
    if min(len(made), len(real)) < 2:
        raise ScoreError("a covariance needs at least two examples")
    space = PCA(min(COMPONENTS, *train.shape), random_state=0).fit(train)
    return gaussian_distance(space.transform(made), space.transform(real))


def gaussian_distance(one: np.ndarray, other: np.ndarray) -> float:
    """|m1 - m2|^2 + trace(C1 + C2 - 2 (C1 C2)^(1/2)) of two samples (examples, features) (Dowson and Landau
    1982).

    The root's trace is taken by the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2), which has the same:
    unlike the root of the product itself, they are safe where a feature is constant.
    """
    from scipy.linalg import eigh, eigvalsh

    first, second = np.atleast_2d(np.cov(one, rowvar=False)), np.atleast_2d(np.cov(other, rowvar=False))
    values, vectors = eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    shared = np.sqrt(np.maximum(eigvalsh(root @ second @ root), 0.0)).sum()
    apart = np.sum((one.mean(0) - other.mean(0)) ** 2)
    return float(apart + np.trace(first) + np.trace(second) - 2 * shared)
