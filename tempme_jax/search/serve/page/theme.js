"use strict";
// Loaded before the page is drawn, so it does not flash in the other colours.
const THEMES = ["auto", "light", "dark"];

function readTheme() {
  try {
    const theme = localStorage.getItem("theme");
    return THEMES.includes(theme) ? theme : "auto";
  } catch {
    return "auto"; // a browser may forbid storage
  }
}

function showTheme(theme) {
  document.documentElement.dataset.theme = theme;
  const button = document.getElementById("theme");
  if (!button) return;
  button.textContent = { auto: "Auto", light: "Light", dark: "Dark" }[theme];
  button.setAttribute("aria-label", `Colours: ${theme}`);
  button.title = "Colours: as the system has them, light, or dark";
}

showTheme(readTheme());
document.addEventListener("DOMContentLoaded", () => {
  showTheme(readTheme());
  document.getElementById("theme").addEventListener("click", () => {
    const shown = document.documentElement.dataset.theme;
    const theme = THEMES[(THEMES.indexOf(shown) + 1) % THEMES.length];
    try {
      localStorage.setItem("theme", theme);
    } catch {
      // then the choice is lost with this page
    }
    showTheme(theme);
  });
});
