/** What is shown when a screen cannot be drawn: the navigation stays, and the way on is said. */

import { Component, type ReactNode } from "react";

import { Empty } from "./parts";

interface Props {
  children: ReactNode;
}

export class Boundary extends Component<Props, { failed: boolean }> {
  override state = { failed: false };

  static getDerivedStateFromError(): { failed: boolean } {
    return { failed: true };
  }

  override render(): ReactNode {
    if (!this.state.failed) return this.props.children;
    return (
      <div role="alert">
        <h1>This screen could not be drawn</h1>
        <Empty icon="warning" title="The brain's answer has a form that this console does not know.">
          <p>Reload the page. If it happens again, the console and the brain may be of different versions.</p>
          <button type="button" className="button" onClick={() => window.location.reload()}>
            Reload
          </button>
        </Empty>
      </div>
    );
  }
}
