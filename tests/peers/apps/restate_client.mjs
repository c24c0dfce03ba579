// The client of the Restate peer: `node restate_client.mjs INGRESS_URL workers|inProcess`.
import { createRequire } from "node:module";
import { takeOrders } from "./workload.mjs";

const clients = createRequire(process.env.PEERS_MODULES)("@restatedev/restate-sdk-clients");

const [url, handler] = process.argv.slice(2);
const runs = clients.connect({ url }).serviceClient({ name: "runs" });
await takeOrders((run, width, text) => runs[handler]({ run, width, text }));
