"""The guest of the crossing benchmark in Python.

`config` is `{"mode": ".."}`, with the meanings of tests/guests/crossing: `nothing` reads no column, `in` reads all,
`out` gives all back, `filter` keeps the rows with `status >= 500` or `latency > 100` over an `int64` and a `float64`
column; `rows` does so in the plain way.
"""

import json
import struct
from functools import lru_cache

from wit_world import exports
from wit_world.exports import transform as t
from wit_world.imports import arrow as a

MODES = ["nothing", "in", "out", "filter", "rows"]
# An instance is bound once, before any batch.
mode = ""


def by_rows(status: bytes, latency: bytes, rows: int) -> t.Selection:
    """The rows that the filter keeps, as one writes it."""
    pairs = enumerate(zip(memoryview(status).cast("q").tolist(), memoryview(latency).cast("d").tolist()))
    return t.Selection_Take([row for row, (code, took) in pairs if took > 100.0 or code >= 500])


def word(value: float) -> int:
    """The bits of a float64: as integers they are ordered as the numbers from 0 on, infinity last of those."""
    return struct.unpack("<q", struct.pack("<d", value))[0]


@lru_cache(maxsize=16)
def each(rows: int, value: int) -> int:
    """The same 64 bits in every row."""
    return int.from_bytes(value.to_bytes(8, "little") * rows, "little")


def by_column(status: bytes, latency: bytes, rows: int) -> t.Selection:
    """The same without a step of the interpreter a row: a column is one integer of 64 bits a row, and a few operations
    on such integers compare all rows at once. The topmost bit of a row's 64 holds the answer."""
    tops = each(rows, 1 << 63)

    def at_least(column: int, limit: int) -> int:
        # With its own topmost bit set, a row borrows nothing from its neighbour; the bit stays where the rest of the
        # row is at least the limit. Where it was set already, the number is negative, and below.
        return ((column | tops) - each(rows, limit)) & ~column & tops

    codes, took = int.from_bytes(status, "little"), int.from_bytes(latency, "little")
    slow = at_least(took, word(100.0) + 1) & ~at_least(took, word(float("inf")) + 1)
    kept = at_least(codes, 500) | slow
    # A byte a row, the last row first, then a digit a row, then a bit a row.
    digits = kept.to_bytes(8 * rows, "big")[::8].translate(DIGITS)
    return t.Selection_Mask((int(digits, 2) if rows else 0).to_bytes((rows + 7) // 8, "little"))


# Bytes below 128 become the digit 0, the others 1.
DIGITS = b"0" * 128 + b"1" * 128
FILTERS = {"filter": by_column, "rows": by_rows}


class Transform(exports.Transform):
    def describe(self) -> t.Description:
        schema = {
            "type": "object",
            "properties": {"mode": {"enum": MODES}},
            "required": ["mode"],
            "additionalProperties": False,
        }
        return t.Description(
            "python-crossing",
            "0.1.0",
            "Does nothing, reads, gives back or filters",
            json.dumps(schema),
            "componentize-py, no SDK",
        )

    def bind(self, input: a.Schema, config: str) -> t.Binding:
        global mode
        mode = json.loads(config)["mode"]
        every = list(range(len(input.fields)))
        reads = {"nothing": [], "in": every, "out": every, "filter": [0, 1], "rows": [0, 1]}[mode]
        if mode == "out":
            columns = [t.OutputColumn_Computed([field]) for field in input.fields]
        else:
            columns = [t.OutputColumn_Passed(t.Passed(index, None)) for index in every]
        return t.Binding(reads, [t.Output("out", columns)])

    def process(self, input: a.RecordBatch) -> t.Outcome:
        rows, computed = t.Selection_EveryRow(), []
        if mode in FILTERS:
            status, latency = (array.buffers[1] for array in input.arrays)
            rows = FILTERS[mode](status, latency, input.length)
        elif mode == "out":
            computed = input.arrays
        return t.Outcome([t.Emission(0, rows, computed)], [])
