import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

/** What the built files are made of. A test in `crates/api/src/ui.rs` compares it with the sources. */
const SOURCES = ["index.html", "package-lock.json", "package.json", "src", "tsconfig.json", "vite.config.ts"];

function files(path: string): string[] {
  try {
    return readdirSync(path).sort().flatMap((name) => files(join(path, name)));
  } catch {
    return [path];
  }
}

/** Writes the hash of every source beside what was built from it, as sha256sum does. */
function sources(): Plugin {
  return {
    name: "sources",
    apply: "build",
    generateBundle() {
      const hash = (path: string) => createHash("sha256").update(readFileSync(path)).digest("hex");
      const lines = SOURCES.flatMap(files).sort().map((path) => `${hash(path)}  ${path}\n`);
      this.emitFile({ type: "asset", fileName: "SOURCES.sha256", source: lines.join("") });
    },
  };
}

/** What is built into the page, and asks for its licence to be handed on. */
const OTHERS = ["preact", "@preact/signals", "@preact/signals-core", "preact-iso", "@dagrejs/dagre", "@dagrejs/graphlib"];

function licences(): Plugin {
  return {
    name: "licences",
    apply: "build",
    generateBundle() {
      const texts = OTHERS.map((name) => `${name}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`);
      this.emitFile({ type: "asset", fileName: "licences.txt", source: texts.join("\n---\n\n") });
    },
  };
}

export default defineConfig({
  plugins: [sources(), licences()],
  build: {
    // What knows `light-dark()`, from spring 2024; nothing is loaded late, so nothing has to be preloaded.
    target: ["chrome123", "firefox121", "safari17.5"],
    modulePreload: { polyfill: false },
    // Pictures stay files: the page's policy takes them from its own server.
    assetsInlineLimit: 0,
    reportCompressedSize: false,
  },
  server: {
    // `PLANFLEET_API=http://127.0.0.1:8460 npm run dev` shows a running fleet. The API refuses pages
    // of other origins, which this one is: the Origin header stays here.
    proxy: {
      "/v1": {
        target: process.env["PLANFLEET_API"] ?? "http://127.0.0.1:8460",
        changeOrigin: true,
        configure: (proxy) => proxy.on("proxyReq", (request) => request.removeHeader("origin")),
      },
    },
  },
});
