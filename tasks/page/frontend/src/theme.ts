// Light or dark, before the first paint: as the system says, unless the reader has chosen, which this browser remembers.

const KEY = "nightboard-theme";
const THEMES = ["system", "light", "dark"];

function read(): string {
  try {
    return localStorage.getItem(KEY) ?? "system";
  } catch {
    return "system";
  }
}

function apply(theme: string): void {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

let theme = THEMES.includes(read()) ? read() : "system";
apply(theme);

document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  if (!button) return;
  const show = () => {
    button.textContent = { system: "◐", light: "☀", dark: "☾" }[theme] ?? "";
    button.setAttribute("aria-label", `Colors: ${theme}. Change`);
    button.title = `Colors: ${theme}`;
  };
  button.hidden = false;
  show();
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    apply(theme);
    show();
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // The choice holds for this page only.
    }
  });
});
