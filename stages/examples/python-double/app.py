"""Reads one float64 column and computes its double: plain Python over memory views, no SDK.

`config` is `{"column": "latency_ms"}`; the new column is `<column>_doubled`.
"""

import json
import os
import sys
from array import array

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports import transform as t
from wit_world.imports import arrow as a


def probe() -> str:
    """What a stage can reach of the machine: nothing, and this says so."""

    def attempt(action) -> str:
        try:
            action()
            return "allowed"
        except BaseException:  # Whatever form the refusal takes, it is one.
            return "refused"

    def connect():
        import socket

        socket.create_connection(("127.0.0.1", 9), timeout=1)

    return "; ".join(
        [
            f"file: {attempt(lambda: open('/etc/hostname').close())}",
            f"folder: {attempt(lambda: os.listdir('/'))}",
            f"variables: {len(os.environ)}",
            f"arguments: {max(len(sys.argv) - 1, 0)}",
            f"socket: {attempt(connect)}",
        ]
    )


class Transform(exports.Transform):
    def describe(self) -> t.Description:
        schema = {
            "type": "object",
            "properties": {
                "column": {"description": "The float64 column.", "type": "string"},
                "probe": {"description": "Try what the sandbox denies and refuse with a report.", "type": "boolean"},
            },
            "required": ["column"],
            "additionalProperties": False,
        }
        return t.Description(
            "python-double", "0.1.0", "Doubles a float64 column", json.dumps(schema), "componentize-py, no SDK"
        )

    def bind(self, input: a.Schema, config: str) -> t.Binding:
        settings = json.loads(config)
        if settings.get("probe"):
            raise Err(probe())
        column = settings.get("column")
        # Top-level columns are the fields that are nobody's child.
        columns, pending = [], 0
        for field in input.fields:
            if pending > 0:
                pending -= 1
            else:
                columns.append(field)
            pending += field.children
        names = [field.name for field in columns]
        if column not in names:
            raise Err(f"there is no column `{column}`; the input has {', '.join(names)}")
        index = names.index(column)
        if not isinstance(columns[index].data_type, a.DataType_Float64):
            raise Err(f"column `{column}` is not float64")
        passed = [t.OutputColumn_Passed(t.Passed(i, None)) for i in range(len(columns))]
        doubled = a.Field(f"{column}_doubled", a.DataType_Float64(), columns[index].nullable, 0, [])
        return t.Binding([index], [t.Output("out", [*passed, t.OutputColumn_Computed([doubled])])])

    def process(self, input: a.RecordBatch) -> t.Outcome:
        column = input.arrays[0]
        values = memoryview(column.buffers[1]).cast("d")
        doubled = array("d", [value * 2 for value in values])
        computed = a.Array(column.length, column.null_count, [column.buffers[0], doubled.tobytes()])
        return t.Outcome([t.Emission(0, t.Selection_EveryRow(), [computed])], [])
