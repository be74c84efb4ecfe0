"""Training: markets as episodes, many accounts at once, and what learns on them; Gymnasium is told of them."""

from importlib.util import find_spec

# Tapes, columns and made-up worlds serve without the extra `train` too.
if find_spec("gymnasium"):
    from kflow.rl.register import register

    register()
