//! What `docs/coming-from` says of its pipelines: the files that it shows, run against a real broker.

use pipe_tests::kafka::{self, Broker, unique};

use super::{Pipeline, Record, Writer, records, text};

/// A file of the page with names that no other test uses: of the pipeline, of the topic `orders`, of the output.
fn shown(file: &str, own: &str, out: &str, names: &[String; 3]) -> String {
    let yaml = text(&pipe_tests::root().join("pipelines/coming-from").join(file));
    for part in [format!("name: {own}\n"), "topics: [orders]".to_owned(), format!("topic: {out}")] {
        assert_eq!(yaml.matches(&part).count(), 1, "`{part}` in {file}");
    }
    yaml.replace(&format!("topic: {out}"), &format!("topic: {}", names[2]))
        .replace(&format!("name: {own}\n"), &format!("name: {}\n", names[0]))
        .replace("topics: [orders]", &format!("topics: [{}]", names[1]))
}

/// Orders as topics have them: blanks, digits that matter, a key twice, headers of one name, a tombstone, and some that
/// are missing something.
fn orders() -> Vec<Record> {
    let headers = vec![
        ("trace".to_owned(), Some(vec![0xff, 0])),
        ("trace".to_owned(), None),
        ("empty".to_owned(), Some(Vec::new())),
    ];
    let order = |n: i64, value: Option<&str>| Record {
        timestamp: 1_700_000_000_000 + n,
        key: (n != 1).then(|| format!("k{n}").into_bytes()),
        value: value.map(|value| value.as_bytes().to_vec()),
        headers: if n % 2 == 0 { headers.clone() } else { Vec::new() },
        ..Record::default()
    };
    let values = [
        Some(r#"{ "id":7, "total" : 1000.00, "card":"4111111111111111","x":1.10,"x": [ {} ] }"#),
        Some(r#"{"total":2500,"card":"5500005555555559","note":"\u0061"}"#),
        Some(r#"{"total":999.99,"card":"340000000000009"}"#),
        Some(r#"{"id":8,"card":"4000000000000002"}"#),
        None,
        Some(r#"{"total":"many","card":"30000000000004"}"#),
        Some(r#"{"total":1e4,"card":"#),
    ];
    values.into_iter().enumerate().map(|(n, value)| order(n as i64, value)).collect()
}

/// The topics, with the orders in the first of them.
fn written(broker: &Broker, names: &[String; 3], orders: &[Record]) {
    broker.topic(&names[1], 1);
    broker.topic(&names[2], 1);
    let writer = Writer::new(broker);
    orders.iter().for_each(|order| writer.write(&names[1], order));
    writer.flush();
}

fn found(broker: &Broker, topic: &str) -> Vec<Record> {
    records(broker, topic).into_iter().map(|record| Record { offset: 0, ..record }).collect()
}

#[test]
fn orders_are_forwarded_as_they_came() {
    let broker = kafka::shared();
    let names = ["big-orders", "orders", "out"].map(unique);
    let orders = orders();
    written(broker, &names, &orders);
    let yaml = shown("redpanda-connect-forward.yaml", "big-orders", "big-orders", &names);
    let end = Pipeline::new(broker, &yaml).run().ok();
    assert_eq!(found(broker, &names[2]), [0, 1, 4].map(|n: usize| orders[n].clone()));
    assert_eq!(end.count("stages", "big", "filtered"), 2);
    let letters = records(broker, &format!("{}.dead-letters", names[0]));
    let values: Vec<_> = letters.iter().map(|letter| (&letter.key, &letter.value)).collect();
    assert_eq!(values, [5, 6].map(|n: usize| (&orders[n].key, &orders[n].value)));
    let cause = letters[0].header("pipe.error.message").unwrap();
    assert!(cause.contains("total") && cause.contains("many"), "{cause}");
}

#[test]
fn a_card_is_masked_and_the_rest_of_an_order_stays() {
    let broker = kafka::shared();
    let names = ["masked-orders", "orders", "out"].map(unique);
    let orders = orders();
    written(broker, &names, &orders);
    let yaml = shown("redpanda-connect-mask.yaml", "masked-orders", "masked-orders", &names);
    Pipeline::new(broker, &yaml).run().ok();
    let values = [
        Some(r#"{"card":"************1111","id":7, "total" : 1000.00,"x":1.10,"x": [ {} ]}"#),
        Some(r#"{"card":"************5559","total":2500,"note":"\u0061"}"#),
        Some(r#"{"card":"***********0009","total":999.99}"#),
        Some(r#"{"card":"************0002","id":8}"#),
        None,
        Some(r#"{"card":"**********0004","total":"many"}"#),
    ];
    let expected = values.into_iter().zip(&orders).map(|(value, order)| Record {
        value: value.map(|value| value.as_bytes().to_vec()),
        ..order.clone()
    });
    assert_eq!(found(broker, &names[2]), expected.collect::<Vec<_>>());
    let letters = records(broker, &format!("{}.dead-letters", names[0]));
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].value, orders[6].value);
}
