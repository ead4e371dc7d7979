// Starts the pages: header, keys of every page, and the page that the address names.

import { exported } from "./api.js";
import { append, inField, make, replace, svg } from "./dom.js";
import { everywhere, leavePage, listen, showKeys } from "./keys.js";
import { failure } from "./notices.js";
import { show as showCompare } from "./page_compare.js";
import { show as showGroup } from "./page_group.js";
import { show as showLive } from "./page_live.js";
import { show as showRun } from "./page_run.js";
import { show as showRuns } from "./page_runs.js";
import { show as showTrajectory } from "./page_trajectory.js";
import { show as showPlay } from "./play.js";
import { go, here, link, match, pagePath, start } from "./router.js";
import { chosenTheme, nextTheme } from "./theme.js";

const SHOW = {
  runs: showRuns,
  run: showRun,
  trajectory: showTrajectory,
  group: showGroup,
  compare: showCompare,
  live: showLive,
  play: showPlay,
};

let leave = null;
let turn = 0;
let lastRun = "";

// A page is `show(root, {path, query, parts, crumbs, title})`; root is an empty <main>. It may return what is called on leaving.
async function showPage() {
  const mine = ++turn;
  leave?.();
  leave = null;
  leavePage();
  const { path, query } = here();
  const { page, parts } = match(path);
  lastRun = ["run", "trajectory", "group", "live"].includes(page) ? parts[0] : lastRun;
  const root = make("main", { id: "main", tabindex: "-1", class: `page-${page ?? "none"}`, "aria-busy": "true" });
  document.querySelector("main")?.replaceWith(root);
  if (mine > 1) root.focus({ preventScroll: true });
  crumbs([]);
  markTools(page);
  scrollTo(0, 0);
  if (page === null) {
    root.removeAttribute("aria-busy");
    title("Not found");
    replace(
      root,
      make("h1", { text: "There is no such page" }),
      make("p", {}, "Go to ", make("a", { href: link("/"), text: "the runs" }), "."),
    );
    return;
  }
  const own =
    (action) =>
    (...values) =>
      mine === turn ? action(...values) : undefined;
  try {
    const left = await SHOW[page](root, { path, query, parts, crumbs: own(crumbs), title: own(title) });
    if (mine === turn) leave = left ?? null;
    else left?.();
  } catch (error) {
    if (mine !== turn || error.name === "AbortError") return;
    replace(root, failure(error), make("p", {}, make("a", { href: link("/"), text: "All runs" })));
    title("Error");
  } finally {
    root.removeAttribute("aria-busy");
  }
}

function title(text) {
  document.title = text ? `${text} · Stepladder` : "Stepladder";
}

// The way from the runs to this page: [[text, path], ...], the last one without a path.
function crumbs(steps) {
  const items = steps.map(([text, path], i) =>
    make(
      "li",
      {},
      path
        ? make("a", { href: link(path), text })
        : make("span", { "aria-current": i === steps.length - 1 ? "page" : null, text }),
    ),
  );
  replace(document.querySelector(".crumbs"), items);
}

function markTools(page) {
  for (const tool of document.querySelectorAll("[data-page]")) {
    if (tool.dataset.page === page) tool.setAttribute("aria-current", "page");
    else tool.removeAttribute("aria-current");
  }
}

function header() {
  const ladder = svg(
    "svg",
    { viewBox: "0 0 16 16", "aria-hidden": "true" },
    svg("path", { d: "M5 1.5 2.5 14.5M11 1.5l2.5 13M4.6 4.5h6.8M4 8h8M3.3 11.5h9.4" }),
  );
  const theme = make("button", { type: "button", on: { click: () => describeTheme(theme, nextTheme()) } });
  describeTheme(theme, chosenTheme());
  return make(
    "header",
    { class: "topbar" },
    make(
      "nav",
      { "aria-label": "Path" },
      make(
        "a",
        { class: "brand", href: link("/"), "aria-label": "Stepladder: all runs" },
        ladder,
        make("span", { text: "Stepladder" }),
      ),
      make("ol", { class: "crumbs" }),
    ),
    make(
      "div",
      { class: "tools" },
      exported ? null : make("a", { href: link("/play"), "data-page": "play", text: "Play" }),
      theme,
      make("button", { type: "button", "aria-label": "Show the keys", title: "Keys (?)", text: "?", on: { click: showKeys } }),
    ),
  );
}

function describeTheme(button, theme) {
  const [sign, words] = { auto: ["◐", "as the system"], light: ["○", "light"], dark: ["●", "dark"] }[theme];
  button.textContent = sign;
  button.setAttribute("aria-label", `Colours: ${words}. Change`);
  button.title = `Colours: ${words}`;
}

function focusSearch() {
  const field = document.querySelector("main input[type=search]");
  field?.focus();
  field?.select();
}

function goLive() {
  if (lastRun) go(pagePath("live", lastRun));
  else return false;
  return true;
}

append(
  document.body,
  make("a", { class: "skip", href: "#main", text: "To the content" }),
  header(),
  make("main", { id: "main" }),
);
everywhere(
  { keys: ["?"], label: "these keys", run: showKeys },
  { keys: ["/"], label: "search", run: focusSearch },
  { keys: ["g r"], label: "runs", run: () => go("/") },
  { keys: ["g u"], label: "up: the run of this page", run: () => (lastRun ? go(pagePath("run", lastRun)) : false) },
);
if (!exported) {
  everywhere(
    { keys: ["g l"], label: "live screens of the run", run: goLive },
    { keys: ["g p"], label: "play", run: () => go("/play") },
  );
}
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  if (!inField(document.activeElement)) document.querySelector("main").focus();
});
listen();
start(showPage);
