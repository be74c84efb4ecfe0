"""How long the guard looks at an order that passes every check, and how long it takes to put its facts together.

    python bench/guard.py [--quick]

The JSON's ratio is the time of a check over that of its facts.
"""

from __future__ import annotations

import uuid
from dataclasses import fields

from measure import alternate, arguments, repeats, report

from kflow.act.guard import Facts, Open, check
from kflow.act.limits import Limits
from kflow.act.orders import Intent
from kflow.act.pace import Pace
from kflow.act.standing import Standing
from kflow.market.fees import FeeSchedule
from kflow.market.grid import Grid

LIMITS = Limits()
INTENT = Intent(
    run=uuid.UUID(int=7), number=1, market="M", action="BUY_YES 10", side=0, price=4_500, size=1_000, immediate=True,
    decided_us=0, version=1, digest="", epoch=5, limits=LIMITS.sha256,
)  # fmt: skip
# Half of the open orders that a market may have.
FACTS = Facts(
    standing=Standing.ACTIVE, epoch=5, market_open=True, frozen=False, now_us=0, close_us=10**12,
    grid=Grid.named("linear_cent"), fees=FeeSchedule.parse("quadratic", 1).whole(), book_valid=True, book_age_us=0,
    bid=4_400, ask=4_500, finite=True, observed_us=0, verified=True, position=0,
    own=(Open(0, 4_300, 100), Open(1, 5_400, 100)), orders=2, cash=10**9, market_risk=0, event_risk=0, total_risk=0,
    today=0, drawdown=0, pace=Pace(LIMITS).of(INTENT, 0),
)  # fmt: skip


def main() -> None:
    assert __doc__ is not None
    options = arguments(__doc__.splitlines()[0]).parse_args()
    orders = 2_000 if options.quick else 50_000
    known = {item.name: getattr(FACTS, item.name) for item in fields(Facts)}
    pace = Pace(LIMITS)

    def checks() -> int:
        for _ in range(orders):
            assert check(INTENT, FACTS, LIMITS) is None
        return orders

    def facts() -> int:
        for _ in range(orders):
            Facts(**known)
            pace.of(INTENT, 0)
        return orders

    medians = alternate({"check": checks, "facts": facts}, repeats(options))
    report("guard", medians, ratio=medians["check"].us_each / medians["facts"].us_each)


if __name__ == "__main__":
    main()
