// Consistency of the page's files.

import assert from "node:assert/strict";
import { readFile, readdir } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";

const WEB = fileURLToPath(new URL("../../../stream/web", import.meta.url));

const names = (await readdir(WEB, { recursive: true })).sort();
const WORKER = "push.js"; // the service worker of notifications, which is no module of the page
const modules = names.filter((name) => name.endsWith(".js") && name !== WORKER);
const sheets = names.filter((name) => name.endsWith(".css"));
const html = await readFile(join(WEB, "index.html"), "utf8");
const sources = new Map(await Promise.all(
  modules.map(async (name) => [name, await readFile(join(WEB, name), "utf8")])));
// The unit tests of the page, and those in a browser.
const TESTS = fileURLToPath(new URL("../..", import.meta.url));
const tests = [];
for (const folder of ["web/cameras", "web/connection", "web/events", "web/live", "web/people", "web/rules", "web/settings", "web/wall", "e2e"]) {
  for (const name of await readdir(join(TESTS, folder))) {
    if (/\.(test\.js|py)$/.test(name)) {
      tests.push(await readFile(join(TESTS, folder, name), "utf8"));
    }
  }
}

test("every module is preloaded, so that none waits for another", () => {
  const preloaded = [...html.matchAll(/rel="modulepreload" href="([^"]+)"/g)].map(([, href]) => href);
  assert.deepEqual(preloaded.sort(), modules.filter((name) => name !== "app.js"));
});

test("every module is imported", () => {
  const imported = new Set(["app.js"]);
  for (const [name, source] of sources) {
    for (const [, from] of source.matchAll(/^import [^;]* from "([^"]+)";/gm)) {
      imported.add(relative(WEB, join(WEB, dirname(name), from)));
    }
  }
  assert.deepEqual([...imported].sort(), modules);
});

test("every export is used by another module or by a test", () => {
  for (const [name, source] of sources) {
    for (const [, exported] of source.matchAll(/^export (?:async )?(?:const|function|class) (\w+)/gm)) {
      const users = [...sources].filter(([other]) => other !== name).map(([, text]) => text);
      const isUsed = [...users, ...tests].some((text) => new RegExp(`\\b${exported}\\b`).test(text));
      assert.ok(isUsed, `${name} has an unused export: ${exported}`);
    }
  }
});

test("every id that a module uses is in the page, or created by a module", () => {
  const all = [html, ...sources.values()].join("\n");
  const ids = new Set([...all.matchAll(/\bid(?:=|: )"([^"]+)"/g)].map(([, id]) => id));
  for (const [name, source] of sources) {
    for (const [, id] of source.matchAll(/\bbyId\("([^"]+)"/g)) {
      assert.ok(ids.has(id), `${name}: ${id}`);
    }
  }
});

test("every id of the page is used", async () => {
  const css = (await Promise.all(sheets.map((name) => readFile(join(WEB, name), "utf8")))).join("\n");
  const text = [...sources.values(), css, ...tests].join("\n");
  for (const [, id] of html.matchAll(/\bid="([^"]+)"/g)) {
    const refers = new RegExp(`(?:for|aria-labelledby|aria-describedby|href|list)="[^"]*\\b${id}\\b[^"]*"`);
    // Ids such as camera-form-NAME are composed of a prefix and a name.
    const isComposed = /^(camera-form|region|filter|view)-|-(dialog|form|problem)$/.test(id);
    assert.ok(isComposed || refers.test(html) || new RegExp(`["'\`#]${id}\\b`).test(text), id);
  }
});

test("every class of the style sheets is used", async () => {
  const all = [html, ...sources.values()].join("\n");
  for (const sheet of sheets) {
    const css = (await readFile(join(WEB, sheet), "utf8")).replace(/\/\*.*?\*\//gs, "");
    for (const [, selector] of css.matchAll(/([^{}]+)\{/g)) {
      for (const [, name] of selector.matchAll(/\.([a-z][\w-]*)/g)) {
        assert.ok(new RegExp(`["' \`]${name}["' \`]`).test(all), `${sheet}: .${name}`);
      }
    }
  }
});
