//! The files of `deploy/` are accepted by the programs that read them.

use std::{path::Path, process::Command};

use crate::support::{Home, nats_server};

fn deploy(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name).display().to_string()
}

#[test]
fn the_fleet_s_configuration_is_sound() {
    let mut home = Home::new();
    let file = deploy("planfleet.toml");
    home.planfleet(["--config", &file, "config", "check"]).code(2);
    home.set("OPENAI_API_KEY", "sk-deploy");
    home.planfleet(["--config", &file, "config", "check"]).code(0);
}

#[test]
fn the_broker_takes_its_configuration() {
    let checked = Command::new(nats_server())
        .args(["-t", "-c", &deploy("nats-server.conf")])
        .envs([("NODE", "nats-1"), ("NATS_ROUTES", "nats://nats-2:6222"), ("CLUSTER_PASSWORD", "x")])
        .output()
        .expect("nats-server runs");
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn every_unit_is_a_role() {
    let home = Home::new();
    let unit = std::fs::read_to_string(deploy("systemd/planfleet@.service")).expect("the unit");
    assert!(unit.contains("serve --roles %i"), "{unit}");
    // Nothing else may be written, and no home is there: what a role keeps is where it is let.
    let state =
        unit.lines().find_map(|line| line.strip_prefix("StateDirectory=")).expect("a folder of its own");
    assert!(unit.contains(&format!("Environment=PLANFLEET__DATA__DIR=%S/{state}\n")), "{unit}");
    let readme = std::fs::read_to_string(deploy("README.md")).expect("the page");
    let roles: Vec<&str> =
        readme.split("planfleet@").skip(1).filter_map(|rest| rest.split([' ', '`', '.']).next()).collect();
    let help = home.planfleet(["serve", "--help"]).code(0);
    let named: Vec<&&str> = roles.iter().filter(|role| !role.is_empty()).collect();
    assert!(named.len() >= 3 && named.iter().all(|role| help.out.contains(**role)), "{named:?}");
}
