// What a step does, which answer is right, and how a client takes orders, for the peer in Node.
// `workload.py` says the same for Python.
import { openSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";

const PAYLOAD_BYTES = 200;

export const payload = (run, number) => `${run}:${number}:`.padEnd(PAYLOAD_BYTES, "x");

const numberOf = (text) => Number(text.split(":", 2)[1]);

let ledger;

// The no-op: adds its inputs up, and notes in the ledger that it ran.
function step(run, name, plus, inputs) {
  ledger ??= openSync(process.env.PEERS_LEDGER, "a");
  writeSync(ledger, `${run} ${name}\n`);
  return payload(run, inputs.reduce((sum, text) => sum + numberOf(text), plus));
}

export const root = (run, text) => step(run, "root", 1, [text]);
export const branch = (run, index, text) => step(run, String(index), index, [text]);
export const join = (run, texts) => step(run, "join", 0, texts);

const rightAnswer = (run, width) => payload(run, width + (width * (width - 1)) / 2);

// `runOne(run, width, text)` is one run, submit to answer.
export async function takeOrders(runOne) {
  console.log('"ready"');
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(JSON.stringify(await carryOut(runOne, JSON.parse(line))));
  }
}

async function carryOut(runOne, { first, runs, width, at_once }) {
  const latencies_ms = [];
  let wrong = 0;
  let next = first;
  async function place() {
    while (next < first + runs) {
      const run = next++;
      const submitted = performance.now();
      const answer = await runOne(run, width, payload(run, 0));
      latencies_ms.push(performance.now() - submitted);
      wrong += answer !== rightAnswer(run, width);
    }
  }
  const started = performance.now();
  await Promise.all(Array.from({ length: Math.min(at_once, runs) }, place));
  return { makespan_s: (performance.now() - started) / 1000, latencies_ms, wrong };
}
