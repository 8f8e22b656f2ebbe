// Walks every screen of a running console in a real browser and fails on anything that is wrong.
//
//   npm run check:browser -- --base http://127.0.0.1:8080 [--setup LINK] [--out DIR] [--timeout SECONDS]

import { existsSync, mkdirSync } from "node:fs";
import { parseArgs } from "node:util";

import { chromium } from "playwright-core";

import { Walk } from "./walk.mjs";

const BROWSERS = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
/** The browser may talk to the brain under test and to nobody else. */
const BROWSER_ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-sync",
  "--no-first-run",
  "--disable-component-update",
  "--disable-quic",
];

function wrongUse(message) {
  console.error(message);
  process.exit(2);
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        base: { type: "string" },
        setup: { type: "string" },
        out: { type: "string" },
        password: { type: "string", default: "petals on a black bough" },
        timeout: { type: "string", default: "240" },
      },
    }).values;
  } catch (error) {
    return wrongUse(error.message);
  }
}

const options = readOptions();
if (!options.base) wrongUse("--base URL is missing: the address of the running console.");
const executablePath = BROWSERS.find((path) => path && existsSync(path));
if (!executablePath) wrongUse("No Chromium was found. Install the package chromium, or name one in CHROMIUM.");
if (options.out) mkdirSync(options.out, { recursive: true });

const browser = await chromium.launch({ executablePath, args: BROWSER_ARGS });
const deadline = setTimeout(() => {
  console.error(`Not done after ${options.timeout} s.`);
  void browser.close().finally(() => process.exit(1));
}, Number(options.timeout) * 1_000);

const page = await (await browser.newContext()).newPage();
const walk = new Walk(page, { base: options.base.replace(/\/$/, ""), out: options.out, password: options.password });
try {
  await walk.prepare();
  await (options.setup ? walk.setUp(options.setup) : walk.signIn());
  await walk.console();
  await walk.themes();
  await walk.hostile();
  await walk.signOut();
  await walk.signIn();
} catch (error) {
  walk.problem(page.url(), error.message);
  if (options.out) await page.screenshot({ path: `${options.out}/failed.png` }).catch(() => {});
} finally {
  clearTimeout(deadline);
  await browser.close();
}

const problems = [...new Set(walk.problems)];
for (const problem of problems) console.log(`problem: ${problem}`);
console.log(`${walk.screens} screens looked at, ${problems.length} problems`);
process.exitCode = problems.length === 0 ? 0 : 1;
