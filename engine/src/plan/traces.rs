//! How traces are followed: what the file says, and what the variables of OpenTelemetry say where it is silent.

use axum::http::Uri;

use super::Tracing;
use crate::config::Draft;
use crate::error::Code;
use crate::problem::Problem;

/// Path of the spans below a collector's address.
const PATH: &str = "v1/traces";

/// The plan of the section `tracing:`; `None` where there is none. Variables that cannot be followed warn: whoever
/// set them for the whole machine may not know this program.
pub(super) fn plan(draft: &Draft, warnings: &mut Vec<Problem>) -> Result<Option<Tracing>, Vec<Problem>> {
    let Some(spec) = &draft.tracing else { return Ok(None) };
    let variable = |name: &str| draft.environment.get(name).map(|value| value.trim());
    let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let nowhere = variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    let mut problems = Vec::new();
    let endpoint = match &spec.otlp {
        Some(address) => endpoint(address, true).map_err(|m| problems.push(wrong("/tracing/otlp", m))).ok(),
        None => from_environment(&variable).unwrap_or_else(|m| {
            problems.push(wrong("/tracing", m));
            None
        }),
    };
    let sample = match spec.sample {
        Some(share) => Some(share),
        None => sampler(&variable).unwrap_or_else(|message| {
            warnings.push(Problem::new(Code::P010, "/tracing", message).help("say `sample:` in the file"));
            None
        }),
    };
    if endpoint.is_none() && spec.sample.is_some_and(|share| share > 0.0) && problems.is_empty() {
        let message = "`sample` begins traces, and nothing takes their spans".to_owned();
        problems.push(
            wrong("/tracing/sample", message)
                .help("name a collector with `otlp:` or OTEL_EXPORTER_OTLP_ENDPOINT"),
        );
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    let endpoint = endpoint.filter(|_| !disabled && !nowhere);
    let sample = sample.filter(|_| endpoint.is_some()).unwrap_or(0.0);
    Ok(Some(Tracing { endpoint, sample }))
}

fn wrong(pointer: &str, message: String) -> Problem {
    let problem = Problem::new(Code::P017, pointer, message);
    problem
        .help("an address is `http://host:port` of a collector that takes OTLP over HTTP, mostly port 4318")
}

fn from_environment<'a>(variable: &impl Fn(&str) -> Option<&'a str>) -> Result<Option<String>, String> {
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL");
    let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL");
    let named = [(own.0, false), (common.0, true)];
    let Some((name, below, address)) =
        named.iter().find_map(|(name, below)| Some((*name, *below, variable(name)?)))
    else {
        return Ok(None);
    };
    let protocol = [own.1, common.1].into_iter().find_map(|name| Some((name, variable(name)?)));
    if let Some((by, other)) = protocol.filter(|(_, protocol)| *protocol != "http/protobuf") {
        return Err(format!("{by} is `{other}`; `http/protobuf` is what is spoken here"));
    }
    endpoint(address, below).map(Some).map_err(|message| format!("{name}: {message}"))
}

/// The whole address of the spans; `below`: it is the collector's, and their path is added.
fn endpoint(address: &str, below: bool) -> Result<String, String> {
    // What may be a secret is not shown: the address is named only as far as it is harmless.
    let uri: Uri = address.trim().parse().map_err(|e| format!("this is not an address: {e}"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(
                "TLS is not built in: send to a collector beside the worker (agent or sidecar) over http, \
                        and let it speak https"
                    .to_owned(),
            );
        }
        _ => return Err("the address does not begin with `http://`".to_owned()),
    }
    let Some(authority) = uri.authority().filter(|a| !a.host().is_empty()) else {
        return Err("the address names no host".to_owned());
    };
    if authority.as_str().contains('@') || uri.query().is_some() {
        return Err(
            "credentials do not belong into the address; OTEL_EXPORTER_OTLP_HEADERS takes them".to_owned()
        );
    }
    if authority.as_str() != authority.host() && authority.port_u16().is_none_or(|port| port == 0) {
        return Err("the port of the address is none".to_owned());
    }
    let path = uri.path().trim_end_matches('/');
    let path = if below && !path.ends_with(PATH) { format!("{path}/{PATH}") } else { path.to_owned() };
    Ok(format!("http://{authority}{path}"))
}

/// The share that `OTEL_TRACES_SAMPLER` asks for.
fn sampler<'a>(variable: &impl Fn(&str) -> Option<&'a str>) -> Result<Option<f64>, String> {
    let Some(name) = variable("OTEL_TRACES_SAMPLER") else { return Ok(None) };
    match name {
        "parentbased_always_on" => Ok(Some(1.0)),
        "parentbased_always_off" => Ok(Some(0.0)),
        "parentbased_traceidratio" => {
            let given = variable("OTEL_TRACES_SAMPLER_ARG").unwrap_or("1");
            match given.parse::<f64>() {
                Ok(share) if (0.0..=1.0).contains(&share) => Ok(Some(share)),
                _ => Err(format!(
                    "OTEL_TRACES_SAMPLER_ARG is `{given}`, not a share from 0 to 1; it is not followed"
                )),
            }
        }
        other => Err(format!(
            "OTEL_TRACES_SAMPLER is `{other}`; of its values those that begin with `parentbased_` are followed"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::spec::TracingSpec;

    type Planned = (Result<Option<Tracing>, Vec<Problem>>, Vec<Problem>);

    fn planned(otlp: Option<&str>, sample: Option<f64>, environment: &[(&'static str, &str)]) -> Planned {
        let environment = environment.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let spec = TracingSpec { otlp: otlp.map(str::to_owned), sample };
        let draft = Draft { tracing: Some(spec), environment, ..Draft::default() };
        let mut warnings = Vec::new();
        (plan(&draft, &mut warnings), warnings)
    }

    fn good(
        otlp: Option<&str>,
        sample: Option<f64>,
        environment: &[(&'static str, &str)],
    ) -> (Option<String>, f64) {
        let tracing = planned(otlp, sample, environment).0.unwrap().unwrap();
        (tracing.endpoint, tracing.sample)
    }

    #[test]
    fn without_the_section_nothing_is_followed() {
        let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318".to_owned())].into();
        let draft = Draft { environment, ..Draft::default() };
        assert_eq!(plan(&draft, &mut Vec::new()).unwrap(), None);
        assert_eq!(good(None, None, &[]), (None, 0.0));
    }

    #[test]
    fn the_file_goes_before_the_environment() {
        let at = |address: &str| Some(format!("http://{address}/v1/traces"));
        let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://b:4318/");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://c:1/as/it/is");
        let ratio =
            [("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "0.25")];
        assert_eq!(
            good(Some("http://a:4318"), Some(0.5), &[common, own, ratio[0], ratio[1]]),
            (at("a:4318"), 0.5)
        );
        assert_eq!(good(Some("http://a/v1/traces"), None, &[]), (at("a"), 0.0));
        assert_eq!(good(Some("http://[::1]:4318/below/"), None, &[]), (at("[::1]:4318/below"), 0.0));
        assert_eq!(good(None, None, &[common, ratio[0], ratio[1]]), (at("b:4318"), 0.25));
        assert_eq!(good(None, None, &[common, own]).0.as_deref(), Some("http://c:1/as/it/is"));
        assert_eq!(good(None, None, &[common, ("OTEL_TRACES_SAMPLER", "parentbased_always_on")]).1, 1.0);
        for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert_eq!(good(Some("http://a:4318"), Some(0.5), &[off]), (None, 0.0));
        }
    }

    #[test]
    fn what_cannot_be_is_said() {
        let bad = |otlp: Option<&str>, sample, environment: &[(&'static str, &str)], text: &str| {
            let problems = planned(otlp, sample, environment).0.unwrap_err();
            let [problem] = problems.as_slice() else { panic!("{problems:?}") };
            assert_eq!(problem.code, Code::P017);
            assert!(problem.message.contains(text), "{}", problem.message);
            assert!(!problem.message.contains("hunter2"), "{}", problem.message);
        };
        bad(Some("https://a:4318"), None, &[], "TLS is not built in");
        bad(Some("localhost:4318"), None, &[], "does not begin with `http://`");
        bad(Some("grpc://a:4317"), None, &[], "does not begin with `http://`");
        bad(Some("http://"), None, &[], "address");
        bad(Some(""), None, &[], "address");
        for address in ["http://127.0.0.1:99999", "http://a:", "http://a:0", "http://[::1]:70000/x"] {
            bad(Some(address), None, &[], "port");
        }
        bad(Some("http://u:hunter2@a:4318"), None, &[], "OTEL_EXPORTER_OTLP_HEADERS");
        bad(Some("http://a:4318?key=hunter2"), None, &[], "OTEL_EXPORTER_OTLP_HEADERS");
        bad(None, Some(0.1), &[], "nothing takes their spans");
        let common = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://a:4318");
        bad(None, None, &[common], "OTEL_EXPORTER_OTLP_ENDPOINT: TLS");
        let grpc =
            [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:4317"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")];
        bad(None, None, &grpc, "is `grpc`");
        for sampler in
            [("OTEL_TRACES_SAMPLER", "always_on"), ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")]
        {
            let environment = [sampler, ("OTEL_TRACES_SAMPLER_ARG", "many")];
            let (plan, warnings) = planned(Some("http://a:1"), None, &environment);
            assert_eq!((plan.unwrap().unwrap().sample, warnings.len()), (0.0, 1));
        }
    }
}
