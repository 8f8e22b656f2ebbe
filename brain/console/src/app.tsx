/** Which screen is shown: set-up, sign-in, or one of the console's. */

import { Navigate, Route, Routes, useLocation } from "react-router";

import { useSession } from "./api/queries";
import { FindingScreen } from "./screens/finding";
import { FindingsScreen } from "./screens/findings";
import { HostScreen } from "./screens/host";
import { HostsScreen } from "./screens/hosts";
import { LoginScreen } from "./screens/login";
import { OverviewScreen } from "./screens/overview";
import { SetupScreen } from "./screens/setup";
import { TokensScreen } from "./screens/tokens";
import { Empty, Failure, Heading, Loading } from "./ui/parts";
import { Shell } from "./ui/shell";

export function App() {
  const session = useSession();
  const { pathname } = useLocation();
  if (session.data === undefined) {
    return (
      <main className="entry">
        {session.isError ? (
          <Failure error={session.error} retry={() => void session.refetch()} />
        ) : (
          <Loading what="the session" />
        )}
      </main>
    );
  }
  if (session.data.setup_required) return <SetupScreen />;
  if (session.data.user === null) return <LoginScreen />;
  if (pathname === "/login" || pathname === "/setup") return <Navigate to="/" replace />;
  return (
    <Routes>
      <Route element={<Shell session={session.data} />}>
        <Route index element={<OverviewScreen />} />
        <Route path="findings" element={<FindingsScreen />} />
        <Route path="findings/:id" element={<FindingScreen />} />
        <Route path="hosts" element={<HostsScreen />} />
        <Route path="hosts/:id" element={<HostScreen />} />
        <Route path="tokens" element={<TokensScreen />} />
        <Route path="*" element={<Lost />} />
      </Route>
    </Routes>
  );
}

function Lost() {
  return (
    <>
      <Heading title="Nothing here" />
      <Empty title="This address leads to no screen of the console." />
    </>
  );
}
