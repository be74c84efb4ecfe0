"""Two logs of one account: a client's with the venue's, a later one with an earlier; and what contradicts itself."""

from __future__ import annotations

from dataclasses import replace

from kflow.errors import UsageError
from kflow.evaluate.parity.log import AccountLog, Fill, Order
from kflow.units import Size, format_size


def combined(told: AccountLog, venue: AccountLog) -> AccountLog:
    """What a client knows of its orders (when it sent what, and what was refused) with what the venue says came of it.

    Orders are the same that have one id, or one client's id. Of those that the venue does not list, what the client
    heard counts; one it heard nothing of was not taken.
    """
    by_id = {order.order: order for order in told.orders}
    by_client = {order.client: order for order in told.orders if order.client}
    known = {order.order: by_id.get(order.order) or by_client.get(order.client or "") for order in venue.orders}
    found = [
        order if (own := known[order.order]) is None else _with_what_client_knows(order, own) for order in venue.orders
    ]
    met = {own.order for own in known.values() if own is not None}
    found += [
        replace(order, refused=order.refused or "the venue does not list it", fills=(), filled=None)
        for order in told.orders
        if order.order not in met
    ]
    found.sort(key=lambda order: order.us)
    settled = {**told.settled, **venue.settled}
    source = f"{told.source} and {venue.source}"
    return AccountLog(tuple(found), venue.before or told.before, venue.after or told.after, settled, source)


def _with_what_client_knows(order: Order, own: Order) -> Order:
    # After an amendment the venue shows the last price and size only; what it was sent with is the client's to say.
    return replace(
        order,
        price=own.price,
        size=own.size,
        sent_us=own.sent_us,
        answered_us=own.answered_us,
        immediate=own.immediate,
        post_only=own.post_only,
        reduce_only=own.reduce_only,
        expires_us=order.expires_us if order.expires_us is not None else own.expires_us,
        cancel_sent_us=own.cancel_sent_us,
        cancelled_us=order.cancelled_us if order.cancelled_us is not None else own.cancelled_us,
        amends=own.amends,
    )


def on_one_clock(log: AccountLog) -> tuple[AccountLog, int]:
    """The same with the client's moments on the venue's clock, and by how much they were moved, µs.

    No order arrives before it is sent or after it is answered: of all orders the narrowest such bounds. Clocks that fit
    them are left alone; others are moved to their middle, or as little as can be where no answer is told.
    """
    pairs = [order for order in log.orders if order.sent_us is not None and not order.guessed]
    most = min((order.us - (order.sent_us or 0) for order in pairs), default=0)
    least = max((order.us - order.answered_us for order in pairs if order.answered_us is not None), default=None)
    if most >= 0 and (least is None or least <= 0):
        return log, 0
    shift = most if least is None else (least + most) // 2
    return replace(log, orders=tuple(sorted((_moved(o, shift) for o in log.orders), key=lambda o: o.us))), shift


def _moved(order: Order, shift: int) -> Order:
    def moved(us: int | None) -> int | None:
        return None if us is None else us + shift

    return replace(
        order,
        us=order.us + shift if order.guessed else order.us,
        sent_us=moved(order.sent_us),
        answered_us=moved(order.answered_us),
        cancel_sent_us=moved(order.cancel_sent_us),
        amends=tuple(amend._replace(sent_us=moved(amend.sent_us)) for amend in order.amends),
    )


def since(log: AccountLog, earlier: AccountLog) -> AccountLog:
    """What happened after an earlier log of the same account: it begins with what the account had then.

    Raises UsageError where the earlier log does not say.
    """
    if earlier.after is None:
        raise UsageError(f"{earlier.source} does not say what the account had", hint="kflow parity --save writes one")
    known = {_key(order, fill) for order in earlier.orders for fill in order.fills}
    over = {order.order for order in earlier.orders if _over(order)}
    kept = []
    for order in log.orders:
        fresh = tuple(fill for fill in order.fills if _key(order, fill) not in known)
        if fresh or order.order not in over:
            earlier_got = order.got - sum(fill.size for fill in fresh)
            filled = None if order.filled is None else order.filled - earlier_got
            kept.append(replace(order, fills=fresh, filled=filled))
    return replace(log, orders=tuple(kept), before=earlier.after)


def _key(order: Order, fill: Fill) -> tuple[str, str]:
    """What tells a fill: the venue's id of its trade, or its moment where a log has none."""
    return order.order, fill.trade or str(fill.us)


def _over(order: Order) -> bool:
    return order.refused is not None or order.cancelled_us is not None or order.got >= order.size


def checked(log: AccountLog) -> list[str]:
    """Where a log contradicts itself, in words: an order's fills do not add up, or a trade stands there twice."""
    found = []
    seen: set[tuple[str, str]] = set()
    for order in log.orders:
        if order.filled is not None and order.filled != order.got:
            filled, got = format_size(Size(order.filled)), format_size(Size(order.got))
            found.append(f"order {order.order} was filled {filled} by the venue's count, and its fills add up to {got}")
        for fill in order.fills:
            if fill.trade and (fill.trade, order.order) in seen:
                found.append(f"trade {fill.trade} of order {order.order} is listed twice")
            seen.add((fill.trade, order.order))
    return found
