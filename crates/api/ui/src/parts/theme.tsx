/** Light, dark, or as the system is. */

import { signal } from "@preact/signals";

const THEMES = ["auto", "light", "dark"] as const;
type Theme = (typeof THEMES)[number];

const KEY = "planfleet.theme";
const theme = signal<Theme>(stored());

function stored(): Theme {
  const kept = localStorage.getItem(KEY);
  return THEMES.find((one) => one === kept) ?? "auto";
}

/** Before the first drawing, so that nothing flashes. */
export function applyTheme() {
  document.documentElement.dataset["theme"] = theme.value;
}

export function nextTheme() {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length]!;
  localStorage.setItem(KEY, theme.value);
  applyTheme();
}

export function ThemeButton() {
  return (
    <button type="button" class="quiet" onClick={nextTheme} title="Colours: light, dark, or as the system is">
      <span class="hidden">Colours: </span>
      {{ auto: "Auto", light: "Light", dark: "Dark" }[theme.value]} <kbd>t</kbd>
    </button>
  );
}
