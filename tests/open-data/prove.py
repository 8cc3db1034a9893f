"""Public data, none of it made by hand, a million records a set, through a real Kafka and `pipe`.

What comes out is compared with what DuckDB and pandas make of the same records, and undeclared fields with the bytes that
went in. `scripts/open-data.sh` fetches the data, starts the broker and runs this; the exit status is 1 on any difference.
"""

import glob
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import duckdb
import pandas
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PIPE = os.environ["PIPE"]
BROKERS = os.environ["KAFKA_BROKERS"]
DATA = pathlib.Path(os.environ["DATA"])
WORK = pathlib.Path(os.environ["WORK"])
COUNT = int(os.environ.get("RECORDS", "1000000"))
PARTITIONS = 4
MINUTES = 15

differences = []


def check(what, ok, told=""):
    """Notes a difference."""
    if not ok:
        differences.append(what)
        print(f"  DIFFERENT {what}: {str(told)[:2000]}")


# ---- JSON to the byte: an own splitter, which knows neither the engine's nor another parser's way with spans.

DECODER = json.JSONDecoder(strict=False)
BLANK = re.compile(r"[ \t\n\r]*")


def skip(text, at):
    return BLANK.match(text, at).end()


def members(text):
    """The members of an object as (name, raw key, raw value), in their order."""
    at = skip(text, 0)
    assert text[at] == "{", text[:80]
    at = skip(text, at + 1)
    found = []
    while text[at] != "}":
        name, end = DECODER.raw_decode(text, at)
        key = text[at:end]
        at = skip(text, end)
        assert text[at] == ":"
        at = skip(text, at + 1)
        _, end = DECODER.raw_decode(text, at)
        found.append((name, key, text[at:end]))
        at = skip(text, end)
        if text[at] == ",":
            at = skip(text, at + 1)
    return found


def kept(given, got, columns):
    """Whether a record that came out is the one that went in: declared columns by value, the others by bytes."""
    before, after = members(given), members(got)
    undeclared = [(key, value) for name, key, value in before if name not in columns]
    rest = [(key, value) for name, key, value in after if name not in columns]
    if undeclared != rest:
        return f"undeclared {undeclared[:3]} became {rest[:3]}"
    before = {name: value for name, _, value in before}
    after = {name: value for name, _, value in after}
    for name, kind in columns.items():
        value = before.get(name, "null")
        if value == "null":
            if name in after:
                return f"{name}: null became {after[name][:80]}"
        elif name not in after:
            return f"{name}: {value[:80]} is gone"
        elif isinstance(kind, dict):
            told = kept(value, after[name], kind)
            if told:
                return f"{name}: {told}"
        elif kind == "json":
            if after[name] != value:
                return f"{name}: {value[:80]} became {after[name][:80]}"
        elif json.loads(value) != json.loads(after[name]):
            return f"{name}: {value[:80]} became {after[name][:80]}"
    return ""


# ---- Kafka


def topics(*names):
    admin = AdminClient({"bootstrap.servers": BROKERS})
    made = admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names])
    for future in made.values():
        future.result(30)


def produce(topic, base):
    """Writes the records over and over, each with its number as its key and in a header."""
    producer = Producer({"bootstrap.servers": BROKERS, "linger.ms": 50, "queue.buffering.max.messages": 200000})
    base = [record.encode() for record in base]
    for n in range(COUNT):
        key = b"%d" % n
        while True:
            try:
                producer.produce(topic, base[n % len(base)], key, headers=[("n", key)], partition=n % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.1)
        if n % 10000 == 0:
            producer.poll(0)
    assert producer.flush(120) == 0


def consume(topic):
    """Every committed record of a topic: (key, value, headers)."""
    consumer = Consumer({"bootstrap.servers": BROKERS, "group.id": "prove", "enable.auto.commit": False})
    ends, left = {}, 0
    for partition in range(PARTITIONS):
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, partition), 30)
        ends[partition] = high
        left += high - low
    consumer.assign([TopicPartition(topic, partition, 0) for partition in ends])
    until = time.time() + 300
    while left > 0 and time.time() < until:
        for message in consumer.consume(10000, 1.0):
            assert message.error() is None, message.error()
            left -= 1
            yield message.key(), message.value(), message.headers()
    consumer.close()
    check(f"{topic} was read to its end", left == 0, left)


def run(name, pipeline):
    """Runs a pipeline until it has read all; its summary, and the seconds that it took."""
    folder = WORK / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(json.dumps(pipeline))
    started = time.time()
    command = [PIPE, "run", "--until-end", "--log-format", "json", "--admin", "off", "pipeline.yaml"]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=MINUTES * 60)
    seconds = time.time() - started
    assert ended.returncode == 0, ended.stderr[-3000:]
    done = [line for line in ended.stderr.splitlines() if '"done"' in line]
    return json.loads(done[-1])["summary"], seconds


def source(topic, form):
    return {"kafka": {"brokers": BROKERS, "topics": [topic]}, "format": form, "metadata": ["key", "headers"]}


def sink(of, topic, form):
    kafka = {"brokers": BROKERS, "topic": topic}
    if form == "json":
        kafka["key"] = "_key"
    return {"from": of, "kafka": kafka, "format": form}


def told(name, summary, seconds, base):
    read = summary["sources"][0]
    out = ", ".join(f"{sink['name']} {sink['written']}" for sink in summary["sinks"])
    print(f"{name}: {len(base)} records of the set; in {read['read']}, out {out}, "
          f"dead letters {read['dead_lettered']}; {seconds:.1f} s, {read['read'] / seconds:,.0f} records/s")
    check(f"{name}: every record was read", read["read"] == COUNT, read)


def compare_json(name, base, columns, keep=lambda record: True, filters=None):
    """A set of JSON: kept whole (`json` with `_rest`) and as it came (`original`), filtered where that is asked for."""
    topics(f"{name}-in", f"{name}-kept", f"{name}-original")
    produce(f"{name}-in", base)
    form = {"json": {"unknown": "keep", "columns": yaml_columns(columns)}}
    pipeline = {"name": name, "sources": {"in": source(f"{name}-in", form)}, "sinks": {
        "kept": sink("some" if filters else "in", f"{name}-kept", "json"),
        "original": sink("some" if filters else "in", f"{name}-original", "original")}}
    if filters:
        pipeline["stages"] = {"some": {"from": "in", "use": "filter", "config": {"all": filters}}}
    summary, seconds = run(name, pipeline)
    told(name, summary, seconds, base)
    is_kept = [keep(json.loads(record)) for record in base]
    wanted = {n for n in range(COUNT) if is_kept[n % len(base)]}
    first, seen = {}, set()
    for key, value, headers in consume(f"{name}-kept"):
        n = int(key)
        seen.add(n)
        check(f"{name}: headers of {n}", headers == [("n", key)], headers)
        text = value.decode()
        known = first.setdefault(n % len(base), text)
        if known is text:
            wrong = kept(base[n % len(base)], text, columns)
            check(f"{name}: kept record {n}", not wrong, wrong)
        else:
            check(f"{name}: record {n} as its other copies", known == text, text)
        if len(differences) > 20:
            return first
    check(f"{name}: kept records", seen == wanted, f"{len(seen)} of {len(wanted)}")
    seen = set()
    for key, value, headers in consume(f"{name}-original"):
        n = int(key)
        seen.add(n)
        same = value == base[n % len(base)].encode() and headers == [("n", key)]
        check(f"{name}: original record {n}", same, value[:200])
        if len(differences) > 20:
            return first
    check(f"{name}: original records", seen == wanted, f"{len(seen)} of {len(wanted)}")
    return first


def yaml_columns(columns):
    return {name: yaml_columns(kind) if isinstance(kind, dict) else kind for name, kind in columns.items()}


def lines(records, path):
    """The records as a file that DuckDB reads, one a line."""
    path.write_text("".join(json.dumps(json.loads(record, strict=False)) + "\n" for record in records))
    return str(path)


# ---- The sets


def webhooks():
    """Real GitHub webhooks: unions, nesting, members of which each event has its own."""
    path = glob.glob(str(DATA / "webhooks/**/api.github.com/index.json"), recursive=True)[0]
    text = pathlib.Path(path).read_text()
    base = []
    at = skip(text, 0) + 1
    while text[skip(text, at)] != "]":
        at = skip(text, at)
        _, end = DECODER.raw_decode(text, at)
        event = {name: value for name, _, value in members(text[at:end])}
        inner = event["examples"]
        within = skip(inner, 0) + 1
        while inner[skip(inner, within)] != "]":
            within = skip(inner, within)
            _, stop = DECODER.raw_decode(inner, within)
            base.append(inner[within:stop])
            within = skip(inner, stop)
            within = within + 1 if inner[within] == "," else within
        at = skip(text, end)
        at = at + 1 if text[at] == "," else at
    columns = {"action": "utf8", "sender": {"login": "utf8", "id": "int64"},
               "repository": {"full_name": "utf8", "private": "boolean", "owner": "json"}}
    first = compare_json("webhooks", base, columns, lambda record: record.get("action") == "created",
                         [{"column": "action", "op": "eq", "value": "created"}])
    given = lines(base, WORK / "webhooks.in.jsonl")
    got = lines(first.values(), WORK / "webhooks.out.jsonl")
    asked = """select count(*), sum((r->'sender'->>'id')::bigint), count(distinct r->'repository'->>'full_name'),
               count(*) filter (r->'repository'->>'private' = 'true')
               from read_json_objects('{}', format='newline_delimited', maximum_object_size=100000000) t(r)
               where r->>'action' = 'created'"""
    before, after = duckdb.sql(asked.format(given)).fetchall(), duckdb.sql(asked.format(got)).fetchall()
    print(f"  DuckDB of the events that were created: {before[0]}")
    check("webhooks: as DuckDB counts them", before == after, (before, after))


def compatibility():
    """Statements of which browser supports what: `version_added` is a text, a boolean or null."""
    path = glob.glob(str(DATA / "compat/**/data.json"), recursive=True)[0]
    text = pathlib.Path(path).read_text()
    base = []
    for found in re.finditer(r'\{"version_added"', text):
        _, end = DECODER.raw_decode(text, found.start())
        base.append(text[found.start():end])
    guess = subprocess.run([PIPE, "columns", lines(base[:10000], WORK / "compat.jsonl")], capture_output=True,
                           text=True, timeout=120, check=True).stdout
    suggested = [line for line in guess.splitlines() if "version_added" in line]
    print(f"  pipe columns: {suggested[0].strip() if suggested else guess[:300]}")
    check("compatibility: `pipe columns` finds three types", suggested and "json" in suggested[0], guess[:500])
    compare_json("compatibility", base, {"version_added": "json", "notes": "json", "partial_implementation": "boolean"})
    asked = "select json_type(r->'version_added') k, count(*) from read_json_objects('{}', format='newline_delimited') t(r) group by 1 order by 1"
    print(f"  DuckDB of version_added: {duckdb.sql(asked.format(lines(base, WORK / 'compat.all.jsonl'))).fetchall()}")


def same(frame, got, name):
    """Whether two frames of pandas are equal, value by value."""
    frame = frame.reset_index(drop=True)
    got = got[list(frame.columns)].reset_index(drop=True)
    for column in frame.columns:
        equal = (frame[column] == got[column]) | (frame[column].isna() & got[column].isna())
        if not equal.all():
            at = equal.idxmin()
            check(f"{name}: column {column}", False, (at, frame[column][at], got[column][at]))
    return len(frame)


def flights():
    """A table with NA, and local times: those of New York, of which the file knows the moments."""
    path = glob.glob(str(DATA / "flights/**/weather.csv"), recursive=True)[0]
    rows = pathlib.Path(path).read_text().splitlines()
    names = rows[0].split(",")
    table = pandas.read_csv(path)
    local = (table.year.astype(str) + "-" + table.month.astype(str).str.zfill(2) + "-"
             + table.day.astype(str).str.zfill(2) + " " + table.hour.astype(str).str.zfill(2) + ":00:00")
    base = [f"{row},{moment}" for row, moment in zip(rows[1:], local)]
    whole = ("year", "month", "day", "hour", "wind_dir")
    kinds = {name: "utf8" if name == "origin" else "int64" if name in whole else "float64" for name in names[:-1]}
    kinds["time_hour"] = "timestamp(ms, UTC)"
    kinds["local"] = {"type": "timestamp(ms, UTC)", "accept": [{"zone": "America/New_York", "ambiguous": "earlier"}]}
    topics("weather-in", "weather-out", "weather-original")
    produce("weather-in", base)
    form = {"csv": {"nulls": ["", "NA"], "columns": kinds}}
    pipeline = {"name": "weather", "sources": {"in": source("weather-in", form)}, "sinks": {
        "rows": sink("in", "weather-out", "json"), "original": sink("in", "weather-original", "original"),
        "table": {"from": "in", "file": {"path": "out/weather"}, "format": "parquet"}}}
    summary, seconds = run("weather", pipeline)
    told("weather", summary, seconds, base)
    seen, first = set(), {}
    for key, value, _ in consume("weather-out"):
        n = int(key)
        seen.add(n)
        known = first.setdefault(n % len(base), value)
        check(f"weather: record {n} as its other copies", known == value, value)
    check("weather: rows", seen == set(range(COUNT)), len(seen))
    seen = set()
    for key, value, _ in consume("weather-original"):
        n = int(key)
        seen.add(n)
        check(f"weather: original {n}", value == base[n % len(base)].encode(), value)
    check("weather: originals", seen == set(range(COUNT)), len(seen))
    got = pandas.DataFrame([json.loads(first[n]) for n in sorted(first)])
    moments = pandas.to_datetime(local).dt.tz_localize("America/New_York", ambiguous=[True] * len(local))
    moments = moments.dt.tz_convert("UTC")
    frame = table[[name for name in names if name != "time_hour"]].loc[sorted(first)]
    count = same(frame, got, "weather")
    ours = pandas.to_datetime(got["local"], utc=True)
    wrong = (ours.reset_index(drop=True) != moments.loc[sorted(first)].reset_index(drop=True)).sum()
    check("weather: local times as pandas has them", wrong == 0, wrong)
    hours = pandas.to_datetime(table.time_hour, utc=True).loc[sorted(first)].reset_index(drop=True)
    apart = (ours.reset_index(drop=True) != hours).sum()
    print(f"  pandas: {count} rows equal but for the above, {int(frame.isna().sum().sum())} nulls; "
          f"{apart} local hours are the later of two")
    query = f"select count(*), sum(temp), count(wind_gust), min(local), max(local) from read_parquet('{WORK}/weather/out/weather*/**/*.parquet')"
    try:
        rows_out = duckdb.sql(query).fetchall()[0]
    except duckdb.IOException:
        rows_out = duckdb.sql(query.replace("weather*/**/*.parquet", "weather*.parquet")).fetchall()[0]
    print(f"  DuckDB of the Parquet files: {rows_out}")
    check("weather: rows of the Parquet files", rows_out[0] == COUNT, rows_out)


def main():
    for proof in (webhooks, compatibility, flights):
        try:
            proof()
        except Exception as error:  # the other sets are proven all the same
            check(f"{proof.__name__} ran", False, repr(error))
    print("equal" if not differences else f"{len(differences)} differences")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
