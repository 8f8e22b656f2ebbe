import { QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router";

import { ApiError } from "./api/client";
import { App } from "./app";
import "./styles/index.css";

/** Refusals are final; only what a second try can mend is tried again. */
function retry(failures: number, error: Error): boolean {
  const mendable = !(error instanceof ApiError) || error.status === 0 || error.status >= 500;
  return mendable && failures < 2;
}

const client: QueryClient = new QueryClient({
  defaultOptions: { queries: { retry, staleTime: 5_000 } },
  queryCache: new QueryCache({
    // An ended session shows the sign-in screen, wherever one is.
    onError: (error, query) => {
      if (error instanceof ApiError && error.status === 401 && query.queryKey[0] !== "session") {
        void client.invalidateQueries({ queryKey: ["session"] });
      }
    },
  }),
});

const root = document.getElementById("root");
if (!root) throw new Error("the page has no element with the id root");
createRoot(root).render(
  <StrictMode>
    <QueryClientProvider client={client}>
      <BrowserRouter>
        <App />
      </BrowserRouter>
    </QueryClientProvider>
  </StrictMode>,
);
