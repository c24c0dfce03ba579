//! What calls cost, where nobody has said so in the configuration and where somebody has.

use planfleet_modelsim::{Rule, UsageFigures};
use serde_json::json;

use crate::support::{Home, Rig, plan, step};

fn one_step() -> serde_json::Value {
    json!({"plan": plan([step(1, "Say hello.")])})
}

fn rig() -> Rig {
    let usage = UsageFigures { prompt_tokens: 1_000, completion_tokens: 100, ..UsageFigures::default() };
    let mut rig =
        Rig::new(vec![Rule { usage: Some(usage), ..Rule::text("hello").when_model("gpt-4o-mini") }]);
    let url = rig.sim.url();
    rig.home.write("own.toml", format!("[models.own]\nbase_url = \"{url}\"\nmodel = \"gpt-4o-mini\"\napi_key_env = \"E2E_KEY\"\n[roles]\nplanner = \"own\"\nexecutor = \"own\"\n"));
    rig.set("health.listen=127.0.0.1:0");
    rig
}

/// The built-in table prices what it knows; a price file goes over it, and the configuration over
/// both.
#[test]
fn a_price_is_the_configurations_else_the_files_else_built_in() {
    let rig = rig();
    rig.home.write("task.json", one_step().to_string());
    let catalogue = json!({
        "gpt-4o-mini": {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6},
        "an-image": {"litellm_provider": "openai", "output_cost_per_image": 0.04},
    });
    rig.home.write("litellm.json", catalogue.to_string());
    let run = |more: &[&str]| {
        let mut args = vec!["--config", "own.toml", "run", "--local", "-f", "task.json", "-o", "json"];
        args.extend(more);
        rig.home.planfleet(args).code(0).json()["usd"].as_f64().unwrap()
    };
    // 1,000 in at 0.15 and 100 out at 0.60 a million.
    assert_eq!(run(&[]), 0.000_21);

    let import = ["models", "prices", "import", "--from", "litellm", "litellm.json"];
    let told = rig.home.planfleet(import).code(0).err;
    assert!(told.contains("prices.toml: 1 models; 1 entries have no price"), "{told}");
    assert!(rig.home.planfleet(import).code(2).err.contains("--force"));
    assert_eq!(run(&["--set", "prices.file=prices.toml"]), 0.001_2);

    let own = ["input=0", "output=5"]
        .map(|price| format!("models.own.price.{}", price.replace('=', "_usd_per_million=")));
    assert_eq!(run(&["--set", "prices.file=prices.toml", "--set", &own[0], "--set", &own[1]]), 0.000_5);
}

#[test]
fn prices_say_where_they_are_from() {
    let rig = rig();
    let ask = |args: &[&str]| {
        let mut all = vec!["--config", "own.toml", "models", "prices"];
        all.extend(args);
        rig.home.planfleet(all)
    };
    let shown = ask(&["show", "own", "-o", "json"]).code(0).json();
    assert_eq!((&shown["from"], &shown["input"]), (&json!("built-in"), &json!("0.15")));
    assert!(shown["source"].as_str().unwrap().contains("openai.com"), "{shown:#}");
    let own = ask(&["show", "own", "-o", "json", "--set", "models.own.price.input_usd_per_million=1"]);
    let from = own.code(0).json()["from"].as_str().unwrap().to_owned();
    assert!(from.starts_with("configuration"), "{from}");
    let listed = ask(&["-o", "json"]).code(0).json();
    assert_eq!(listed[0]["model"], "models.own (gpt-4o-mini)");
    assert!(listed.as_array().unwrap().iter().any(|row| row["model"] == "claude-opus-5-5"));
    let unknown = ask(&["show", "gpt-4o-audio"]).code(2).err;
    assert!(unknown.contains("no price of \"gpt-4o-audio\" is known"), "{unknown}");
    let broken = Home::new();
    broken.write("page.html", "<html>");
    let refused =
        broken.planfleet(["models", "prices", "import", "--from", "models.dev", "page.html"]).code(2).err;
    assert!(refused.contains("page.html: not JSON"), "{refused}");
}
