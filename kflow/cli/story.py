"""An order's life in words."""

from __future__ import annotations

from collections.abc import Iterator

from kflow.cli import render
from kflow.sim.orders import Moment
from kflow.sim.trace import Life
from kflow.units import CONTRACT, Price, Size, format_money, format_price, format_size

_SHOWN = 40  # moments of a queue in full; of a longer one the first and the last


def tell(life: Life, model: str) -> Iterator[str]:
    """One line a moment: seconds since it was sent, and what happened."""
    side = "NO" if life.side else "YES"
    quotes = f"YES bid {format_price(Price(life.best_bid))}, ask {format_price(Price(life.best_ask))}"
    yield f"order {life.number}: buy {_contracts(life.size)} {side} in {life.market}, model {model}"
    yield f"{render.when(life.sent_us * 1000):%Y-%m-%d %H:%M:%S.%f}Z  {quotes}"
    shown = life.moments
    if len(shown) > _SHOWN:
        half = _SHOWN // 2
        queue = [m for m in shown[half:-half] if m.kind in ("traded ahead", "cancelled ahead")]
        kept = [m for m in shown[half:-half] if m not in queue]
        yield from (_line(life, moment) for moment in shown[:half])
        gone = sum(moment.size for moment in queue)
        yield f"{'':>12}  … {len(queue)} more trades and cancellations took {_contracts(gone)} from ahead of it"
        yield from (_line(life, moment) for moment in [*kept, *shown[-half:]])
    else:
        yield from (_line(life, moment) for moment in shown)
    if not shown or shown[-1].kind != "ended":
        left = shown[-1].left if shown else life.size
        after = (life.until_us - life.sent_us) / 1e6
        yield f"{after:>+11.3f}s  still open, {_contracts(left)} unfilled; no longer followed"


def _line(life: Life, moment: Moment) -> str:
    return f"{(moment.us - life.sent_us) / 1e6:>+11.3f}s  {_words(moment)}"


def _words(moment: Moment) -> str:
    size, price = _contracts(moment.size), format_price(moment.price)
    ahead = f"{_contracts(moment.ahead)} ahead"
    words = {
        "sent": f"sent at {price}",
        "rests": f"reaches the book and rests at {price}, {ahead}",
        "took": f"takes {size} at {price}, fee ${format_money(moment.fee)}; {_contracts(moment.left)} left",
        "filled": f"filled {size} at {price}, fee ${format_money(moment.fee)}; {_contracts(moment.left)} left",
        "ended": f"over: {moment.reason}",
        "amended": f"amended to {size} at {price}",
        "traded ahead": f"a trade takes {size} from ahead of it; {ahead}",
        "cancelled ahead": f"a cancellation takes {size} from ahead of it; {ahead}",
    }
    return words[moment.kind]


def _contracts(size: int) -> str:
    return format_size(Size(size)).removesuffix(".00") if size % CONTRACT == 0 else format_size(Size(size))
