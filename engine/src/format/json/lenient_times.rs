//! Times in other spellings: tests of `epoch`, `pattern` and `zone` in records of JSON.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::KIND;
use super::lenient::{decode, lines};

/// Each value of a column alone: what it is read as, or the words of its rejection.
fn each(data_type: &str, accept: &Value, values: &[&str]) -> Vec<String> {
    let options = json!({"columns": {"c": {"type": data_type, "accept": accept}}});
    let one = |value: &&str| {
        let (decoded, counted) = decode(&options, &[format!("{{\"c\":{value}}}").into_bytes()]);
        match decoded.bad.first() {
            Some(bad) => bad.message.clone(),
            None => {
                let way = counted.last().map_or("strict", |(way, _)| way);
                let line =
                    lines(&decoded.records)[0].trim_start_matches("{\"c\":").trim_end_matches('}').to_owned();
                format!("{way} {}", line.trim_matches('"'))
            }
        }
    };
    values.iter().map(one).collect()
}

fn check(data_type: &str, accept: &Value, cases: &[(&str, &str)]) {
    for (value, expected) in cases {
        let read = &each(data_type, accept, &[value])[0];
        assert!(read.contains(expected), "{data_type} {accept} {value}: {read}, not {expected}");
    }
}

#[test]
fn numbers_since_1970_in_another_unit() {
    let seconds = json!([{"epoch": "s"}]);
    let cases = [
        ("1700000000", "epoch 2023-11-14T22:13:20Z"),
        ("1700000000.1239", "epoch 2023-11-14T22:13:20.123Z"),
        ("1.7e9", "epoch 2023-11-14T22:13:20Z"),
        ("-0.0001", "epoch 1969-12-31T23:59:59.999Z"),
        ("0", "epoch 1970-01-01T00:00:00Z"),
        ("1e400", "`1e400` is out of range for timestamp(ms, UTC)"),
        ("1e16", "out of range"),
        ("\"1700000000\"", "was expected, not `1700000000`"),
        ("\"2023-11-14T22:13:20Z\"", "strict 2023-11-14T22:13:20Z"),
        ("true", "not the boolean true"),
        ("[1]", "not an array"),
    ];
    check("timestamp(ms, UTC)", &seconds, &cases);
    check("timestamp(s)", &json!([{"epoch": "ns"}]), &[("1700000000999999999", "epoch 2023-11-14T22:13:20")]);
    check("timestamp(ns)", &json!([{"epoch": "ms"}]), &[("1.5", "epoch 1970-01-01T00:00:00.001500")]);
    check(
        "date32",
        &seconds,
        &[("86399.9", "epoch 1970-01-01"), ("-1", "epoch 1969-12-31"), ("1e15", "out of range")],
    );
    check("date64", &json!(["text", {"epoch": "us"}]), &[("\"1500\"", "epoch 1970-01-01T00:00:00.001")]);
}

#[test]
fn texts_by_patterns() {
    let accept =
        json!([{"pattern": "%d.%m.%Y %H:%M"}, {"pattern": "%Y%m%d"}, {"pattern": "%a, %d %b %Y %T %z"}]);
    let cases = [
        ("\"31.01.2026 12:30\"", "pattern 2026-01-31T12:30:00Z"),
        ("\"20260131\"", "pattern 2026-01-31T00:00:00Z"),
        ("\"Sat, 31 Jan 2026 12:30:00 +0100\"", "pattern 2026-01-31T11:30:00Z"),
        ("\"2026-01-31T12:00:00Z\"", "strict 2026-01-31T12:00:00Z"),
        ("1", "strict 1970-01-01T00:00:00.001Z"),
        ("\"31.02.2026 12:30\"", "a time such as `23.11.2026 21:47` or an RFC 3339"),
        ("\"Sun, 31 Jan 2026 12:30:00 +0100\"", "was expected"),
        ("\"31.01.2026 12:30 \"", "was expected"),
        ("\"\u{663}\u{661}.01.2026 12:30\"", "was expected"),
        ("\"\"", "was expected"),
    ];
    check("timestamp(ms, UTC)", &accept, &cases);
    check("timestamp(ms, +02:00)", &accept, &[("\"20260131\"", "pattern 2026-01-31T00:00:00+02:00")]);
    check(
        "timestamp(ns)",
        &json!([{"pattern": "%d.%m.%Y"}]),
        &[("\"01.01.2300\"", "does not fit"), ("\"01.01.1969\"", "pattern 1969-01-01T00:00:00")],
    );
    let fine = json!([{"pattern": "%Y-%m-%d %H-%M-%S%.f"}]);
    check(
        "timestamp(us)",
        &fine,
        &[
            ("\"2026-01-31 12-30-00.1234567\"", "pattern 2026-01-31T12:30:00.123456"),
            ("\"2026-01-31 12-30-00\"", "pattern 2026-01-31T12:30:00"),
        ],
    );
    check("date32", &json!([{"pattern": "%j/%Y"}]), &[("\"031/2026\"", "pattern 2026-01-31")]);
    check(
        "time64(us)",
        &json!([{"pattern": "%I:%M %p"}]),
        &[("\"12:05 AM\"", "pattern 00:05:00"), ("\"13:05 AM\"", "was expected")],
    );
}

#[test]
fn local_times_of_zones() {
    let berlin = |ambiguous: &str| json!([{"zone": "Europe/Berlin", "ambiguous": ambiguous}]);
    let cases = [
        ("\"2026-01-31T12:00:00\"", "zone 2026-01-31T11:00:00Z"),
        ("\"2026-07-01 12:00:00.25\"", "zone 2026-07-01T10:00:00.250Z"),
        ("\"2026-07-01\"", "zone 2026-06-30T22:00:00Z"),
        ("\"2026-07-01T12:00:00Z\"", "strict 2026-07-01T12:00:00Z"),
        ("\"2026-07-01T12:00:00+05:00\"", "strict 2026-07-01T07:00:00Z"),
        (
            "\"2026-10-25T02:30:00\"",
            "is not one moment in Europe/Berlin: clocks that went back showed it twice",
        ),
        (
            "\"2026-03-29T02:30:00\"",
            "is not one moment in Europe/Berlin: clocks that went forward never showed it",
        ),
        ("\"+10000-01-01T00:00:00\"", "a year of four digits"),
        ("\"2026-02-30T00:00:00\"", "was expected"),
        ("0", "strict 1970-01-01T00:00:00Z"),
    ];
    check("timestamp(ms, UTC)", &berlin("reject"), &cases);
    check(
        "timestamp(s, UTC)",
        &berlin("earlier"),
        &[
            ("\"2026-10-25T02:30:00\"", "zone 2026-10-25T00:30:00Z"),
            ("\"2026-03-29T02:30:00\"", "zone 2026-03-29T00:30:00Z"),
        ],
    );
    check(
        "timestamp(s, UTC)",
        &berlin("later"),
        &[
            ("\"2026-10-25T02:30:00\"", "zone 2026-10-25T01:30:00Z"),
            ("\"2026-03-29T02:30:00\"", "zone 2026-03-29T01:30:00Z"),
        ],
    );
    check(
        "timestamp(s, +01:00)",
        &json!([{"zone": "-03:30"}]),
        &[("\"2026-01-01T00:00:00\"", "zone 2026-01-01T04:30:00+01:00")],
    );
    let pattern = json!([{"pattern": "%F %T", "zone": "America/New_York"}]);
    check(
        "timestamp(s, UTC)",
        &pattern,
        &[
            ("\"2026-07-01 00:00:00\"", "pattern 2026-07-01T04:00:00Z"),
            ("\"2026-03-08 02:30:00\"", "America/New_York: clocks that went forward"),
            ("\"2026-07-01 00:00:00Z\"", "strict 2026-07-01T00:00:00Z"),
        ],
    );
}

#[test]
fn mistakes_name_their_place_and_what_to_do() {
    for (data_type, item, place, part) in [
        ("timestamp(s)", json!({"epoch": "m"}), "/0/epoch", "one of s, ms, us, ns"),
        ("timestamp(s)", json!({"epoch": "s", "zone": "UTC"}), "/0/zone", "epoch"),
        ("timestamp(s)", json!({}), "/0", "epoch"),
        ("int64", json!({"epoch": "s"}), "", "takes text"),
        ("timestamp(s)", json!({"zone": "UTC"}), "", "timestamp(ms, UTC)"),
        ("timestamp(s, UTC)", json!({"zone": "Europe/Berln"}), "/0/zone", "did you mean `Europe/Berlin`?"),
        (
            "timestamp(s, UTC)",
            json!({"zone": "UTC", "ambiguous": "both"}),
            "/0/ambiguous",
            "reject, earlier, later",
        ),
        (
            "timestamp(s, UTC)",
            json!({"pattern": "%F", "ambiguous": "later"}),
            "/0/ambiguous",
            "say the `zone`",
        ),
        ("timestamp(s, UTC)", json!({"pattern": "%F %T %z", "zone": "UTC"}), "/0/pattern", "strftime"),
        ("timestamp(s, UTC)", json!({"pattern": "%s"}), "/0/pattern", "strftime"),
        ("timestamp(s, UTC)", json!({"pattern": "%Y-%d"}), "/0/pattern", "strftime"),
        ("timestamp(s, UTC)", json!({"pattern": "%F %I:%M"}), "/0/pattern", "strftime"),
        ("timestamp(s, UTC)", json!({"pattern": "%F %Q"}), "/0/pattern", "strftime"),
        ("timestamp(s, UTC)", json!({"pattern": "%"}), "/0/pattern", "strftime"),
        ("timestamp(s, UTC)", json!({"pattern": "today"}), "/0/pattern", "strftime"),
        ("timestamp(s, UTC)", json!({"pattern": "%H:%M"}), "", "a timestamp takes a date"),
        ("date32", json!({"pattern": "%F %T"}), "", "`date32` takes a date alone"),
        ("timestamp(s)", json!({"pattern": "%F", "zone": "UTC"}), "", "where its type has one"),
        ("date32", json!("text"), "", "epoch: s"),
    ] {
        let options = json!({"columns": {"c": {"type": data_type, "accept": [item]}}});
        let problems = (KIND.prepare)(&options).err().unwrap();
        assert_eq!(problems.len(), 1, "{item}: {problems:?}");
        assert_eq!(problems[0].pointer, format!("/columns/c/accept{place}"), "{item}");
        assert!(problems[0].help.as_ref().unwrap().contains(part), "{item}: {problems:?}");
    }
}

proptest! {
    /// A moment that a pattern writes is read as the same moment, and what is strict stays what it is.
    #[test]
    fn moments_of_a_zone_are_read_as_they_were(seconds in -2_000_000_000i64..4_000_000_000) {
        let zone = jiff::tz::TimeZoneDatabase::bundled().get("Europe/Berlin").unwrap();
        let moment = jiff::Timestamp::from_second(seconds).unwrap();
        let local = zone.to_datetime(moment);
        let text = format!("\"{}\"", local.strftime("%d/%m/%Y %H:%M:%S"));
        let earlier = json!([{"pattern": "%d/%m/%Y %H:%M:%S", "zone": "Europe/Berlin", "ambiguous": "earlier"}]);
        let later = json!([{"pattern": "%d/%m/%Y %H:%M:%S", "zone": "Europe/Berlin", "ambiguous": "later"}]);
        let expected = format!("pattern {moment}");
        let read: Vec<String> = [earlier, later].iter().flat_map(|accept| each("timestamp(s, UTC)", accept, &[&text])).collect();
        prop_assert!(read.contains(&expected), "{read:?} {expected}");
        let strict = format!("\"{moment}\"");
        let accept = json!([{"zone": "Europe/Berlin"}, {"pattern": "%d.%m.%Y"}, {"epoch": "s"}]);
        prop_assert_eq!(&each("timestamp(s, UTC)", &accept, &[&strict])[0], &format!("strict {moment}"));
    }

    #[test]
    fn no_text_panics(text in "[-0-9.:/ TZ+a-z%\u{661}]{0,24}") {
        let accept = json!([{"pattern": "%d.%m.%y %H:%M"}, {"pattern": "%A %e %B %Y"}, {"zone": "Europe/Berlin"}, "text", {"epoch": "ns"}]);
        each("timestamp(ns, UTC)", &accept, &[&Value::from(text).to_string()]);
    }
}
