"""Bootstrap confidence intervals of a share, resampled by clip."""

import numpy as np
from jaxtyping import Bool, Float, Shaped


def interval(
    hits: Bool[np.ndarray, " n"],
    clip: Shaped[np.ndarray, " n"],
    *,
    resamples: int,
    seed: int,
    weight: Float[np.ndarray, " n"] | None = None,
) -> list[float]:
    """Compute the bootstrap 95 % interval (percentiles) of the share of hits.

    Clips are drawn with all their rows, since rows of one clip are not independent.

    Args:
      hits: whether each row is a hit.
      clip: clip of each row.
      resamples: number of bootstrap samples.
      seed: seed of the draws.
      weight: weight of each row in the share; None: equal weights.
    """
    clips, clip_of_row = np.unique(clip, return_inverse=True)
    weight = np.ones(len(hits)) if weight is None else weight
    hits_of_clip = np.bincount(clip_of_row, weights=hits * weight)
    rows_of_clip = np.bincount(clip_of_row, weights=weight)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(len(clips), size=len(clips)) for _ in range(resamples))
    shares = [hits_of_clip[draw].sum() / rows_of_clip[draw].sum() for draw in draws]
    return np.quantile(shares, [0.025, 0.975]).tolist()
