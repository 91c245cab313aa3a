"""What an autoencoder's code is worth, held against principal components."""

from __future__ import annotations

import numpy as np

from harness.score.case import Case, ScoreError, flat


def mse_over_pca(case: Case) -> float:
    """The reconstruction's mean squared error on the test split over that of PCA, fitted on the training
    split, with as many components as the code has numbers: under 1 is better than that linear code.
    """
    from sklearn.decomposition import PCA

    code = case.code
    if code is None:
        raise ScoreError("needs the code as the program's second output")
    found, test, train = flat(case.prediction), flat(case.test["x"]), flat(case.train["x"])
    if found.shape != test.shape:
        raise ScoreError(f"reconstructions are {found.shape}, originals {test.shape}")
    size = code.shape[1]
    if size > min(train.shape):
        raise ScoreError(f"PCA of {train.shape} has no {size} components")
    space = PCA(size, random_state=0).fit(train)
    linear = np.mean((space.inverse_transform(space.transform(test)) - test) ** 2)
    if linear == 0:
        raise ScoreError("PCA reconstructs the test split without an error")
    return float(np.mean((found - test) ** 2) / linear)


def plane(train: np.ndarray, points: np.ndarray) -> np.ndarray:
    """`points` (examples, *shape) in the plane of the first two principal components of `train`."""
    from sklearn.decomposition import PCA

    found: np.ndarray = PCA(2, random_state=0).fit(flat(train)).transform(flat(points))
    return found
