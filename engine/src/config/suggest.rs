//! The nearest name to a misspelled one.

/// The name that was probably meant; `None` where nothing is near.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (wrong.chars().count() / 3).clamp(1, 3);
    let lower = wrong.to_lowercase();
    names
        .into_iter()
        .map(|name| (strsim::osa_distance(&lower, &name.to_lowercase()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// "did you mean `x`? known: a, b, x".
pub fn help<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str> + Clone, what: &str) -> String {
    let all: Vec<&str> = names.clone().into_iter().collect();
    let listed =
        if all.is_empty() { format!("there are no {what}") } else { format!("{what}: {}", all.join(", ")) };
    match nearest(wrong, names) {
        Some(name) => format!("did you mean `{name}`? {listed}"),
        None => listed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        assert_eq!(nearest("topcs", ["brokers", "topics"]), Some("topics"));
        assert_eq!(nearest("Kafka", ["file", "kafka"]), Some("kafka"));
        assert_eq!(nearest("zzz", ["file", "kafka"]), None);
        assert_eq!(help("fle", ["file", "kafka"], "kinds"), "did you mean `file`? kinds: file, kafka");
    }
}
