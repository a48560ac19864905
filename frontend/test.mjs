// Bundles the tests, which are TypeScript, and runs them with node's own runner.
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const tests = fileURLToPath(new URL("tests/", import.meta.url));
const folder = await mkdtemp(join(tmpdir(), "kdprobe-page-"));
const names = (await readdir(tests)).filter((name) => name.endsWith(".test.ts"));
await build({
  entryPoints: names.map((name) => join(tests, name)),
  bundle: true,
  platform: "node",
  format: "esm",
  target: "node20",
  jsx: "automatic",
  jsxImportSource: "preact",
  outdir: folder,
  outExtension: { ".js": ".mjs" },
});
const built = names.map((name) => join(folder, name.replace(/ts$/, "mjs")));
const { status } = spawnSync(process.execPath, ["--test", ...built], { stdio: "inherit" });
await rm(folder, { recursive: true });
process.exit(status ?? 1);
