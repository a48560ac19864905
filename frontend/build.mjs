// Builds the assets of the Python package. The same sources and lock file give the same bytes.
import { build } from "esbuild";
import { copyFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const assets = here("../src/kdprobe/report/assets/");

await build({
  entryPoints: { page: here("src/main.tsx") },
  bundle: true,
  minify: true,
  charset: "utf8",
  format: "iife",
  target: "es2022",
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  banner: { js: "/* Made by `make frontend` from frontend/; contains Preact (MIT). */" },
  outdir: assets,
});
await build({
  entryPoints: { page: here("src/page.css") },
  bundle: true,
  minify: true,
  legalComments: "none",
  outdir: assets,
});
await copyFile(here("node_modules/plotly.js-cartesian-dist-min/plotly-cartesian.min.js"), `${assets}plotly.js`);
