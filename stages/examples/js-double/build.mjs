// Builds the component: node build.mjs <stage.js> <folder of the WIT> <out.wasm>
import { readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [source, wit, out] = process.argv.slice(2);
// The packages are under the build's target folder, which is the working folder.
const require = createRequire(pathToFileURL(process.cwd() + "/"));
const { componentize } = await import(pathToFileURL(require.resolve("@bytecodealliance/componentize-js")).href);
const { component } = await componentize(await readFile(source, "utf8"), {
  witPath: wit,
  worldName: "stage",
  // Without them the component imports nothing but the host's log.
  disableFeatures: ["stdio", "random", "clocks", "http", "fetch-event"],
});
await writeFile(out, component);
