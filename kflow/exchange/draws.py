"""Random numbers for participants, drawn in blocks: an iterator over a block costs a tenth of a call to numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kflow.exchange.presets import Contracts, Quantiles
from kflow.units import CONTRACT

_BLOCK: Final = 16_384
# Sizes within this distance of a favourite, in logarithms, may become it.
_NEAR: Final = 0.5


class Draws:
    """Endless streams of draws. Each call returns the next one."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng
        self.uniform: Final[Callable[[], float]] = self._endless(lambda: rng.random(_BLOCK))

    def choice(self, weights: tuple[float, ...]) -> Callable[[], int]:
        """Numbers from 0 on, as often as their weights say."""
        edges = np.cumsum(weights)[:-1] / sum(weights)
        return self._endless(lambda: np.searchsorted(edges, self._rng.random(_BLOCK), side="right"))

    def sizes(self, contracts: Contracts) -> Callable[[], int]:
        """Sizes in 1e-2 contract: as the quantiles say, some of them rounded to a favourite, some fractional."""
        return self._endless(lambda: self._sizes(contracts))

    def values(self, quantiles: Quantiles, unit: float) -> Callable[[], float]:
        """Values of these quantiles, times `unit`."""
        return self._endless(lambda: self._quantiles(quantiles) * unit)

    def lognormal(self, median: float, sigma: float) -> Callable[[], float]:
        return self._endless(lambda: median * np.exp(sigma * self._rng.standard_normal(_BLOCK)))

    def _sizes(self, sizes: Contracts) -> NDArray[np.int64]:
        rng = self._rng
        contracts = np.exp(self._quantiles([(p, float(np.log(size))) for p, size in sizes.quantiles]))
        if sizes.favourites:
            favourites = np.array(sizes.favourites)
            apart = np.abs(np.log(contracts)[:, None] - np.log(favourites)[None, :])
            near = (apart.min(axis=1) < _NEAR) & (rng.random(_BLOCK) < sizes.rounded)
            contracts = np.where(near, favourites[apart.argmin(axis=1)], contracts)
        hundredths = np.maximum(np.round(contracts), 1).astype(np.int64) * int(CONTRACT)
        return hundredths + rng.integers(1, CONTRACT, _BLOCK) * (rng.random(_BLOCK) < sizes.fractional)

    def _quantiles(self, points: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
        """Values whose quantiles are `points`, straight in between."""
        shares, values = zip(*points, strict=True)
        found: NDArray[np.float64] = np.interp(self._rng.random(_BLOCK), shares, values)
        return found

    @staticmethod
    def _endless(block: Callable[[], NDArray[Any]]) -> Callable[[], Any]:
        def stream() -> Iterator[Any]:
            while True:
                yield from block().tolist()

        return stream().__next__
