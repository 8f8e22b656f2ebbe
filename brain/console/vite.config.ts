import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

/** The brain that `npm run dev` talks to: the mock by default. */
const brain = process.env.SAKURAMORI_SERVER ?? "http://127.0.0.1:8099";

export default defineConfig({
  plugins: [react()],
  build: {
    // `light-dark()` and nesting are used as they are, so nothing older is aimed at.
    target: ["chrome123", "firefox128", "safari17.5"],
    // The polyfill is an inline script in spirit: the policy of the brain forbids those.
    modulePreload: { polyfill: false },
    // Inlined files would become data: addresses, which the policy forbids too.
    assetsInlineLimit: 0,
    sourcemap: false,
  },
  server: { proxy: { "/api": brain } },
  test: { include: ["src/**/*.test.ts"], environment: "node" },
});
