"""The guest of the crossing benchmark in Python.

`config` is `{"mode": ".."}`, with the meanings of tests/guests/crossing: `nothing` reads no column, `in` reads all,
`out` gives all back, `filter` keeps the rows with `status >= 500` or `latency > 100` over an `int64` and a `float64`
column.
"""

import json

from wit_world import exports
from wit_world.exports import transform as t
from wit_world.imports import arrow as a

MODES = ["nothing", "in", "out", "filter"]
# An instance is bound once, before any batch.
mode = ""


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
        reads = {"nothing": [], "in": every, "out": every, "filter": [0, 1]}[mode]
        if mode == "out":
            columns = [t.OutputColumn_Computed([field]) for field in input.fields]
        else:
            columns = [t.OutputColumn_Passed(t.Passed(index, None)) for index in every]
        return t.Binding(reads, [t.Output("out", columns)])

    def process(self, input: a.RecordBatch) -> t.Outcome:
        rows, computed = t.Selection_EveryRow(), []
        if mode == "filter":
            status = memoryview(input.arrays[0].buffers[1]).cast("q").tolist()
            latency = memoryview(input.arrays[1].buffers[1]).cast("d").tolist()
            pairs = enumerate(zip(status, latency))
            rows = t.Selection_Take([row for row, (code, took) in pairs if took > 100.0 or code >= 500])
        elif mode == "out":
            computed = input.arrays
        return t.Outcome([t.Emission(0, rows, computed)], [])
