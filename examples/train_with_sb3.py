"""PPO of Stable-Baselines3 on 64 accounts at once, on a made-up market in which there is something to learn.

    python examples/train_with_sb3.py

It needs what `make setup` installs, and half a minute more the first time, to compile. It prints what episodes earned
in the mean, in dollars: the first hundred, and the last. `kflow train` does the same, and keeps what was learnt.
"""

import torch
from stable_baselines3 import PPO

from kflow.rl.vec import KalshiVecEnv

torch.set_num_threads(1)  # more of them pay only for wider networks
earned: list[float] = []
env = KalshiVecEnv.make(
    64, world="reverting", episode="15s", sizes=[10], on_finished=lambda episode: earned.append(episode.profit / 1e6)
)
model = PPO("MlpPolicy", env, n_steps=64, batch_size=1024, learning_rate=1e-3, gae_lambda=0.9, seed=7, device="cpu")
model.learn(40_000)
for name, episodes in (("first", earned[:100]), ("last", earned[-100:])):
    print(f"{name} {len(episodes)} episodes: {sum(episodes) / len(episodes):+.2f} dollars each")
