//! Stories of configurations, good and bad; the environment is always given.

use std::collections::BTreeMap;
use std::fs;

use super::*;

const TWO_MODELS: &str = r#"
[models.smart]
base_url = "https://example.org/v1"
model = "big"
api_key_env = "KEY"
price = { input_usd_per_million = 2, output_usd_per_million = "10.5" }

[models.fast]
base_url = "http://127.0.0.1:8000/v1"
model = "small"

[roles]
planner = "smart"
executor = "fast"
"#;

struct Story {
    directory: tempfile::TempDir,
    env: BTreeMap<String, String>,
    overrides: Vec<(String, String)>,
}

fn story(file: &str) -> Story {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("planfleet.toml"), file).unwrap();
    Story {
        directory,
        env: BTreeMap::from([("HOME".to_owned(), "/home/x".to_owned())]),
        overrides: Vec::new(),
    }
}

impl Story {
    fn env(mut self, variable: &str, text: &str) -> Self {
        self.env.insert(variable.to_owned(), text.to_owned());
        self
    }

    fn flag(mut self, key: &str, text: &str) -> Self {
        self.overrides.push((key.to_owned(), text.to_owned()));
        self
    }

    fn load(&self) -> Result<Settings, ConfigError> {
        let request = LoadRequest {
            file: None,
            overrides: self.overrides.clone(),
            directory: self.directory.path().to_owned(),
        };
        Settings::load(&request, &self.env)
    }

    /// The faults' lines, without the path of the directory.
    fn faults(&self) -> Vec<String> {
        let directory = format!("{}/", self.directory.path().display());
        let text = self.load().unwrap_err().to_string();
        text.lines().map(|l| l.replace(&directory, "")).collect()
    }
}

#[test]
fn the_embedded_file_equals_the_defaults_and_names_every_key() {
    let loaded = story("").load().unwrap();
    let mut expected = Settings::default();
    implied::fill(&mut expected, &story("").env);
    expected.origin_notes.clone_from(&loaded.origin_notes);
    assert_eq!(loaded, expected);
    assert_eq!(loaded.data.dir, "/home/x/.local/share/planfleet");
    assert_eq!(loaded.pools["plan"].slots, 4);

    let mut sections = serde_json::to_value(Settings::default()).unwrap();
    sections["model"] = serde_json::to_value(ModelSettings::default()).unwrap();
    sections["pool"] = serde_json::to_value(PoolSettings::default()).unwrap();
    // Tables of their own.
    for table in ["oidc", "tls"] {
        sections[format!("api.{table}")] = sections["api"].as_object_mut().unwrap().remove(table).unwrap();
    }
    // Named tables, as `models` are.
    sections["tools"].as_object_mut().unwrap().retain(|key, _| key != "http" && key != "limits");
    sections["nats.tls"] = sections["nats"].as_object_mut().unwrap().remove("tls").unwrap();
    for (section, keys) in sections.as_object().unwrap() {
        for key in keys.as_object().unwrap().keys() {
            assert!(DEFAULT_TOML.contains(&format!("{key} = ")), "{section}.{key}");
        }
    }
}

#[test]
fn a_pool_that_is_configured_takes_no_other_away() {
    let loaded = story("[pools.gpu]\nslots = 2\n").load().unwrap();
    let slots: Vec<usize> = ["plan", "default", "gpu"].map(|name| loaded.pools[name].slots).into();
    assert_eq!(slots, [4, 16, 2]);
}

#[test]
fn the_commented_examples_are_valid() {
    let is_example = |line: &&str| line.starts_with('[') || line.starts_with("# [") || line.contains(" = ");
    let lines = DEFAULT_TOML.lines().filter(is_example);
    let text: Vec<&str> = lines.map(|line| line.trim_start_matches("# ")).collect();
    let text = text
        .join("\n")
        .replace("api_key_file = ", "# api_key_file = ")
        .replace("value_file = ", "# value_file = ");
    let settings = story(&text).load().unwrap();
    let price = settings.models["fast"].price;
    assert_eq!(price.input_usd_per_million.unwrap().nano_usd(), 100_000_000);
    assert_eq!(settings.nats.sync_interval.as_deref(), Some("always"));
    assert_eq!(settings.tools.http["lookup"].arguments["required"][0], "word");
    assert_eq!(settings.mcp["time"].effects["get_current_time"], ToolEffect::Read);
    assert_eq!(settings.credentials["github"].value_env, "GITHUB_TOKEN");
    let shown = settings.redacted_toml().unwrap();
    assert!(shown.contains("api.github.com") && shown.contains("GITHUB_TOKEN"), "{shown}");
}

#[test]
fn who_a_process_is_to_the_broker_is_checked() {
    let seed = format!("SU{}", "A".repeat(56));
    let faults = story(&format!("[nats]\nnkey = \"{seed}\"\n")).faults().join("\n");
    assert!(faults.contains("nats.nkey") && !faults.contains(&seed), "{faults}");
    let mixed = "[nats]\nnkey = \"a.nk\"\ncreds = \"a.creds\"\ninbox_prefix = \"_INBOX.>\"\ntls.cert = \"c.pem\"\n\
         [api.tls]\nkey = \"a.key\"\n";
    let faults = story(mixed).faults().join("\n");
    for key in ["nats.nkey", "nats.inbox_prefix", "nats.tls.cert", "api.tls.cert"] {
        assert!(faults.contains(key), "{key}: {faults}");
    }
    let sound = "[nats]\nnkey = \"a.nk\"\ninbox_prefix = \"_INBOX.x\"\n[nats.tls]\nca = \"ca.pem\"\n";
    assert_eq!(story(sound).load().unwrap().nats.tls.ca, "ca.pem");
}

#[test]
fn secrets_in_the_place_of_names_are_refused_and_not_repeated() {
    let story = story(
        "[credentials.c]\nhosts = [\"a.example\"]\nheader = \"x-key\"\nvalue_env = \"s3-cret\"\n\
         [mcp.m]\ncommand = \"x\"\nurl = \"http://y\"\nenv = [\"s3-cret\"]\n",
    );
    let faults = story.faults().join("\n");
    for key in ["credentials.c.value_env", "mcp.m.command", "mcp.m.env"] {
        assert!(faults.contains(key), "{key}: {faults}");
    }
    assert!(!faults.contains("s3-cret"), "{faults}");
}

#[test]
fn layers_win_in_order() {
    let file = "[nats]\nurl = \"nats://file\"\nname = \"file\"\nshards = 8\ncreds = \"file\"\n";
    let story = story(file)
        .env("NATS_URL", "nats://ambient")
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318")
        .env("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
        .env("PLANFLEET__NATS__SHARDS", "16")
        .env("PLANFLEET__NATS__NAME", "007")
        .env("PLANFLEET__NATS__CREDS", "env")
        .env("PLANFLEET__TOOLS__ROOTS", "/a, /b")
        .env("PLANFLEET_HOME", "is not a setting")
        .flag("nats.creds", "flag")
        .flag("tools.allow_loopback", "true");
    let settings = story.load().unwrap();
    assert_eq!(settings.nats.replicas, 1);
    assert_eq!(settings.nats.url, "nats://file");
    assert_eq!(settings.telemetry.otlp_endpoint, "http://collector:4318");
    assert!(settings.telemetry.capture_content);
    assert_eq!(settings.nats.shards, 16);
    assert_eq!(settings.nats.name, "007");
    assert_eq!(settings.nats.creds, "flag");
    assert_eq!(settings.tools.roots, ["/a", "/b"]);
    assert!(settings.tools.allow_loopback);
    assert_eq!(settings.source_of("nats.shards"), "env PLANFLEET__NATS__SHARDS");
    assert!(settings.source_of("nats.url").ends_with("planfleet.toml:2"));
}

#[test]
fn three_mistakes_in_one_file_are_all_named() {
    let faults = story("[nats]\nulr = \"x\"\nreplicas = 2\n\n[pools.default]\nslots = \"many\"\n");
    assert_eq!(
        faults.faults(),
        [
            "nats.replicas: 2 is not a quorum; expected 1, 3 or 5 (planfleet.toml:3)",
            "nats.ulr: unknown key; did you mean `url`? (planfleet.toml:2)",
            "pools.default.slots: invalid type: string \"many\", expected usize (planfleet.toml:6)",
        ]
    );
}

#[test]
fn the_page_of_a_trace_has_a_place_for_its_id() {
    let said = |url: &str| story(&format!("[api]\ntrace_url = {url:?}\n"));
    for wrong in ["https://example.org/trace", "javascript:alert({trace_id})"] {
        let expected = format!(
            "api.trace_url: {wrong:?} is no page of a trace; expected an http(s):// URL with {{trace_id}} in it \
             (planfleet.toml:2)"
        );
        assert_eq!(said(wrong).faults(), [expected]);
    }
    assert!(said("http://127.0.0.1:16686/trace/{trace_id}").load().is_ok());
}

#[test]
fn a_typo_in_a_variable_or_a_section_is_refused() {
    let story = story("[nast]\nurl = \"x\"\n")
        .env("PLANFLEET__NATS__ULR", "x")
        .env("PLANFLEET__LIMITS__REPLANS", "lots");
    assert_eq!(
        story.faults(),
        [
            "limits.replans: invalid type: string \"lots\", expected u32 (env PLANFLEET__LIMITS__REPLANS)",
            "nast: unknown key; did you mean `nats`? (planfleet.toml:2)",
            "nats.ulr: unknown key; did you mean `url`? (env PLANFLEET__NATS__ULR)",
        ]
    );
}

#[test]
fn a_role_that_names_no_model_lists_those_that_exist() {
    let story = story(TWO_MODELS).flag("roles.judge", "fats");
    assert_eq!(
        story.faults(),
        ["roles.judge: no model is named `fats`; did you mean `fast`? \
             (configured: fast, smart) (command line)"]
    );
}

#[test]
fn broken_syntax_is_told_with_its_line() {
    let faults = story("[nats]\nurl = \n").faults();
    assert!(faults[0].starts_with("planfleet.toml:2: "), "{faults:?}");
}

#[test]
fn shares_and_limits_are_read_and_checked() {
    let good = "[tenants.acme]\nweight = 3\nconcurrency = 50\n[pools.default]\nconcurrency = 9\n\
                [tools.limits.lookup]\nconcurrency = 4\n[flow]\nwindow_per_slot = 3\n";
    let settings = story(good).load().unwrap();
    assert_eq!((settings.tenants["acme"].weight, settings.tenants["acme"].concurrency), (Some(3), Some(50)));
    assert_eq!(settings.tools.limits["lookup"].concurrency, Some(4));
    assert_eq!((settings.flow.window_per_slot, settings.flow.window_ms), (3, 100));
    let bad = "[tenants.acme]\nweight = 0\n[pools.default]\nconcurrency = 0\n[tools.limits.lookup]\n\
               [flow]\nwindow_ms = 1\n";
    let text = story(bad).faults().join("\n");
    for part in [
        "tenants.acme.weight: 0 is out of range; expected 1 to 1000 (planfleet.toml:2)",
        "pools.default.concurrency: 0 is out of range",
        "tools.limits.lookup.concurrency: missing; expected how many steps may call it at once",
        "flow.window_ms: 1 is out of range; expected 10 to 60000",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
}

#[test]
fn semantic_faults_name_what_would_be_right() {
    let file = "[nats]\nurl = \"nats://a:70000\"\n[models.a]\napi_key_env = \"sk-123\"\n\
                wire = \"openai\"\n[health]\nlisten = \"localhost\"\n[models.a.price]\n\
                input_usd_per_million = \"cheap\"\n";
    let text = story(file).faults().join("\n");
    for part in [
        "nats.url: port 70000 is out of range; expected 1 to 65535 (planfleet.toml:2)",
        "models.a.base_url: missing",
        "models.a.model: missing",
        "models.a.wire: unknown variant `openai`, expected `openai-chat` or `anthropic-messages`",
        "models.a.api_key_env: not a variable's name",
        "health.listen: `localhost` has no port",
        "models.a.price.input_usd_per_million: `cheap` is not a price",
    ] {
        assert!(text.contains(part), "{part}\nis not in\n{text}");
    }
    assert!(!text.contains("sk-123"), "{text}");
}

#[test]
fn only_the_health_port_can_be_off() {
    assert_eq!(story("[health]\nlisten = \"off\"\n").load().unwrap().health.listen, "off");
    let faults = story("[api]\nlisten = \"off\"\n").faults();
    assert!(faults[0].starts_with("api.listen: `off` has no port"), "{faults:?}");
}

#[test]
fn a_missing_file_is_a_fault_only_when_it_was_asked_for() {
    let request = LoadRequest { file: Some("/nowhere/x.toml".into()), ..LoadRequest::default() };
    let error = Settings::load(&request, &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().starts_with("/nowhere/x.toml: cannot be read"));
}

#[test]
fn the_users_own_file_is_taken_when_there_is_no_local_one() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("planfleet")).unwrap();
    let file = directory.path().join("planfleet/config.toml");
    fs::write(file, "[nats]\nname = \"mine\"\n").unwrap();
    let home = directory.path().display().to_string();
    let env = BTreeMap::from([("XDG_CONFIG_HOME".to_owned(), home)]);
    let request = LoadRequest { directory: directory.path().to_owned(), ..LoadRequest::default() };
    assert_eq!(Settings::load(&request, &env).unwrap().nats.name, "mine");
}

#[test]
fn roles_fall_back() {
    let settings = story(TWO_MODELS).load().unwrap();
    assert_eq!(settings.role(Role::Strong).unwrap()[0].0, "smart");
    assert_eq!(settings.role(Role::Judge).unwrap()[0].0, "fast");
    assert_eq!(settings.role(Role::Triage).unwrap()[0].0, "fast");
    let several = story(TWO_MODELS).flag("roles.executor", "fast, smart").load().unwrap();
    let names = |role| several.role(role).unwrap().iter().map(|(name, _)| *name).collect::<Vec<_>>();
    assert_eq!((names(Role::Executor), names(Role::Judge)), (vec!["fast", "smart"], vec!["fast", "smart"]));
    let error = story("").load().unwrap().role(Role::Planner).unwrap_err().to_string();
    assert!(error.contains("configured: none"), "{error}");
}

#[test]
fn prices_are_exact_and_open_tables_take_what_they_are_given() {
    let story = story(TWO_MODELS)
        .env("PLANFLEET__MODELS__FAST__EXTRA_BODY__TOP_K", "40")
        .env("PLANFLEET__MODELS__FAST__EXTRA_BODY__EFFORT", "low")
        .env("PLANFLEET__MODELS__FAST__EXTRA_HEADERS__TEAM", "7")
        .env("PLANFLEET__MODELS__FAST__PRICE__INPUT_USD_PER_MILLION", "0.1");
    let settings = story.load().unwrap();
    let (smart, fast) = (&settings.models["smart"], &settings.models["fast"]);
    assert_eq!(smart.price.output_usd_per_million.unwrap().nano_usd(), 10_500_000_000);
    assert_eq!(smart.price.input_usd_per_million.unwrap().to_string(), "2");
    assert_eq!(smart.price.cached_input_usd_per_million, None);
    assert_eq!(fast.price.input_usd_per_million.unwrap().nano_usd(), 100_000_000);
    assert_eq!(fast.extra_body["top_k"], 40);
    assert_eq!(fast.extra_body["effort"], "low");
    assert_eq!(fast.extra_headers["team"], "7");
}

#[test]
fn a_models_way_to_json_is_its_dialects_unless_it_is_said() {
    let story = story(TWO_MODELS)
        .env("PLANFLEET__MODELS__FAST__STRUCTURED", "prompt")
        .env("PLANFLEET__MODELS__FAST__SMALL_MODEL", "true");
    let settings = story.load().unwrap();
    let (smart, fast) = (&settings.models["smart"], &settings.models["fast"]);
    assert_eq!((smart.structured, smart.small_model), (None, false));
    assert_eq!((fast.structured, fast.small_model), (Some(Structured::Prompt), true));
    let faults = story.flag("models.smart.structured", "json").faults();
    assert!(
        faults[0].contains("expected one of `json_schema`, `tool_call`, `json_object`, `prompt`"),
        "{faults:?}"
    );
}

#[test]
fn openai_variables_make_a_model_when_none_is_configured() {
    let url = "http://me:hunter2@127.0.0.1:9/v1?key=hunter2";
    let local = story("").env("OPENAI_BASE_URL", url).env("OPENAI_MODEL", "tiny").load().unwrap();
    let (name, model) = local.role(Role::Planner).unwrap()[0];
    assert_eq!((name, model.model.as_str()), ("openai", "tiny"));
    assert_eq!((model.dialect.as_str(), model.api_key_env.as_str()), ("generic", ""));
    assert!(local.origin_notes.iter().any(|note| note.contains("OPENAI_")));
    assert!(local.origin_notes.iter().all(|note| !note.contains("hunter2")));

    let hosted = story("").env("OPENAI_API_KEY", "k").load().unwrap();
    assert_eq!(hosted.models["openai"].dialect, "openai");

    let configured = story(TWO_MODELS).env("OPENAI_API_KEY", "k").load().unwrap();
    assert!(!configured.models.contains_key("openai"));
}

#[test]
fn anthropic_s_key_alone_makes_a_model_too() {
    let settings = story("").env("ANTHROPIC_API_KEY", "k").load().unwrap();
    let (name, model) = settings.role(Role::Executor).unwrap()[0];
    assert_eq!(
        (name, model.wire, model.api_key_env.as_str()),
        ("anthropic", Wire::AnthropicMessages, "ANTHROPIC_API_KEY")
    );
    assert_eq!(
        (model.model.as_str(), model.base_url.as_str()),
        ("claude-sonnet-5-5", "https://api.anthropic.com")
    );
    assert!(settings.origin_notes.iter().any(|note| note.contains("ANTHROPIC_")));

    let own = story("")
        .env("ANTHROPIC_API_KEY", "k")
        .env("ANTHROPIC_MODEL", "m")
        .env("ANTHROPIC_BASE_URL", "http://a")
        .load()
        .unwrap();
    let model = &own.models["anthropic"];
    assert_eq!((model.model.as_str(), model.base_url.as_str()), ("m", "http://a"));
    let both = story("").env("ANTHROPIC_API_KEY", "k").env("OPENAI_API_KEY", "k").load().unwrap();
    assert_eq!(both.models.keys().collect::<Vec<_>>(), ["openai"]);
    assert!(story("").env("ANTHROPIC_BASE_URL", "http://a").load().unwrap().models.is_empty());
}

#[test]
fn secrets_come_from_where_they_are_said_to_be() {
    let settings = story(TWO_MODELS).load().unwrap();
    let source = SecretSource { model: "smart" };
    let (smart, fast) = (&settings.models["smart"], &settings.models["fast"]);
    let found = source.resolve(smart, &|name| (name == "KEY").then(|| "k\n".to_owned()));
    assert_eq!(found.unwrap().as_deref(), Some("k"));
    let missing = source.resolve(smart, &|_| None).unwrap_err().to_string();
    assert!(missing.contains("`smart`") && missing.contains("KEY"), "{missing}");
    assert_eq!(source.resolve(fast, &|_| None).unwrap(), None);
}

#[test]
fn what_is_shown_hides_secrets() {
    let file = "[nats]\nurl = \"nats://me:hunter2@a:1/x,nats://b\"\n\
                creds = \"-----BEGIN NATS USER JWT-----\"\n\
                [models.a]\nbase_url = \"http://u:hunter2@c/v1?key=hunter2\"\nmodel = \"m\"\n\
                api_key_env = \"KEY\"\nmax_output_tokens = 9\n\
                extra_headers = { x = \"hunter2\" }\n\
                extra_body = { api_key = \"hunter2\", inner = { token = 5 } }\n";
    let text = story(file).load().unwrap().redacted_toml().unwrap();
    for hidden in ["hunter2", "JWT", "token = 5"] {
        assert!(!text.contains(hidden), "{hidden} is in\n{text}");
    }
    for shown in
        ["api_key_env = \"KEY\"", "max_output_tokens = 9", "\"nats://a:1/x,nats://b\"", "\"http://c/v1\""]
    {
        assert!(text.contains(shown), "{shown} is not in\n{text}");
    }
}
