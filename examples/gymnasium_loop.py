"""One episode of the environment, as Gymnasium has them, with a policy of one line.

    python examples/gymnasium_loop.py

It needs nothing: the market is made up, and its prices come back to where they were. The first run compiles for half a
minute. It prints the finished episode: a buyer of what just fell, and what he earned (dollars; `_e6`: 1e-6 dollar).
"""

import gymnasium

import kflow.rl  # noqa: F401 - tells Gymnasium of the environment
from kflow.policy.features import FEATURES

RETURN = [feature.name for feature in FEATURES].index("return_60s")
BUY_YES, BUY_NO = 1, 2 * 1 + 1  # of orders of one size: hold, BUY_YES, SELL_YES, BUY_NO, SELL_NO

env = gymnasium.make("kflow/KalshiMarket-v0", world="reverting", sizes=[10])
observation, info = env.reset(seed=7)
while "finished" not in info:
    moved = observation[RETURN]
    action = BUY_YES if moved < -0.2 else BUY_NO if moved > 0.2 else 0
    observation, reward, terminated, truncated, info = env.step(action)
print(info["finished"])
