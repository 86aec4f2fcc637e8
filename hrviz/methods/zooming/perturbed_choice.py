r"""The perturbed top-k in numpy: what it chooses under noise, and what moves the choice.

The same as `hrviz.nets.perturbed` (which has the gradients that training needs), for showing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

EPS = 1e-5


def normalised(scores: np.ndarray) -> np.ndarray:
    """Scores shifted and scaled to 0..1; where all are equal, all are 0 and the noise decides."""
    low, high = float(scores.min()), float(scores.max())
    return np.asarray((scores - low) / (high - low + EPS), np.float64)


def hard(scores: np.ndarray, k: int) -> np.ndarray:
    """The k best of scores (m,), sorted by position; ties go to the first."""
    return np.sort(np.argsort(-scores, kind="stable")[:k])


@dataclass(frozen=True)
class Choice:
    """What noise makes of scores.

    Attributes
    ----------
    chosen : ndarray int (samples, k)
        Positions, sorted, of each sample.
    noise : ndarray float32 (samples, m)
    sigma : float
    """

    chosen: np.ndarray
    noise: np.ndarray
    sigma: float

    @classmethod
    def of(
        cls, scores: np.ndarray, k: int, sigma: float, samples: int, rng: np.random.Generator
    ) -> Choice:
        """Draw noise and choose; scores (m,), k at most m."""
        noise = rng.standard_normal((samples, len(scores)), np.float32)
        keys = scores + sigma * noise
        k = min(k, len(scores))
        best = np.argpartition(-keys, k - 1, axis=1)[:, :k]
        return cls(np.sort(best, 1), noise, sigma)

    @property
    def mean(self) -> np.ndarray:
        """Y (k, m): row j is where the j-th chosen position lies, on average."""
        samples, k = self.chosen.shape
        y = np.zeros((k, self.noise.shape[1]))
        for row in range(k):
            y[row] = np.bincount(self.chosen[:, row], minlength=y.shape[1]) / samples
        return y

    def pull(self, row: int, position: int, jacobian: str = "full") -> np.ndarray:
        """dY[row, position] / ds over all positions (m,): which scores move this choice.

        'as published code' has the position's own score only.
        """
        hit = self.chosen[:, row] == position
        out = hit.astype(np.float32) @ self.noise / (len(hit) * self.sigma)
        if jacobian != "full":
            own = out[position]
            out = np.zeros_like(out)
            out[position] = own
        return np.asarray(out, np.float64)
