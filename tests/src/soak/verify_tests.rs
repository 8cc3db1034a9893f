//! The verifier notices what it is there for, on made-up records.

use super::*;

fn found(topic: &str, partition: i32, offset: i64, id: u64, kind: &str, key: &str, seq: i64) -> Found {
    Found {
        topic: topic.to_owned(),
        partition,
        offset,
        key: key.into(),
        value: format!(r#"{{"kind":{kind},"id":{id},"key":"{key}","seq":{seq}}}"#).into_bytes(),
        headers: BTreeMap::new(),
    }
}

/// Twelve inputs of two keys: even ones are of `x`, odd ones of `y`.
fn input(id: u64, kind: &str) -> Found {
    let key = if id.is_multiple_of(2) { "x" } else { "y" };
    found("in", (id % 2) as i32, (id / 2) as i64, id, kind, key, (id / 2) as i64)
}

/// The output of the simple topology when all is well.
fn outputs() -> Vec<Found> {
    (0..12).map(|id| Found { topic: "out".into(), ..input(id, "500") }).collect()
}

fn count(outputs: &[Found]) -> Counts {
    let mut verifier = Verifier::new(Shape::Simple, 1);
    for id in 0..12 {
        verifier.input(input(id, "500")).unwrap();
    }
    verifier.input(input(12, "10")).unwrap();
    outputs.iter().for_each(|found| verifier.output(0, found));
    verifier.finish()
}

fn numbers(counts: &Counts) -> [u64; 4] {
    [counts.lost, counts.duplicated, counts.out_of_order, counts.misplaced]
}

#[test]
fn what_is_well_is_counted_as_well() {
    let counts = count(&outputs());
    assert_eq!(counts, Counts { records: 13, ..Counts::default() });
}

#[test]
fn lost_ones_are_noticed() {
    let mut all = outputs();
    all.remove(5);
    all.pop();
    let counts = count(&all);
    assert_eq!(numbers(&counts), [2, 0, 0, 0]);
    assert!(counts.examples[0].contains("in/1 at 2: input 5 is not in output 0"), "{:?}", counts.examples);
    assert_eq!(numbers(&count(&[])), [12, 0, 0, 0]);
}

#[test]
fn doubled_ones_are_noticed_and_are_not_out_of_order_too() {
    let mut all = outputs();
    // As after a rewind: three come again.
    let again: Vec<Found> = all[6..9].to_vec();
    all.splice(9..9, again);
    assert_eq!(numbers(&count(&all)), [0, 3, 0, 0]);
    // Thrice is twice too often, and one that is doubled does not stand for one that is lost.
    let mut all = outputs();
    let one = all[0].clone();
    all[2] = one.clone();
    all[4] = one;
    assert_eq!(numbers(&count(&all)), [2, 2, 0, 0]);
}

#[test]
fn swapped_ones_are_noticed() {
    let mut all = outputs();
    // Of different keys: no order is promised.
    all.swap(4, 5);
    assert_eq!(numbers(&count(&all)), [0, 0, 0, 0]);
    // Of one key.
    all.swap(0, 2);
    assert_eq!(numbers(&count(&all)), [0, 0, 1, 0]);
}

#[test]
fn a_key_that_changes_its_partition_is_noticed() {
    let mut all = outputs();
    all[8].partition = 1;
    assert_eq!(numbers(&count(&all)), [0, 0, 1, 0]);
}

#[test]
fn what_does_not_belong_there_is_noticed() {
    let mut all = outputs();
    // Filtered, unknown, no record at all, and one that was changed and is lost with it.
    all.push(input(12, "10"));
    all.push(input(99, "500"));
    all.push(Found { value: b"?".to_vec(), ..Found::default() });
    all[3].value = all[3].value.iter().map(|b| if *b == b'5' { b'6' } else { *b }).collect();
    assert_eq!(numbers(&count(&all)), [1, 0, 0, 4]);
    let mut all = outputs();
    all[3].key = b"z".to_vec();
    assert_eq!(numbers(&count(&all)), [1, 0, 0, 1]);
}

#[test]
fn an_input_that_was_produced_twice_is_no_ground_to_stand_on() {
    let mut verifier = Verifier::new(Shape::Simple, 1);
    verifier.input(input(1, "500")).unwrap();
    assert!(verifier.input(input(1, "500")).is_err());
    assert!(verifier.input(Found::default()).is_err());
}

/// Kinds of the complex topology: to low, high, all alone, and the dead letters.
const KINDS: [&str; 7] = ["100", "500", "900", "7", "9", "13", "\"broken\""];

fn complex(change: impl FnOnce(&mut Vec<(usize, Found)>, &mut Vec<Found>)) -> Counts {
    let mut verifier = Verifier::new(Shape::Complex, 3);
    let given: Vec<Found> = KINDS.iter().zip(0..).map(|(kind, id)| input(id, kind)).collect();
    given.iter().for_each(|found| verifier.input(found.clone()).unwrap());
    let mut outputs: Vec<(usize, Found)> =
        [(0, 0), (2, 0), (1, 1), (2, 1), (2, 2)].map(|(output, id)| (output, given[id].clone())).to_vec();
    let causes = ["rejected", "stage_error", "trap", "decode"];
    let mut letters: Vec<Found> =
        causes.iter().zip(&given[3..]).map(|(cause, found)| letter(found, cause)).collect();
    change(&mut outputs, &mut letters);
    outputs.iter().for_each(|(output, found)| verifier.output(*output, found));
    letters.iter().for_each(|found| verifier.letter(found));
    verifier.finish()
}

fn letter(of: &Found, cause: &str) -> Found {
    let header = |name: &str, value: String| (format!("pipe.error.{name}"), value);
    let headers = BTreeMap::from([
        header("kind", cause.to_owned()),
        header("topic", of.topic.clone()),
        header("partition", of.partition.to_string()),
        header("offset", of.offset.to_string()),
    ]);
    Found { topic: "letters".into(), headers, ..of.clone() }
}

#[test]
fn each_kind_has_its_places() {
    assert_eq!(complex(|_, _| {}), Counts { records: 7, ..Counts::default() });
    // One of two places, and a dead letter.
    let lost = complex(|outputs, letters| {
        outputs.remove(1);
        letters.remove(2);
    });
    assert_eq!(numbers(&lost), [2, 0, 0, 0]);
    assert!(lost.examples.iter().any(|e| e.contains("is not in the dead letters")), "{:?}", lost.examples);
    let doubled = complex(|_, letters| letters.push(letters[0].clone()));
    assert_eq!(numbers(&doubled), [0, 1, 0, 0]);
    // Through the wrong port, and a good one among the dead letters.
    let astray = complex(|outputs, letters| {
        outputs[0].0 = 1;
        letters.push(letter(&outputs[0].1, "trap"));
    });
    assert_eq!(numbers(&astray), [1, 0, 0, 2]);
    // A dead letter that was passed on as well.
    let both = complex(|outputs, letters| outputs.push((2, letters[2].clone())));
    assert_eq!(numbers(&both), [0, 0, 0, 1]);
}

#[test]
fn a_dead_letter_names_its_cause_and_its_origin() {
    for name in ["kind", "topic", "partition", "offset"] {
        let counts = complex(|_, letters| {
            letters[1].headers.insert(format!("pipe.error.{name}"), "other".into());
        });
        assert_eq!(numbers(&counts), [1, 0, 0, 1], "{name}");
    }
}
