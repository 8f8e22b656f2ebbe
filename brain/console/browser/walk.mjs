// The walk through every screen of the console.

import { join } from "node:path";

import { PAYLOADS, poison } from "./hostile.mjs";
import { contrast, cut, overflow, semantics, struck } from "./measure.mjs";

const SIZES = [
  { width: 1440, height: 900 },
  { width: 390, height: 844 },
];
const THEMES = ["light", "dark"];
/** Every width at which nothing may reach out of the window. */
const WIDTHS = [360, 390, 768, 1024, 1440, 1920];
/** A page of hostile strings can be very long. */
const SHOT_MAX = 4_000;
/** Longer than a screen needs to settle, shorter than a patience. */
const WAIT_MS = 10_000;

export class Walk {
  constructor(page, { base, out, password }) {
    this.page = page;
    this.base = base;
    this.out = out;
    this.password = password;
    this.problems = [];
    this.screens = 0;
    page.setDefaultTimeout(WAIT_MS);
    page.on("console", (message) => {
      if (message.type() === "error") this.problem("console", message.text());
    });
    page.on("pageerror", (error) => this.problem("page", error.message));
    page.on("dialog", (dialog) => {
      this.problem("dialog", dialog.message());
      void dialog.dismiss();
    });
    page.on("request", (request) => {
      if (!request.url().startsWith(base)) this.problem("request", `the page asked for ${request.url()}`);
    });
  }

  problem(where, what) {
    this.problems.push(`${where}: ${what}`);
  }

  async prepare() {
    await this.page.addInitScript(() => {
      window.__violations = [];
      document.addEventListener("securitypolicyviolation", (event) => {
        window.__violations.push(`${event.effectiveDirective} refused ${event.blockedURI || "inline"}`);
      });
    });
  }

  async open(path) {
    await this.page.goto(this.base + path, { waitUntil: "domcontentloaded" });
    await this.settle();
  }

  /** Waits until a heading is drawn, nothing is being read, and animations have ended. */
  async settle() {
    await this.page.locator("h1").first().waitFor();
    await this.page.locator(".notice-loading").first().waitFor({ state: "detached" });
    await this.page.waitForTimeout(150);
  }

  async measure(name, checks) {
    for (const check of checks) {
      for (const found of await this.page.evaluate(check)) this.problem(name, found);
    }
    for (const found of await this.page.evaluate(() => window.__violations.splice(0))) this.problem(name, found);
  }

  /** Screenshots and measurements of the screen as it stands, in both sizes and themes. */
  async look(name) {
    for (const size of SIZES) {
      await this.page.setViewportSize(size);
      for (const colorScheme of THEMES) {
        await this.page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
        await this.page.waitForTimeout(80);
        const label = `${name}-${size.width}-${colorScheme}`;
        await this.measure(label, [overflow, cut, contrast, semantics]);
        if (this.out) await this.shoot(label, size);
      }
    }
    for (const width of WIDTHS) {
      await this.page.setViewportSize({ width, height: 844 });
      await this.page.waitForTimeout(40);
      await this.measure(`${name}-${width}`, [overflow, cut]);
    }
    await this.page.setViewportSize(SIZES[0]);
    this.screens += 1;
  }

  /** A window as high as the page: bars at its edges then stand where a reader sees them. */
  async shoot(label, size) {
    const height = await this.page.evaluate(() => document.documentElement.scrollHeight);
    await this.page.setViewportSize({ width: size.width, height: Math.min(Math.max(height, size.height), SHOT_MAX) });
    await this.page.screenshot({ path: join(this.out, `${label}.png`) });
    await this.page.setViewportSize(size);
  }

  async setUp(link) {
    await this.page.goto(link, { waitUntil: "domcontentloaded" });
    await this.settle();
    if (this.page.url().includes("token=")) this.problem("setup", "the token stays in the address");
    await this.look("setup");
    await this.page.getByLabel("Password", { exact: true }).fill(this.password);
    await this.page.getByLabel("The same password again").fill(this.password);
    await this.page.getByRole("button", { name: "Create the account" }).click();
    await this.signedIn();
  }

  async signIn() {
    await this.open("/");
    await this.page.getByLabel("User").fill("admin");
    await this.page.getByLabel("Password").fill(this.password);
    await this.page.getByRole("button", { name: "Sign in" }).click();
    await this.signedIn();
  }

  async signedIn() {
    await this.page.getByRole("navigation", { name: "Main" }).waitFor();
    await this.page.locator(".live-live").waitFor({ state: "attached" });
  }

  async console() {
    await this.open("/");
    // The line of records needs a few samples of the live stream, one each two seconds.
    const samples = () => document.querySelector(".spark-line")?.points.length > 3;
    await this.page.waitForFunction(samples, undefined, { timeout: 2 * WAIT_MS });
    await this.look("overview");
    await this.findings();
    await this.open("/hosts");
    await this.look("hosts");
    const host = this.page.locator("tbody a.name").first();
    if (await host.count()) {
      await host.click();
      await this.settle();
      await this.look("host");
    }
    await this.tokens();
    await this.open("/no/such/screen");
    await this.look("nothing-here");
  }

  async findings() {
    await this.open("/findings");
    await this.look("findings");
    await this.open("/findings?q=there-is-nothing-of-this-name");
    await this.page.getByText("No finding fits these filters").waitFor();
    await this.look("findings-none");
    await this.open("/findings?min_severity=7");
    if (!(await this.page.locator("a.row-title").count())) await this.open("/findings?state=all");
    if (!(await this.page.locator("a.row-title").count())) return;
    await this.page.locator("h1").click();
    await this.page.keyboard.press("j");
    await this.page.keyboard.press("Enter");
    await this.page.locator("article.finding").waitFor();
    await this.settle();
    await this.look("finding");
    await this.triage();
  }

  /** Takes a finding and gives it back, with a note: the state stays, the history tells. */
  async triage() {
    const open = this.page.locator(".finding-marks .badge-open");
    if (!(await open.count())) return;
    await this.page.getByLabel("Note").fill("Looked at by the browser check.");
    await this.page.getByRole("button", { name: "Acknowledge" }).click();
    await this.page.locator(".finding-marks .badge-acknowledged").waitFor();
    await this.page.getByText("Looked at by the browser check.").first().waitFor();
    await this.page.getByRole("button", { name: "Reopen" }).click();
    await open.waitFor();
  }

  async tokens() {
    await this.open("/tokens");
    await this.look("tokens");
    const rows = this.page.locator("tbody tr");
    const before = await rows.count();
    await this.page.getByLabel("Role of the hosts").fill("browser-check");
    await this.page.getByRole("button", { name: "Create token" }).click();
    await this.page.getByText(/--join skm1\./).waitFor();
    await this.page.waitForFunction((count) => document.querySelectorAll("tbody tr").length === count, before + 1);
    await this.look("token-created");
    await this.page.locator("tr", { hasText: "browser-check" }).getByRole("button", { name: /^Revoke/ }).first().click();
    await this.page.waitForFunction((count) => document.querySelectorAll("tbody tr").length === count, before);
  }

  /** Every screen again, with answers whose strings are attacks. */
  async hostile() {
    const { findings, hosts } = await poison(this.page);
    const shots = new Set([0, 7]);
    for (const path of ["/", "/findings?state=all", "/hosts"]) {
      await this.open(path);
      await this.measure(`hostile ${path}`, [struck, semantics]);
      await this.look(`hostile-${path === "/" ? "overview" : path.match(/\w+/)[0]}`);
    }
    for (const [index, finding] of findings.entries()) {
      await this.open(`/findings/${finding.id}`);
      await this.inert(`hostile finding ${index}`, PAYLOADS[index], shots.has(index) && `hostile-finding-${index}`);
    }
    for (const [index, host] of hosts.entries()) {
      await this.open(`/hosts/${host.id}`);
      await this.inert(`hostile host ${index}`, PAYLOADS[index], shots.has(index) && `hostile-host-${index}`);
    }
    await this.page.unrouteAll({ behavior: "ignoreErrors" });
  }

  /** The payload stands on the page as the very text that it is, and did nothing. */
  async inert(name, payload, shot) {
    const title = await this.page.locator("h1").first().textContent();
    if (title !== payload) this.problem(name, "the title is not the payload's text");
    await this.measure(name, [struck, overflow]);
    if (shot) await this.look(shot);
  }

  /** The switch outweighs the system's theme, also after the page is loaded again. */
  async themes() {
    await this.open("/");
    await this.page.emulateMedia({ colorScheme: "light" });
    await this.page.getByRole("button", { name: "Dark theme" }).click();
    await this.page.reload();
    await this.settle();
    const ground = await this.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    const sum = ground.match(/\d+/g).slice(0, 3).map(Number).reduce((a, b) => a + b, 0);
    if (sum > 200) this.problem("theme", `the dark theme draws ${ground}`);
    await this.page.getByRole("button", { name: "Theme of the system" }).click();
  }

  async signOut() {
    await this.open("/");
    await this.page.getByRole("button", { name: "Sign out" }).click();
    await this.page.getByRole("heading", { name: "Sign in" }).waitFor();
    await this.look("login");
  }
}
