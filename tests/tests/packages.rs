//! What is in `packages/`, checked as far as it can be without a cluster, a container engine or an init system:
//! manifests against the schemas of their projects, and every number and name in them against the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipe_engine::config;
use pipe_engine::units::SHUTDOWN_TIMEOUT;
use serde_json::{Value, json};

/// Where the admin server listens in every package.
const ADMIN_PORT: u64 = 9464;

fn package(path: &str) -> PathBuf {
    pipe_tests::root().join("packages").join(path)
}

fn text(path: &str) -> String {
    let path = package(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn yaml(path: &Path) -> Value {
    let loaded = config::load(path, &json!({}), &[]).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(loaded.document.value.is_object(), "{} is not read", path.display());
    loaded.document.value
}

fn manifest(path: &str) -> Value {
    yaml(&package("kubernetes").join(path))
}

/// Every manifest: what is no kustomization and no pipeline.
fn manifests() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in [".", "base", "keda"] {
        for entry in fs::read_dir(package("kubernetes").join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.ends_with(".yaml") && !["kustomization.yaml", "pipeline.yaml"].contains(&name.as_str()) {
                found.push(path);
            }
        }
    }
    assert!(found.len() >= 7, "{found:?}");
    found
}

/// What is wrong with a manifest, by the schema of its kind.
fn mistakes(manifest: &Value) -> Vec<String> {
    let schema = |file: &str| -> Value {
        let path = pipe_tests::root().join("tests/schemas").join(file);
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    };
    let kind = manifest["kind"].as_str().expect("a manifest has a kind");
    let keda = manifest["apiVersion"].as_str().is_some_and(|version| version.starts_with("keda.sh/"));
    let (mut whole, name) = if keda {
        (schema("keda.json"), kind.to_owned())
    } else {
        let whole = schema("kubernetes.json");
        let name = whole["kinds"][kind].as_str().unwrap_or_else(|| panic!("no schema of {kind}")).to_owned();
        (whole, name)
    };
    assert!(whole["$defs"][&name].is_object(), "no schema of {kind}");
    whole["$ref"] = json!(format!("#/$defs/{name}"));
    let validator = jsonschema::draft202012::new(&whole).unwrap();
    validator.iter_errors(manifest).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn manifests_follow_the_schemas_of_their_projects() {
    for path in manifests() {
        let mistakes = mistakes(&yaml(&path));
        assert!(mistakes.is_empty(), "{}:\n{}", path.display(), mistakes.join("\n"));
    }
}

#[test]
fn a_manifest_with_a_mistake_is_refused() {
    let change = |path: &str, pointer: &str, key: &str, value: Value| {
        let mut manifest = manifest(path);
        assert!(mistakes(&manifest).is_empty());
        manifest.pointer_mut(pointer).unwrap()[key] = value;
        assert!(!mistakes(&manifest).is_empty(), "{path}{pointer}/{key} passes");
    };
    let container = "/spec/template/spec/containers/0";
    change("base/deployment.yaml", container, "readynessProbe", json!({}));
    change("base/deployment.yaml", &format!("{container}/livenessProbe"), "periodSeconds", json!("10s"));
    change("base/deployment.yaml", "/spec/template/spec", "terminationGracePeriod", json!(60));
    change("base/deployment.yaml", "/spec", "replicas", json!("2"));
    change("base/poddisruptionbudget.yaml", "/spec", "maxUnavailible", json!(1));
    change("base/service.yaml", "/spec/ports/0", "containerPort", json!(9464));
    change("keda/scaledobject.yaml", "/spec", "maxReplicas", json!(3));
    change("keda/scaledobject.yaml", "/spec/triggers/0/metadata", "lagThreshold", json!(50_000));
    change("keda/triggerauthentication.yaml", "/spec/secretTargetRef/0", "secret", json!("x"));
}

#[test]
fn kustomizations_name_what_is_there() {
    for folder in ["base", "keda"] {
        let kustomization = manifest(&format!("{folder}/kustomization.yaml"));
        let resources = kustomization["resources"].as_array().unwrap();
        for resource in resources {
            let path = package("kubernetes").join(folder).join(resource.as_str().unwrap());
            assert!(path.exists(), "{}", path.display());
        }
        for path in manifests().iter().filter(|path| path.parent().unwrap().ends_with(folder)) {
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(resources.iter().any(|resource| resource == name), "{folder} leaves out {name}");
        }
    }
    let base = manifest("base/kustomization.yaml");
    assert_eq!(base["configMapGenerator"][0]["files"], json!(["pipeline.yaml"]));
    let volumes = &manifest("base/deployment.yaml")["spec"]["template"]["spec"]["volumes"];
    assert_eq!(volumes[0]["configMap"]["name"], base["configMapGenerator"][0]["name"]);
}

#[test]
fn probes_and_ports_are_those_of_the_admin_server() {
    let deployment = manifest("base/deployment.yaml");
    let template = &deployment["spec"]["template"];
    let container = &template["spec"]["containers"][0];
    let address = format!("0.0.0.0:{ADMIN_PORT}");
    let admin = container["env"].as_array().unwrap().iter().find(|env| env["name"] == "PIPE_ADMIN").unwrap();
    assert_eq!(admin["value"], address);
    assert!(text("docker/Dockerfile").contains(&format!("PIPE_ADMIN={address}")));
    assert!(text("docker/Dockerfile").contains(&format!("\nEXPOSE {ADMIN_PORT}\n")));
    assert_eq!(
        container["ports"][0],
        json!({"name": "admin", "containerPort": ADMIN_PORT, "protocol": "TCP"})
    );
    for (probe, path) in
        [("startupProbe", "/livez"), ("readinessProbe", "/readyz"), ("livenessProbe", "/livez")]
    {
        assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "admin"}), "{probe}");
    }
    assert_eq!(template["metadata"]["annotations"]["prometheus.io/port"], ADMIN_PORT.to_string());
    let service = manifest("base/service.yaml");
    assert_eq!(service["spec"]["ports"][0]["port"], ADMIN_PORT);
    assert_eq!(service["spec"]["ports"][0]["targetPort"], "admin");
    for labels in [&service["spec"]["selector"], &deployment["spec"]["selector"]["matchLabels"]] {
        assert_eq!(*labels, template["metadata"]["labels"]);
    }
    // The program's own default is the same port, on this machine alone.
    let units = fs::read_to_string(pipe_tests::root().join("engine/src/units.rs")).unwrap();
    for line in units.lines().filter(|line| line.contains("const ADMIN_ADDRESS")) {
        assert!(line.contains(&format!(":{ADMIN_PORT}\"")), "{line}");
    }
}

#[test]
fn whoever_kills_waits_longer_than_the_drain() {
    let pipeline = yaml(&package("kubernetes/base/pipeline.yaml"));
    let seconds = |text: &str| -> u64 { text.strip_suffix('s').unwrap().parse().unwrap() };
    let drain = pipeline["delivery"]["shutdown_timeout"].as_str().map_or(SHUTDOWN_TIMEOUT.as_secs(), seconds);
    let pod = &manifest("base/deployment.yaml")["spec"]["template"]["spec"];
    let wait = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    // And time to end what is not the drain: sinks that close, the summary.
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= drain + wait + 10);
    let stop = unit("Service", "TimeoutStopSec").parse().map(Duration::from_secs).unwrap();
    assert!(stop >= SHUTDOWN_TIMEOUT + Duration::from_secs(10));
}

#[test]
fn the_scaler_asks_for_the_lag_of_the_pipeline() {
    let pipeline = yaml(&package("kubernetes/base/pipeline.yaml"));
    let scaler = manifest("keda/scaledobject.yaml");
    let asked = &scaler["spec"]["triggers"][0]["metadata"];
    assert_eq!(asked["consumerGroup"], pipeline["name"]);
    let source = &pipeline["sources"]["orders"]["kafka"];
    assert!(source["topics"].as_array().unwrap().contains(&asked["topic"]));
    assert_eq!(source["brokers"], asked["bootstrapServers"]);
    assert_eq!(
        scaler["spec"]["scaleTargetRef"]["name"],
        manifest("base/deployment.yaml")["metadata"]["name"]
    );
    let authentication = manifest("keda/triggerauthentication.yaml");
    assert_eq!(
        scaler["spec"]["triggers"][0]["authenticationRef"]["name"],
        authentication["metadata"]["name"]
    );
    let secret = manifest("secret.example.yaml");
    for target in authentication["spec"]["secretTargetRef"].as_array().unwrap() {
        assert_eq!(target["name"], secret["metadata"]["name"]);
        assert!(secret["stringData"].get(target["key"].as_str().unwrap()).is_some(), "{target}");
    }
}

/// Runs `pipe check` on a file; answers what it says where it finds something wrong.
fn check(path: &Path) -> Result<(), String> {
    let output = pipe_tests::pipe().arg("check").arg(path).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn the_pipelines_of_the_packages_pass_pipe_check() {
    check(&package("check.yaml")).unwrap();
    // The secrets are where the pod has them; here each key of the example is a file.
    let pod = &manifest("base/deployment.yaml")["spec"]["template"]["spec"];
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    let mount =
        mounts.iter().find(|mount| mount["name"] == "secrets").unwrap()["mountPath"].as_str().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let here = scratch.path().join("secrets");
    fs::create_dir(&here).unwrap();
    for (key, value) in manifest("secret.example.yaml")["stringData"].as_object().unwrap() {
        fs::write(here.join(key), value.as_str().unwrap()).unwrap();
    }
    let pipeline = text("kubernetes/base/pipeline.yaml").replace(mount, here.to_str().unwrap());
    let path = scratch.path().join("pipeline.yaml");
    fs::write(&path, &pipeline).unwrap();
    check(&path).unwrap();
    fs::remove_file(here.join("password")).unwrap();
    assert!(check(&path).unwrap_err().contains("cannot be read"));
}

#[test]
fn a_release_is_checked_with_every_ready_made_stage() {
    let mut stages = BTreeSet::new();
    for entry in fs::read_dir(pipe_tests::root().join("stages")).unwrap() {
        let folder = entry.unwrap();
        if folder.path().join("stage.toml").exists() {
            stages.insert(folder.file_name().into_string().unwrap());
            assert!(folder.path().join("README.md").exists(), "{folder:?}");
        }
    }
    let pipeline = yaml(&package("check.yaml"));
    let used = pipeline["stages"]
        .as_object()
        .unwrap()
        .values()
        .map(|stage| stage["use"].as_str().unwrap().to_owned());
    assert_eq!(used.collect::<BTreeSet<_>>(), stages);
}

/// The steps of the Dockerfile: instruction and argument.
fn dockerfile() -> Vec<(String, String)> {
    let text = text("docker/Dockerfile");
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#')).collect();
    let steps = lines.join("\n").replace("\\\n", " ");
    steps
        .lines()
        .map(|step| {
            let (name, argument) = step.split_once(' ').unwrap_or((step, ""));
            (name.to_owned(), argument.trim().to_owned())
        })
        .collect()
}

#[test]
fn the_image_is_built_of_what_is_there_and_does_not_run_as_root() {
    const KNOWN: &[&str] = &[
        "ARG",
        "CMD",
        "COPY",
        "ENTRYPOINT",
        "ENV",
        "EXPOSE",
        "FROM",
        "LABEL",
        "RUN",
        "STOPSIGNAL",
        "USER",
        "VOLUME",
        "WORKDIR",
    ];
    let root = pipe_tests::root();
    let steps = dockerfile();
    let all = |name: &str| -> Vec<&str> {
        steps.iter().filter(|(step, _)| step == name).map(|(_, argument)| argument.as_str()).collect()
    };
    for (name, _) in &steps {
        assert!(KNOWN.contains(&name.as_str()), "{name} is no instruction");
    }
    for copied in all("COPY").iter().filter(|copied| !copied.starts_with("--from=")) {
        let words: Vec<&str> = copied.split_whitespace().collect();
        for source in &words[..words.len() - 1] {
            assert!(root.join(source).exists(), "COPY {copied}");
        }
    }
    assert_eq!(all("COPY").iter().filter(|copied| copied.starts_with("--from=build ")).count(), 1);
    for script in
        all("RUN").iter().flat_map(|run| run.split_whitespace()).filter(|word| word.starts_with("scripts/"))
    {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(root.join(script)).unwrap().permissions());
        assert!(mode & 0o111 != 0, "{script} cannot be run");
    }
    let toolchain = fs::read_to_string(root.join("rust-toolchain.toml")).unwrap();
    let version = all("FROM")[0].strip_prefix("rust:").unwrap().split('-').next().unwrap();
    assert!(toolchain.contains(&format!("channel = \"{version}.")), "{version}");
    assert_eq!(all("FROM").len(), 2);
    assert_eq!(all("STOPSIGNAL"), ["SIGTERM"]);
    let user: u32 = all("USER").last().unwrap().split(':').next().unwrap().parse().unwrap();
    assert_ne!(user, 0);
    let pod = &manifest("base/deployment.yaml")["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsUser"], user);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
}

#[test]
fn what_is_sent_to_the_build_is_all_that_it_needs() {
    let text = text("docker/Dockerfile.dockerignore");
    let sent: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix('!')).collect();
    for path in &sent {
        assert!(pipe_tests::root().join(path).exists(), "{path}");
    }
    for needed in [
        "Cargo.lock",
        "Cargo.toml",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "benches",
        "docs",
        "engine",
        "packages",
        "rust-toolchain.toml",
        "scripts",
        "stages",
        "tests",
        "wit",
    ] {
        assert!(sent.contains(&needed), "{needed}");
    }
}

/// The commands of the packages, as the program understands them.
#[test]
fn the_commands_of_the_packages_are_understood() {
    let image: Vec<String> =
        serde_json::from_str(&dockerfile().iter().find(|(name, _)| name == "CMD").unwrap().1).unwrap();
    let args = &manifest("base/deployment.yaml")["spec"]["template"]["spec"]["containers"][0]["args"];
    let pod: Vec<String> = serde_json::from_value(args.clone()).unwrap();
    let service = unit("Service", "ExecStart").split_whitespace().skip(1).map(str::to_owned).collect();
    // The name of the pod is put in by the cluster.
    let pod = pod.into_iter().map(|arg| arg.replace("$(POD_NAME)", "orders-7c9f-x2x4z")).collect();
    for mut command in [image, pod, service] {
        *command.last_mut().unwrap() = "/nonexistent/pipeline.yaml".into();
        let output = pipe_tests::pipe().args(&command).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("`/nonexistent/pipeline.yaml` cannot be read"), "{command:?}: {said}");
        assert_eq!(output.status.code(), Some(2));
    }
}

/// A directive of the systemd unit; it stands there once.
fn unit(section: &str, key: &str) -> String {
    let text = text("systemd/pipe@.service");
    let (mut inside, mut found) = (false, Vec::new());
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        if line.starts_with('[') {
            inside = line == format!("[{section}]");
        } else if let Some((name, value)) = line.split_once('=')
            && inside
            && name == key
        {
            found.push(value.to_owned());
        }
    }
    assert_eq!(found.len(), 1, "[{section}] {key}: {found:?}");
    found.remove(0)
}

#[test]
fn the_unit_agrees_with_the_program() {
    for (key, value) in [
        // Exit code 2 is a mistake of the pipeline; see `cli::load::EXIT_WRONG`.
        ("RestartPreventExitStatus", "2"),
        ("Restart", "on-failure"),
        // A cluster that is away makes `run` fail after 10 s: that may last, so the unit never gives up.
        ("RestartSec", "5"),
        ("RestartSteps", "6"),
        ("RestartMaxDelaySec", "60"),
        ("KillSignal", "SIGTERM"),
        ("DynamicUser", "yes"),
        ("ProtectSystem", "strict"),
        ("NoNewPrivileges", "yes"),
        // The cache refuses a folder that others may enter, and one that is a link, as systemd makes of its own.
        ("CacheDirectoryMode", "0700"),
        ("CacheDirectory", "pipe/%i"),
        ("Environment", "PIPE_CACHE=%C/pipe/%i/stages"),
        ("WorkingDirectory", "%S/pipe/%i"),
        ("StateDirectory", "pipe/%i"),
    ] {
        assert_eq!(unit("Service", key), value, "{key}");
    }
    assert_eq!(unit("Unit", "StartLimitIntervalSec"), "0");
    assert_eq!(pipe_engine::cli::load::EXIT_WRONG, 2);
    // Compiled stages are mapped executable: with this directive none would run.
    let text = text("systemd/pipe@.service");
    assert!(!text.lines().any(|line| line.starts_with("MemoryDenyWriteExecute=")));
    assert!(text.contains("SystemCallFilter=@system-service"));
}
