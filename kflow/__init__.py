"""kflow: record, replay, simulate, train on and trade Kalshi order books."""

__version__ = "0.1.0"
