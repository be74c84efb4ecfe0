"""Makes the environment known to Gymnasium.

Gymnasium 1.0 did away with entry points for environments, so a package registers its own when it is imported:
`import kflow.rl`, then `gymnasium.make("kflow/KalshiMarket-v0")`, or at once `make("kflow.rl:kflow/KalshiMarket-v0")`.
"""

from __future__ import annotations

import gymnasium

ENVIRONMENT = "kflow/KalshiMarket-v0"


def register() -> None:
    """Register `ENVIRONMENT` by name only: its classes are imported when one is made. Twice is as good as once."""
    if ENVIRONMENT not in gymnasium.registry:
        gymnasium.register(
            id=ENVIRONMENT,
            entry_point="kflow.rl.env:KalshiMarketEnv",
            vector_entry_point="kflow.rl.vector:KalshiMarketVectorEnv",
        )
