// Validates custom resources by the schemas of their CRDs: a JSON array of them on standard input.
import { pathToFileURL } from "node:url";

const models = `${pathToFileURL(process.argv[2])}/node_modules/@kubernetes-models`;
const kinds = {
  ScaledObject: await import(`${models}/keda/keda.sh/v1alpha1/ScaledObject.js`),
  ServiceMonitor: await import(`${models}/prometheus-operator/monitoring.coreos.com/v1/ServiceMonitor.js`),
  PrometheusRule: await import(`${models}/prometheus-operator/monitoring.coreos.com/v1/PrometheusRule.js`),
};

let text = "";
for await (const chunk of process.stdin) text += chunk;
let checked = 0;
for (const resource of JSON.parse(text)) {
  const Kind = kinds[resource.kind]?.[resource.kind];
  if (!Kind) throw new Error(`no schema of ${resource.kind}`);
  try {
    new Kind(resource).validate();
  } catch (error) {
    throw new Error(`${resource.kind} ${resource.metadata.name}: ${error.message}`);
  }
  checked += 1;
}
console.log(checked);
