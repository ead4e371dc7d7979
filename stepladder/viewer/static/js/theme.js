// Light, dark, or as the system has it. The choice stays in the browser where it may.

const PLACE = "stepladder.theme";
const THEMES = ["auto", "light", "dark"];

export function chosenTheme() {
  return THEMES.includes(document.documentElement.dataset.theme) ? document.documentElement.dataset.theme : "auto";
}

// Goes on to the next one and returns it.
export function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(chosenTheme()) + 1) % THEMES.length];
  apply(theme);
  try {
    localStorage.setItem(PLACE, theme);
  } catch {
    // A browser that keeps nothing shows the theme until the page is left.
  }
  return theme;
}

function apply(theme) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
}

function stored() {
  try {
    return localStorage.getItem(PLACE);
  } catch {
    return null;
  }
}

// Before anything is drawn, so that nothing flashes.
apply(THEMES.includes(stored()) ? stored() : "auto");
