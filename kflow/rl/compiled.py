"""Numba for this room: the sources of `policy` as it compiles them, and a cache that sees when any of them changed."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import platformdirs
from llvmlite import ir
from numba import core, njit, types
from numba.extending import intrinsic, register_jitable

from kflow.market import limits
from kflow.policy import actions, features
from kflow.sim import kernel

_config: Any = core.config
_njit: Any = njit  # its stubs do not know what is not meant for everybody
_HERE: Final = Path(__file__).parent
# All that is compiled into one another: numba itself looks at the file of the outermost function only.
SOURCES: Final = (
    *(Path(str(module.__file__)) for module in (limits, actions, features, kernel)),
    *(_HERE / name for name in ("columns.py", "stepping.py", "compiled.py")),
)

for _module in (limits, actions, features):
    for _function in vars(_module).values():
        if inspect.isfunction(_function) and _function.__module__ == _module.__name__:
            register_jitable(_function)


def _folder() -> str:
    """Where machine code lies that was made of these very sources."""
    root = _config.CACHE_DIR or platformdirs.user_cache_path("kflow") / "compiled"
    text = b"".join(source.read_bytes() for source in SOURCES)
    return str(Path(root) / hashlib.sha256(text).hexdigest()[:16])


_FOLDER: Final = _folder()


def cold() -> bool:
    """Whether nothing is compiled of these sources yet: what comes first takes a minute longer."""
    return not any(Path(_FOLDER).rglob("*.nbc"))


def compiled(function: Callable[..., Any], *, inline: bool = False) -> Any:
    """`numba.njit` as the kernel uses it, kept on disk by the hash of `SOURCES`. Such a function makes no array.

    It lets other threads run: batches share nothing, and one that judges plays several at once.
    """
    before = _config.CACHE_DIR
    _config.CACHE_DIR = _FOLDER
    try:
        return _njit(cache=True, forceinline=inline, _nrt=False, nogil=True)(function)
    finally:
        _config.CACHE_DIR = before


def inlined(function: Callable[..., Any]) -> Any:
    """The same, put into its callers: to pass all the arrays on costs more than a small function does."""
    return compiled(function, inline=True)


@intrinsic
def prefetch(_typing: Any, array: Any, _index: Any) -> Any:
    """Ask for the memory of element `_index` of an array in C order, before it is needed. Changes no result."""

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        of, at = context.make_array(array)(context, builder, arguments[0]), arguments[1]
        pointer = builder.bitcast(builder.gep(of.data, [at]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, number, number, number])
        ask = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        # To be read, soon again, data.
        builder.call(ask, [pointer, number(0), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), generate
