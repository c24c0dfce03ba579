"""Renders the Helm chart for several value files and checks what comes out.

By Helm itself as a library; by Kubernetes' own schemas, strictly, for the oldest version that is
promised and the newest there is; by the schemas of KEDA's and Prometheus' custom resources; and
against the renders that are kept in golden/, on which the tests in Rust check our own rules.

usage: check.py [--bless] SCHEMAS   (the folder with node_modules; --bless writes golden/)
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import yaml
from helm_python import Chart
from helm_python.errors import HelmError

HERE = Path(__file__).resolve().parent
CHART = HERE.parent.parent / "deploy/helm/planfleet"
GOLDEN = HERE / "golden"
VERSIONS = ["1.33", "1.37"]
CUSTOM = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}

# What the schemas of custom resources let pass: fields that nobody knows.
FIELDS = {
    "ScaledObject": {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval",
                     "cooldownPeriod", "advanced", "triggers"},
    "ServiceMonitor": {"selector", "podTargetLabels", "endpoints"},
    "PrometheusRule": {"groups"},
}
TRIGGERS = {
    "nats-jetstream": {"natsServerMonitoringEndpoint", "useHttps", "account", "stream", "consumer",
                       "lagThreshold", "activationLagThreshold"},
    "prometheus": {"serverAddress", "query", "threshold", "activationThreshold", "ignoreNullValues"},
}

# Values that must be refused, and what the refusal has to name.
REFUSED = [
    ({}, "broker.url is missing"),
    ({"broker": {"url": "nats:4222"}}, "url"),
    ({"broker": {"url": "nats://a:4222", "replicas": 2}}, "replicas"),
    ({"broker": {"url": "nats://a:4222"}, "executer": {}}, "executer"),
    ({"broker": {"url": "nats://a:4222"}, "config": "[nats]\nurl = \"x\"\n"}, "[nats]"),
    ({"broker": {"url": "nats://a:4222"}, "executors": {"plan": {"replicas": 1, "slots": 1, "stepTimeoutSeconds": 1}}}, "plan"),
    ({"broker": {"url": "nats://a:4222"}, "executors": {"gpu": {"replicas": 1, "slots": 1}}}, "stepTimeoutSeconds"),
    ({"broker": {"url": "nats://a:4222"}, "planner": {"autoscaling": {"enabled": True}}}, "monitoringUrl"),
    ({"broker": {"url": "nats://a:4222"}, "api": {"oidc": {"issuer": "https://a"}}}, "audience"),
    ({"broker": {"url": "nats://a:4222"}, "api": {"auth": "none"}}, "auth"),
    ({"broker": {"url": "nats://a:4222"}, "api": {"enabled": True, "ingress": {"enabled": True, "host": "a"}}}, "tlsSecret"),
]


def render(chart: Chart, values: dict) -> dict[str, str]:
    manifests = chart.render(values, name="demo", namespace="fleet")
    return {name: text for name, text in manifests.items() if text.strip() and not name.endswith("NOTES.txt")}


def documents(manifests: dict[str, str]) -> list[dict]:
    return [one for text in manifests.values() for one in yaml.safe_load_all(text) if one]


def check_native(name: str, resources: list[dict]) -> None:
    for resource in resources:
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(resource, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = ".".join(str(part) for part in error.path)
                raise SystemExit(f"{name}: {resource['kind']} {resource['metadata']['name']} "
                                 f"for {version}: {where}: {error.message}") from error


def check_custom(name: str, resources: list[dict], schemas: str) -> None:
    for resource in resources:
        unknown = set(resource["spec"]) - FIELDS[resource["kind"]]
        assert not unknown, f"{name}: {resource['kind']} has {unknown}"
        for trigger in resource["spec"].get("triggers", []):
            unknown = set(trigger["metadata"]) - TRIGGERS[trigger["type"]]
            assert not unknown, f"{name}: trigger {trigger['type']} has {unknown}"
    if not resources:
        return
    program = ["node", "--disable-warning=ExperimentalWarning", str(HERE / "custom.mjs"), schemas]
    ended = subprocess.run(program, input=json.dumps(resources), text=True, capture_output=True, timeout=120)
    assert ended.returncode == 0, f"{name}: {ended.stderr}"
    assert int(ended.stdout) == len(resources), ended.stdout


def chart_digest() -> str:
    """What the golden renders were made of; tests/deploy/main.rs computes the same."""
    digest = hashlib.sha256()
    files = [Path(folder, name) for folder, _, names in os.walk(CHART, followlinks=True) for name in names]
    for name, path in sorted((path.relative_to(CHART).as_posix(), path) for path in files):
        # What `helm dependency build` puts there is not the chart's own.
        if not name.startswith(("charts/", "Chart.lock")):
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def main() -> None:
    bless, [schemas] = "--bless" in sys.argv, [arg for arg in sys.argv[1:] if arg != "--bless"]
    counts = {}
    with Chart.load(CHART) as chart:
        for file in sorted((CHART / "ci").glob("*.yaml")):
            manifests = render(chart, yaml.safe_load(file.read_text()))
            resources = documents(manifests)
            custom = [one for one in resources if one["kind"] in CUSTOM]
            check_native(file.name, [one for one in resources if one["kind"] not in CUSTOM])
            check_custom(file.name, custom, schemas)
            text = "".join(f"---\n# {name}\n{manifests[name].strip()}\n" for name in sorted(manifests))
            golden = GOLDEN / file.name
            if bless:
                golden.write_text(text)
            assert golden.read_text() == text, f"{golden} is not what is rendered now: run with --bless"
            counts[file.name] = len(resources)
        for values, named in REFUSED:
            try:
                render(chart, values)
            except HelmError as error:
                assert named in str(error), f"{values}: {error}"
            else:
                raise SystemExit(f"not refused: {values}")
    if bless:
        (GOLDEN / "chart.sha256").write_text(chart_digest() + "\n")
    assert (GOLDEN / "chart.sha256").read_text().strip() == chart_digest(), "golden/ is old: run with --bless"
    told = ", ".join(f"{name}: {count} resources" for name, count in counts.items())
    print(f"deploy: {told}; {len(REFUSED)} refused; Kubernetes {', '.join(VERSIONS)}")


if __name__ == "__main__":
    main()
