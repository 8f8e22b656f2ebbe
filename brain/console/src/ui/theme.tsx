/** Light, dark, or as the system says. */

import { useState } from "react";

import { Icon, type IconName } from "./icons";

type Theme = "system" | "light" | "dark";

const KEY = "sakuramori.theme";
const THEMES: readonly { theme: Theme; icon: IconName; name: string }[] = [
  { theme: "light", icon: "sun", name: "Light theme" },
  { theme: "dark", icon: "moon", name: "Dark theme" },
  { theme: "system", icon: "system", name: "Theme of the system" },
];

function stored(): Theme {
  try {
    const theme = localStorage.getItem(KEY);
    return theme === "light" || theme === "dark" ? theme : "system";
  } catch {
    return "system";
  }
}

function apply(theme: Theme): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // The choice then lasts as long as the page.
  }
}

export function ThemeSwitch() {
  const [chosen, choose] = useState(stored);
  return (
    <div className="segments" role="group" aria-label="Theme">
      {THEMES.map(({ theme, icon, name }) => (
        <button
          key={theme}
          type="button"
          aria-pressed={chosen === theme}
          aria-label={name}
          title={name}
          onClick={() => {
            apply(theme);
            choose(theme);
          }}
        >
          <Icon name={icon} size={16} />
        </button>
      ))}
    </div>
  );
}
