//! How a client logs in. What this build cannot do is refused while a plan is checked, in the words of the pipeline file:
//! librdkafka says it when a client is made, and of some of it nothing but that no broker answers.

use std::collections::BTreeMap;

use crate::error::Code;
use crate::problem::Problem;

const PROTOCOL: &str = "security.protocol";
/// librdkafka's two names for it.
const MECHANISM: [&str; 2] = ["sasl.mechanism", "sasl.mechanisms"];
const USER: &str = "sasl.username";
const PASSWORD: &str = "sasl.password";

/// Mechanisms with a user's name and a password.
const PASSWORDS: &[&str] = &["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"];

const INSTEAD: &str = "log in by SCRAM-SHA-512 or PLAIN over SASL_SSL, or by a client certificate over SSL \
                       (`ssl.certificate.location`, `ssl.key.location`); \"Kafka in a cloud\" in docs/deploy.md has what each \
                       service offers";

/// What is not there: a mechanism, beginnings of its properties, and why.
const ABSENT: &[(&str, &[&str], &str)] = &[
    (
        "OAUTHBEARER",
        &["sasl.oauthbearer.", "enable.sasl.oauthbearer."],
        "OAUTHBEARER is not supported: nothing here asks an issuer for tokens (OIDC), and unsecured ones are refused",
    ),
    ("AWS_MSK_IAM", &[], "AWS_MSK_IAM is not supported: nothing here signs requests for IAM"),
    ("GSSAPI", &["sasl.kerberos."], "GSSAPI (Kerberos) is not supported"),
];

/// Whether a property belongs to a way to log in that is not there.
pub(super) fn is_absent(property: &str) -> bool {
    ABSENT.iter().any(|(_, prefixes, _)| prefixes.iter().any(|prefix| property.starts_with(prefix)))
}

/// Checks the properties that say how to log in; every mistake is added to `problems`.
pub(super) fn check(properties: &BTreeMap<String, String>, problems: &mut Vec<Problem>) {
    let given = MECHANISM.iter().find_map(|name| Some((*name, properties.get(*name)?)));
    let is_sasl = properties.get(PROTOCOL).is_some_and(|p| p.to_ascii_lowercase().starts_with("sasl_"));
    let mechanism = given.map(|(_, mechanism)| mechanism.to_ascii_uppercase());
    let mut add = |code, name: &str, message: String, help: &str| {
        problems.push(Problem::new(code, format!("/properties/{name}"), message).help(help));
    };
    for (absent, prefixes, why) in ABSENT {
        if mechanism.as_deref() == Some(absent) {
            let name = given.map_or(MECHANISM[0], |(name, _)| name);
            add(Code::C005, name, (*why).to_owned(), INSTEAD);
            continue;
        }
        let of_it = |name: &&String| prefixes.iter().any(|prefix| name.starts_with(prefix));
        if let Some(name) = properties.keys().find(of_it) {
            add(Code::C005, name, format!("{why}, and `{name}` is a property of it"), INSTEAD);
        }
    }
    match (&mechanism, given) {
        (None, _) if is_sasl => {
            let message = format!("`{PROTOCOL}` says SASL, and `{}` is missing", MECHANISM[0]);
            add(
                Code::P009,
                PROTOCOL,
                message,
                "add it: SCRAM-SHA-512, SCRAM-SHA-256 or PLAIN, as the cluster has it",
            );
        }
        (Some(mechanism), Some((name, said))) if !ABSENT.iter().any(|(absent, ..)| absent == mechanism) => {
            if !PASSWORDS.contains(&mechanism.as_str()) {
                let message = format!("`{said}` is no SASL mechanism that is supported");
                add(Code::C005, name, message, &format!("one of {}", PASSWORDS.join(", ")));
            } else if is_sasl
                && let Some(missing) = [USER, PASSWORD].iter().find(|name| !properties.contains_key(**name))
            {
                let message =
                    format!("{mechanism} needs `{USER}` and `{PASSWORD}`, and `{missing}` is missing");
                add(Code::P009, name, message, "a password is best read from a file: `${file:..}`");
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(given: &[(&str, &str)]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let given = given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        check(&given.collect(), &mut problems);
        problems
    }

    const SASL: (&str, &str) = ("security.protocol", "sasl_ssl");

    #[test]
    fn what_is_not_there_is_refused_once_at_its_property_with_what_to_do() {
        // The properties, where the problem is, and a word of it.
        for (given, pointer, word) in [
            (
                &[SASL, ("sasl.mechanism", "oauthbearer"), ("sasl.oauthbearer.method", "oidc")][..],
                "sasl.mechanism",
                "OIDC",
            ),
            (
                &[("sasl.mechanisms", "OAUTHBEARER"), ("enable.sasl.oauthbearer.unsecure.jwt", "true")],
                "sasl.mechanisms",
                "unsecured",
            ),
            (&[("sasl.oauthbearer.config", "principal=a")], "sasl.oauthbearer.config", "OAUTHBEARER"),
            (&[SASL, ("sasl.mechanism", "AWS_MSK_IAM")], "sasl.mechanism", "IAM"),
            (&[SASL, ("sasl.mechanism", "GSSAPI")], "sasl.mechanism", "Kerberos"),
            (&[SASL, ("sasl.mechanism", "SCRAM")], "sasl.mechanism", "`SCRAM`"),
        ] {
            let problems = problems(given);
            assert_eq!(problems.len(), 1, "{given:?}: {problems:?}");
            let problem = &problems[0];
            assert_eq!((problem.code, &*problem.pointer), (Code::C005, &*format!("/properties/{pointer}")));
            assert!(problem.message.contains(word), "{given:?}: {}", problem.message);
            assert!(problem.help.as_ref().is_some_and(|help| help.contains("SCRAM-SHA-512")), "{given:?}");
        }
    }

    #[test]
    fn half_a_login_is_refused_and_a_whole_one_is_taken() {
        for (given, word) in [
            (&[SASL][..], "sasl.mechanism"),
            (&[SASL, ("sasl.mechanism", "PLAIN"), ("sasl.username", "u")], "`sasl.password` is missing"),
            (&[SASL, ("sasl.mechanism", "scram-sha-512")], "`sasl.username` is missing"),
        ] {
            let problems = problems(given);
            assert_eq!((problems.len(), problems[0].code), (1, Code::P009), "{given:?}");
            assert!(problems[0].message.contains(word), "{}", problems[0].message);
        }
        let user = [("sasl.username", "u"), ("sasl.password", "p")];
        for mechanism in PASSWORDS {
            assert!(problems(&[SASL, ("sasl.mechanism", mechanism), user[0], user[1]]).is_empty());
        }
        assert!(problems(&[("security.protocol", "SSL")]).is_empty());
    }
}
