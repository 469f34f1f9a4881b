"""How far a share would move on another sample of clips."""

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
    """Bootstrap 95 % interval (percentiles) of the share of hits.

    Clips are drawn, with all their rows: rows of one clip are not independent.

    Args:
      hits: whether each row is a hit.
      clip: the clip that each row belongs to.
      resamples: number of bootstrap samples.
      seed: of the draws.
      weight: of each row in the share; None: all alike.
    """
    clips, of_row = np.unique(clip, return_inverse=True)
    weight = np.ones(len(hits)) if weight is None else weight
    hits_of_clip, rows_of_clip = np.bincount(of_row, weights=hits * weight), np.bincount(of_row, weights=weight)
    rng = np.random.default_rng(seed)
    draws = (rng.integers(len(clips), size=len(clips)) for _ in range(resamples))
    shares = [hits_of_clip[draw].sum() / rows_of_clip[draw].sum() for draw in draws]
    return np.quantile(shares, [0.025, 0.975]).tolist()
