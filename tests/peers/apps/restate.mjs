// The services of the Restate peer: `node restate.mjs runs|steps PORT`.
// `runs` holds the diamonds, in both shapes; `steps` is what the fleet shape calls.
import { createRequire } from "node:module";
import { branch, join, root } from "./workload.mjs";

const restate = createRequire(process.env.PEERS_MODULES)("@restatedev/restate-sdk");

const steps = restate.service({
  name: "steps",
  handlers: {
    root: async (_, { run, text }) => root(run, text),
    branch: async (_, { run, index, text }) => branch(run, index, text),
    join: async (_, { run, texts }) => join(run, texts),
  },
});

const indices = (width) => Array.from({ length: width }, (_, index) => index);

const runs = restate.service({
  name: "runs",
  handlers: {
    workers: async (ctx, { run, width, text }) => {
      const to = ctx.serviceClient(steps);
      const first = await to.root({ run, text });
      const calls = indices(width).map((index) => to.branch({ run, index, text: first }));
      return await to.join({ run, texts: await restate.RestatePromise.all(calls) });
    },
    inProcess: async (ctx, { run, width, text }) => {
      const first = await ctx.run(() => root(run, text));
      const calls = indices(width).map((index) => ctx.run(() => branch(run, index, first)));
      const texts = await restate.RestatePromise.all(calls);
      return await ctx.run(() => join(run, texts));
    },
  },
});

const [role, port] = process.argv.slice(2);
restate.serve({ services: [role === "runs" ? runs : steps], port: Number(port) });
