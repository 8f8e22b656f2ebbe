// Runs before the first paint, so that a chosen theme never flashes the other one.
// It is a file of its own because the content security policy forbids inline scripts.
(function () {
  try {
    var theme = localStorage.getItem("sakuramori.theme");
    if (theme === "light" || theme === "dark") {
      document.documentElement.dataset.theme = theme;
    }
  } catch (_) {
    // Storage may be forbidden; the system's theme is then used.
  }
})();
