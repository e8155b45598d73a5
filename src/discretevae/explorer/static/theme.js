// Before the first paint: the theme that was chosen last time, where the browser lets us remember.
(() => {
  try {
    const theme = localStorage.getItem("discretevae-theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // storage may be switched off; the system's preference then decides
  }
})();
