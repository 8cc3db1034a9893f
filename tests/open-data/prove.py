"""Public data through a real Kafka and `pipe`; what comes out is compared with what DuckDB or pandas makes of the same file.

scripts/open-data.sh starts the broker, fetches the data and calls this. Each set is produced as RECORDS records, each with
a key, headers and a time of its own, so that a record which is lost, doubled, changed or given another one's parts is seen.
"""

import argparse
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import confluent_kafka
import confluent_kafka.admin

import sets
import spans

PARTITIONS = 4
FIRST_TIME = 1_700_000_000_000
# Seconds until a wait is given up.
PATIENCE = 60
RUN_PATIENCE = 3600


def headers_of(name, n):
    return [("set", name.encode()), ("n", b"%d" % n), ("bytes", b"\xff\x00"), ("bytes", None), ("empty", b"")]


class Kafka:
    def __init__(self, brokers):
        self.brokers = brokers
        self.admin = confluent_kafka.admin.AdminClient({"bootstrap.servers": brokers})

    def make(self, *topics):
        made = self.admin.create_topics(
            [confluent_kafka.admin.NewTopic(t, num_partitions=PARTITIONS, replication_factor=1) for t in topics]
        )
        for future in made.values():
            future.result(timeout=PATIENCE)

    def remove(self, *topics):
        for future in self.admin.delete_topics(list(topics)).values():
            future.result(timeout=PATIENCE)

    def produce(self, topic, lines, records):
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": self.brokers,
                "compression.type": "zstd",
                "linger.ms": 20,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "queue.buffering.max.messages": 200_000,
                "queue.buffering.max.kbytes": 262_144,
            }
        )
        for n in range(records):
            record = dict(
                topic=topic,
                key=b"%d" % n,
                value=lines[n % len(lines)],
                headers=headers_of(topic, n),
                timestamp=FIRST_TIME + n,
            )
            while True:
                try:
                    producer.produce(**record)
                    break
                except BufferError:
                    producer.poll(0.1)
            if n % 1000 == 0:
                producer.poll(0)
        left = producer.flush(PATIENCE * 5)
        assert left == 0, f"{left} records were not delivered"

    def read(self, topic):
        """All records of a topic, in the order of each partition."""
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.brokers,
                "group.id": "prove",
                "enable.auto.commit": False,
                "enable.partition.eof": False,
                "queued.max.messages.kbytes": 131_072,
                "fetch.message.max.bytes": 8_388_608,
            }
        )
        try:
            known = consumer.list_topics(timeout=PATIENCE).topics
            if topic not in known:
                return
            places, left = [], 0
            for partition in known[topic].partitions:
                place = confluent_kafka.TopicPartition(topic, partition, 0)
                low, high = consumer.get_watermark_offsets(place, timeout=PATIENCE)
                places.append(place)
                left += high - low
            consumer.assign(places)
            waited = time.monotonic()
            while left > 0:
                records = consumer.consume(10_000, timeout=1)
                for record in records:
                    if record.error():
                        raise RuntimeError(record.error())
                    yield record
                left -= len(records)
                if records:
                    waited = time.monotonic()
                elif time.monotonic() - waited > PATIENCE:
                    raise RuntimeError(f"{topic}: {left} records did not come")
        finally:
            consumer.close()


class Differences:
    """Counts them, and keeps the first few to show."""

    def __init__(self, what):
        self.what, self.count, self.shown = what, 0, []

    def __call__(self, n, *words):
        self.count += 1
        if len(self.shown) < 5:
            self.shown.append(f"record {n}: " + " ".join(str(word) for word in words))


def number_of(record, differ):
    key = record.key()
    if key is None or not key.isdigit():
        differ("?", "another key:", key)
        return None
    return int(key)


def check_topic(kafka, topic, expected, differ, check, headers, source):
    """Each expected record is there once, in the order of its partition, and as `check` says; returns how many came."""
    seen = bytearray(len(expected))
    last = [-1] * PARTITIONS
    count = 0
    for record in kafka.read(topic):
        count += 1
        n = number_of(record, differ)
        if n is None:
            continue
        if n >= len(expected) or not expected[n]:
            differ(n, "was not to be there")
            continue
        if seen[n]:
            differ(n, "is there twice")
        seen[n] = 1
        if n < last[record.partition()]:
            differ(n, "comes after", last[record.partition()])
        last[record.partition()] = n
        check(n, record)
        found = record.headers() or []
        if headers(n) != found:
            differ(n, "has other headers:", found)
        if source and record.timestamp() != (confluent_kafka.TIMESTAMP_CREATE_TIME, FIRST_TIME + n):
            differ(n, "has another time:", record.timestamp())
    missing = sum(expected) - sum(seen)
    if missing:
        n = next(n for n in range(len(expected)) if expected[n] and not seen[n])
        differ(n, f"is missing, as are {missing - 1} others")
    return count


def instant(text):
    return datetime.datetime.fromisoformat(text)


def same(found, value):
    """Whether a value of JSON is what another program has."""
    if value is None or found is None:
        return value is None and found is None
    if isinstance(value, datetime.datetime):
        return isinstance(found, str) and instant(found) == value
    if isinstance(value, bool) or isinstance(found, bool):
        return value is found
    if isinstance(value, str):
        return found == value
    if isinstance(found, str):
        # A decimal is written as a text.
        return type(value).__name__ == "Decimal" and found == str(value)
    return found == value


class Kept:
    """Compares a JSON record that was written with the one that was read, and with the rows of another program."""

    def __init__(self, data, differ):
        self.data, self.differ = data, differ
        self.names, self.rows = data.rows()
        self.shown = getattr(data, "shown", lambda value: value)
        self.declared = spans.tree(data.columns)
        self.known = {}

    def __call__(self, n, record):
        i = n % len(self.data.lines)
        value = record.value()
        # What is the same text of the same line was compared before.
        if self.known.get(i) == value:
            return
        if self.compare(n, i, value):
            self.known[i] = value

    def compare(self, n, i, value):
        before = self.differ.count
        try:
            text = value.decode()
            found = json.loads(text)
        except ValueError as error:
            self.differ(n, "is no JSON:", error, value[:200])
            return False
        for name, expected in zip(self.names, self.rows[i]):
            at = found
            for part in name.split("."):
                at = at.get(part) if isinstance(at, dict) else None
            if not same(at, self.shown(expected)):
                self.differ(n, f"column {name}:", repr(at), "and by", self.data.reader, repr(expected))
        if self.data.keeps_unknown:
            line = self.data.lines[i].decode()
            for name, kind in self.data.columns.items():
                if kind == "JSON":
                    came, gone = spans.written_at(line, name), spans.written_at(text, name)
                    if came != gone:
                        self.differ(n, f"column {name}:", gone, "came as", came)
            came = self.data.as_kept(spans.undeclared(line, self.declared))
            gone = spans.undeclared(text, self.declared)
            if came != gone:
                self.differ(n, "undeclared fields:", gone, "came as", came)
        elif set(found) - set(self.data.columns):
            self.differ(n, "has other columns:", sorted(found))
        return self.differ.count == before


def check_lake(data, folder, records, differ):
    """The files of Parquet against the other program's table, each row by its key."""
    files = f"{folder}/*.parquet"
    of = {name: data.in_lake.get(name, name) for name in data.columns}
    lake = {name: as_ for name, as_ in of.items() if as_ is not None and data.columns[name] != "JSON"}
    data.duck.execute(
        f"CREATE OR REPLACE VIEW lake AS SELECT CAST(decode(_key) AS BIGINT) AS n, * FROM read_parquet('{files}')"
    )
    count, distinct = data.duck.execute("SELECT count(*), count(DISTINCT n) FROM lake").fetchone()
    if (count, distinct) != (records, records):
        differ("*", f"{count} rows of {distinct} records, expected {records}")
    unlike = " OR ".join(f'l."{as_}" IS DISTINCT FROM b."{name}"' for name, as_ in lake.items())
    unlike = data.duck.execute(
        f"SELECT l.n FROM lake l JOIN base b ON l.n % {len(data.lines)} = b.i WHERE {unlike} ORDER BY l.n"
    ).fetchall()
    for (n,) in unlike:
        pairs = ", ".join(f'l."{as_}", b."{name}"' for name, as_ in lake.items())
        values = ""
        if len(differ.shown) < 5:
            values = data.duck.execute(
                f"SELECT {pairs} FROM lake l JOIN base b ON l.n % {len(data.lines)} = b.i WHERE l.n = {n}"
            ).fetchone()
        differ(n, "Parquet:", values)
    json_columns = [(name, as_) for name, as_ in of.items() if as_ is not None and data.columns[name] == "JSON"]
    declared = spans.tree(data.columns)
    if data.keeps_unknown and of.keys() == {v for v in of.values()}:
        json_columns.append(("_rest", "_rest"))
    for name, as_ in json_columns:
        rows = data.duck.execute(f'SELECT n % {len(data.lines)} AS i, "{as_}", min(n) FROM lake GROUP BY ALL').fetchall()
        for i, found, n in rows:
            line = data.lines[i].decode()
            if name != "_rest":
                came = spans.written_at(line, name)
                gone = found
            else:
                came = data.as_kept(spans.undeclared(line, declared))
                gone = spans.undeclared(found, declared) if found is not None else ([], {})
            if came != gone:
                differ(n, f"Parquet: column {name}:", gone, "came as", came)


def run(pipe, pipeline, work, environment):
    """`pipe run --until-end`; returns its summary."""
    state = work / "state"
    command = [pipe, "run", "--until-end", "--log-format", "json", "--state", str(state), "--admin", "off", str(pipeline)]
    ended = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=RUN_PATIENCE, cwd=work
    )
    (work / f"{pipeline.stem}.log").write_text(ended.stderr)
    if ended.returncode != 0 or "panicked" in ended.stderr:
        sys.exit(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stderr[-4000:]}")
    for line in reversed(ended.stderr.splitlines()):
        if line.startswith("{") and isinstance(json.loads(line).get("summary"), dict):
            return json.loads(line)["summary"]
    sys.exit(f"no summary in:\n{ended.stderr[-4000:]}")


class Table:
    HEAD = ["set", "step", "in", "out", "dead letters", "compared with", "equal", "different", "seconds"]

    def __init__(self):
        self.rows, self.differences = [], []

    def add(self, data, step, came, out, letters, reader, compared, differ, seconds):
        equal = max(compared - differ.count, 0)
        row = [data.name, step, came, out, letters, reader, equal, differ.count, f"{seconds:.1f}"]
        self.rows.append([str(cell) for cell in row])
        if differ.count:
            self.differences.append(differ)
        print("  " + ", ".join(f"{name} {cell}" for name, cell in zip(self.HEAD[1:], row[1:])), flush=True)
        for shown in differ.shown:
            print(f"    {shown[:1500]}", flush=True)

    def print(self):
        widths = [max(len(row[at]) for row in [self.HEAD, *self.rows]) for at in range(len(self.HEAD))]
        for row in [self.HEAD, *self.rows]:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def prove(data, kafka, options, table):
    name, records, lines = data.name, options.records, data.lines
    here = pathlib.Path(__file__).parent
    work = options.work
    environment = dict(os.environ, KAFKA_BROKERS=kafka.brokers, OUT=str(work / "out"))
    outputs = [f"{name}-forwarded", f"{name}-kept", f"{name}-strict"]
    letters = [f"open-data-{name}.dead-letters", f"open-data-{name}-strict.dead-letters"]
    kafka.make(name, *outputs, *letters)
    size = sum(len(line) for line in lines) / len(lines)
    print(f"{name}: {len(lines)} records of {size:.0f} bytes, as {records}", flush=True)

    def expected(lines_of_it):
        flags = bytearray(len(lines))
        for i in lines_of_it:
            flags[i] = 1
        return bytearray(flags[n % len(lines)] for n in range(records))

    def as_it_came(differ):
        def check(n, record):
            if record.value() != lines[n % len(lines)]:
                differ(n, "came as", lines[n % len(lines)][:300], "and is", (record.value() or b"null")[:300])

        return check

    def headers(n):
        return headers_of(name, n)

    def timed(what, work):
        started = time.monotonic()
        result = work()
        return result, time.monotonic() - started

    _, produced = timed("produce", lambda: kafka.produce(name, lines, records))
    print(f"  produced in {produced:.1f} s", flush=True)

    summary, ran = timed("run", lambda: run(options.pipe, here / f"{name}.yaml", work, environment))
    print(f"  pipe run {name}.yaml: {ran:.1f} s, {records / ran:.0f} records/s", flush=True)
    counts = {sink["name"]: sink["written"] for sink in summary["sinks"]}
    came = summary["sources"][0]["read"]

    differ = Differences("sums")
    wanted = expected(data.where(data.filter))
    dead = sum(1 for _ in kafka.read(letters[0]))
    said = {"read": came, "forwarded": counts["forwarded"], "kept": counts["kept"], "lake": counts["lake"], "dead": dead}
    other = {"read": records, "forwarded": sum(wanted), "kept": records, "lake": records, "dead": 0}
    for what, value in said.items():
        if value != other[what]:
            differ("*", f"{what}: pipe says {value}, {data.reader} {other[what]}")
    table.add(data, "run, its sums", came, sum(counts.values()), dead, data.reader, len(said), differ, ran)

    differ = Differences("forwarded")
    count, took = timed(
        "forwarded",
        lambda: check_topic(kafka, f"{name}-forwarded", wanted, differ, as_it_came(differ), headers, True),
    )
    table.add(data, "filtered, original", came, count, 0, f"{data.reader}, bytes", count, differ, took)

    differ = Differences("kept")
    every = bytearray(b"\x01") * records
    count, took = timed(
        "kept", lambda: check_topic(kafka, f"{name}-kept", every, differ, Kept(data, differ), headers, True)
    )
    step = "all, json, unknown kept" if data.keeps_unknown else "all, json"
    reader = f"{data.reader}, bytes" if data.keeps_unknown else data.reader
    table.add(data, step, came, count, 0, reader, count, differ, took)
    if data.quoted:
        print(f"    {data.quoted}", flush=True)

    differ = Differences("lake")
    _, took = timed("lake", lambda: check_lake(data, work / "out" / name, records, differ))
    table.add(data, "all, Parquet", came, counts["lake"], 0, data.reader, counts["lake"], differ, took)

    summary, ran = timed("strict", lambda: run(options.pipe, here / f"{name}-strict.yaml", work, environment))
    differ = Differences("strict")
    bad = expected(data.where(data.strict))
    good = bytearray(1 - flag for flag in bad)
    check = as_it_came(differ)
    count = check_topic(kafka, f"{name}-strict", good, differ, check, headers, True)

    def letter(n, record):
        check(n, record)
        found = record.headers() or []
        mine = headers(n)
        if found[: len(mine)] != mine:
            differ(n, "the dead letter has other headers:", found)
        about = dict(found[len(mine) :])
        if about.get("pipe.error.kind") != b"decode":
            differ(n, "the dead letter says:", about)

    dead = 0
    seen = bytearray(records)
    for record in kafka.read(letters[1]):
        dead += 1
        n = number_of(record, differ)
        if n is None or n >= records or not bad[n] or seen[n]:
            differ(n, "is a dead letter that was not to be there")
            continue
        seen[n] = 1
        letter(n, record)
    if sum(seen) != sum(bad):
        differ("*", f"{sum(seen)} dead letters, expected {sum(bad)}")
    read, reader = summary["sources"][0]["read"], f"{data.reader}, bytes"
    table.add(data, "strict, original", read, count, dead, reader, count + dead, differ, ran)
    kafka.remove(name, *outputs, *letters)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--pipe", required=True, help="the program")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="folder of the data sets")
    parser.add_argument("--work", required=True, type=pathlib.Path, help="folder that is empty")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--sets", default=",".join(sets.SETS), help="which, with commas between")
    options = parser.parse_args()
    # So that a worker that runs is ended, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    kafka = Kafka(options.brokers)
    table = Table()
    for name in options.sets.split(","):
        prove(sets.SETS[name](options.data, options.work), kafka, options, table)
    print()
    table.print()
    if table.differences:
        sys.exit(f"{sum(d.count for d in table.differences)} differences")
    print("What came out is what DuckDB and pandas make of the same files.")


if __name__ == "__main__":
    main()
