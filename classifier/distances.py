"""How far a cell lies from what the model was trained on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating]


class ClassDistances:
    """Mahalanobis distances to class means that share a covariance. Lee et al., NeurIPS 2018.

    Args:
        class_means: (classes, d).
        precision: (d, d), inverse of the covariance; symmetric.
    """

    def __init__(self, class_means: FloatArray, precision: FloatArray) -> None:
        self._precision = np.asarray(precision, dtype=np.float64)
        self._centre = np.asarray(class_means, dtype=np.float64).mean(axis=0)
        self._means = class_means - self._centre
        self._constants = np.einsum("cd,cd->c", self._means @ self._precision, self._means)

    def nearest(self, features: FloatArray) -> npt.NDArray[np.float64]:
        """Distance of each vector (n, d) to its nearest class mean."""
        # (x - m) P (x - m)' multiplied out: one large product for each vector instead of one for
        # each class. From the middle of the means, cancellation costs no more than 1e-7.
        offsets = features - self._centre
        weighed = offsets @ self._precision
        own = np.einsum("nd,nd->n", weighed, offsets)[:, None]
        squared = own - 2.0 * weighed @ self._means.T + self._constants
        # Rounding can leave a tiny negative square for a vector that sits on a mean.
        return np.asarray(np.sqrt(np.maximum(squared.min(axis=1), 0.0)))


@dataclass(frozen=True, slots=True, eq=False)
class ForeignLikeness:
    """How much a cell resembles kinds of cells that are known and have no class.

    Linear in the features and in units of the distance: zero for the average cell of the classes,
    larger for what is more like the foreign cells it was fitted on.

    Attributes:
        direction: (d,).
        offset: added to the product.
    """

    direction: npt.NDArray[np.float64]
    offset: float

    def of(self, features: FloatArray) -> npt.NDArray[np.float64]:
        """Likeness of each vector (n, d)."""
        return np.asarray(features @ self.direction + self.offset, dtype=np.float64)


def strangeness(
    features: FloatArray, distances: ClassDistances, foreign: ForeignLikeness | None
) -> npt.NDArray[np.float64]:
    """What the out-of-distribution score is a multiple of, for each vector (n, d).

    The likeness to known foreign cells only ever adds to the distance: what is unlike them may
    still be foreign.
    """
    nearest = distances.nearest(features)
    return nearest if foreign is None else nearest + np.maximum(foreign.of(features), 0.0)
