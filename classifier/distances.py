"""How far a cell lies from what the model was trained on."""

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
