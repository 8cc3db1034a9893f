//! Samples as Prometheus reads them; each line is written by the exporter's library.

use indexmap::IndexMap;
use metrics::{Key, Label};
use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};

use crate::metrics::{Labels, Sample, Value};

fn set(labels: &Labels) -> LabelSet {
    let labels: Vec<Label> = labels.iter().map(|(name, value)| Label::new(*name, value.clone())).collect();
    LabelSet::from_key_and_global(&Key::from_parts("", labels), &IndexMap::new())
}

/// The text, samples of one name together.
pub(super) fn render(mut samples: Vec<Sample>) -> String {
    samples.sort_by(|a, b| (a.name, &a.labels).cmp(&(b.name, &b.labels)));
    let mut out = String::with_capacity(samples.len() * 128);
    let mut last = None;
    for Sample { name, labels, value } in &samples {
        let text = name.as_str();
        if last.replace(*name) != Some(*name) {
            write_help_line(&mut out, text, None, None, name.help());
            write_type_line(&mut out, text, None, None, name.kind().as_str());
        }
        let labels = set(labels);
        let none = None::<(&'static str, &str)>;
        match value {
            Value::Whole(n) => write_metric_line(&mut out, text, None, &labels, none, n, None),
            Value::Real(n) => write_metric_line(&mut out, text, None, &labels, none, n, None),
            Value::Histogram { buckets, sum, count } => {
                for (bound, n) in buckets {
                    let bound = Some(("le", *bound));
                    write_metric_line(&mut out, text, Some("bucket"), &labels, bound, n, None);
                }
                let all = Some(("le", "+Inf"));
                write_metric_line(&mut out, text, Some("bucket"), &labels, all, count, None);
                write_metric_line(&mut out, text, Some("sum"), &labels, none, sum, None);
                write_metric_line(&mut out, text, Some("count"), &labels, none, count, None);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Meter, Name};

    #[test]
    fn a_line_for_each_number_under_help_and_type() {
        let meter = Meter::new("p");
        let (one, two) = (meter.source("a\"b\\c\nd"), meter.source("e"));
        one.read.add(7);
        two.batch_rows.record(8);
        let mut samples = Vec::new();
        two.collect(&mut samples);
        one.collect(&mut samples);
        let text = render(samples);
        let of = |name: Name| {
            let lines = text.lines().filter(|l| l.contains(name.as_str()));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            of(Name::SourceRead),
            [
                "# HELP pipe_source_read_records_total Records that a source read.",
                "# TYPE pipe_source_read_records_total counter",
                r#"pipe_source_read_records_total{pipeline="p",source="a\"b\\c\nd"} 7"#,
                r#"pipe_source_read_records_total{pipeline="p",source="e"} 0"#,
            ]
        );
        let rows = of(Name::SourceBatchRows);
        assert_eq!(rows[1], "# TYPE pipe_source_batch_rows histogram");
        for line in [
            r#"pipe_source_batch_rows_bucket{pipeline="p",source="e",le="1"} 0"#,
            r#"pipe_source_batch_rows_bucket{pipeline="p",source="e",le="8"} 1"#,
            r#"pipe_source_batch_rows_bucket{pipeline="p",source="e",le="+Inf"} 1"#,
            r#"pipe_source_batch_rows_sum{pipeline="p",source="e"} 8"#,
            r#"pipe_source_batch_rows_count{pipeline="p",source="e"} 1"#,
        ] {
            assert!(rows.iter().any(|l| l == line), "{line} is not in {rows:#?}");
        }
    }
}
