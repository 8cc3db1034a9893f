"""Reads each file of the suites with `pipe` and with pyarrow; one line a file, then the totals. See scripts/suites.sh."""

import glob
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

MEMORY_MIB = 256
# Files on which the suite's own page says otherwise than pyarrow.
PYARROW_IS_WRONG = {
    "int96_from_spark.parquet": "the page says 290000-12-31T01:00:00+02:00, which pyarrow wraps into the past",
    "incorrect_map_schema.parquet": "a map of Presto whose keys are not marked as required, which pyarrow refuses",
}
# What a call of `pipe` may take beside the 5 s in which a damaged file is to be refused: its start.
SECONDS = 6


def call(arguments, folder):
    """Runs a command: its exit code (None: it took too long), what it said, its seconds, its largest memory in MiB."""
    began = time.monotonic()
    child = subprocess.Popen(arguments, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = []
    reader = threading.Thread(target=lambda: said.append(child.stderr.read()))
    reader.start()
    late = threading.Timer(SECONDS, child.kill)
    late.start()
    _, status, usage = os.wait4(child.pid, 0)
    late.cancel()
    reader.join()
    child.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    code = None if child.returncode == -9 else child.returncode
    return code, b"".join(said).decode(errors="replace"), seconds, usage.ru_maxrss / 1024


def reason(said):
    """The first error among what was said, without colours."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", said)
    found = re.search(r"\b([SPCDKX]\d{3})\b[\]: ]*(.*(?:\n(?!.*\b[SPCDKX]\d{3}\b).*){0,3})", said)
    return " ".join(found.group(0).split())[:300] if found else ""


def plain(value):
    """A value in which NaN equals NaN, and maps and pairs are alike."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def values(column):
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        return values(column.cast(kind.value_type))
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        width = pa.int32() if kind.bit_width == 32 else pa.int64()
        return [str(kind)] + column.view(width).to_pylist() if isinstance(column, pa.Array) else [str(kind)] + [
            value for chunk in column.chunks for value in chunk.view(width).to_pylist()
        ]
    return plain(column.to_pylist())


def compare(kind, path, out):
    """What pyarrow reads of the file and of what `pipe` wrote: "" where they are equal."""
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

    try:
        if kind == "parquet":
            theirs = pyarrow.parquet.ParquetFile(path, coerce_int96_timestamp_unit="us").read()
        else:
            theirs = pa.ipc.open_file(path).read_all()
        theirs.validate()
    except Exception as e:
        return f"pyarrow refuses it: {' '.join(str(e).split())[:200]}"
    files = sorted(glob.glob(os.path.join(out, "*.arrow")))
    ours = [pa.ipc.open_file(file).read_all() for file in files]
    if not ours:
        return "" if theirs.num_rows == 0 else f"no row, and pyarrow reads {theirs.num_rows}"
    ours = pa.concat_tables(ours)
    if ours.num_rows != theirs.num_rows:
        return f"{ours.num_rows} rows, and pyarrow reads {theirs.num_rows}"
    if ours.column_names != theirs.column_names:
        return f"columns {ours.column_names}, and pyarrow reads {theirs.column_names}"
    for i, name in enumerate(ours.column_names):
        a, b = ours.column(i), theirs.column(i)
        if a.type == b.type and a.equals(b):
            continue
        try:
            same = a.cast(b.type).equals(b) if a.type != b.type else False
        except Exception:
            same = False
        if not same and values(a) != values(b):
            return f"column {name} ({a.type}, in pyarrow {b.type})"
    return ""


def look(pipe, kind, path):
    """The outcome of a file and its detail."""
    folder = tempfile.mkdtemp(prefix="suites-")
    try:
        shutil.copy(path, os.path.join(folder, "input"))
        pipeline = {
            "name": "suite",
            "memory": f"{MEMORY_MIB}MiB",
            "sources": {"in": {"file": {"path": "input"}, "format": kind}},
            "sinks": {"out": {"from": "in", "file": {"path": "out"}, "format": "arrow_ipc"}},
        }
        with open(os.path.join(folder, "pipeline.yaml"), "w") as file:
            json.dump(pipeline, file)
        for arguments in (["check"], ["run", "--until-end"]):
            code, said, seconds, mib = call([pipe, *arguments, "pipeline.yaml"], folder)
            what = f"{arguments[0]}: {reason(said)}"
            if code is None:
                return "HANGS", what
            if code not in (0, 1, 2) or "panicked" in said or "X004" in said:
                return "PANICS", f"exit code {code}, {what} {said[-200:]}"
            if mib > MEMORY_MIB:
                return "MEMORY", f"{mib:.0f} MiB, {what}"
            if code != 0:
                return ("refused", what) if reason(said) else ("NO REASON", said[-200:])
        own = [sys.executable, __file__, "--compare", kind, path, os.path.join(folder, "out")]
        try:
            done = subprocess.run(own, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            return "pyarrow fails", "it does not end"
        if done.returncode != 0:
            return "pyarrow fails", (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        if done.stdout.strip() and os.path.basename(path) in PYARROW_IS_WRONG:
            return "pyarrow is wrong", PYARROW_IS_WRONG[os.path.basename(path)]
        return ("DIFFERS", done.stdout.strip()) if done.stdout.strip() else ("equal", "")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def files(folders):
    """Each file of the suites, with its format."""
    for folder in folders:
        for base, inner, names in os.walk(folder):
            inner.sort()
            for name in sorted(names):
                path = os.path.join(base, name)
                if "/arrow-ipc-" in path and "tensor" not in path and not name.endswith((".gz", ".json", ".md")):
                    yield "arrow_ipc", path
                elif name.endswith((".parquet", ".parquet.encrypted")) or "/parquet/fuzzing/" in path:
                    yield "parquet", path


def main():
    if sys.argv[1] == "--compare":
        print(compare(*sys.argv[2:]))
        return 0
    pipe, folders = os.path.abspath(sys.argv[1]), sys.argv[2:]
    totals = {}
    for kind, path in files(folders):
        outcome, detail = look(pipe, kind, path)
        print(f"{outcome}\t{kind}\t{path}\t{detail}", flush=True)
        totals[outcome] = totals.get(outcome, 0) + 1
    print("\n" + "\n".join(f"{n}\t{outcome}" for outcome, n in sorted(totals.items())))
    return 1 if any(outcome.isupper() for outcome in totals) else 0


if __name__ == "__main__":
    sys.exit(main())
