// Addresses: which page they name, links to them, and the filters that they keep in their query.

import { exported } from "./api.js";

const PAGES = [
  ["runs", /^\/$/],
  ["run", /^\/run\/([^/]+)$/],
  ["trajectory", /^\/run\/([^/]+)\/trajectory\/([^/]+)\/([^/]+)$/],
  ["group", /^\/run\/([^/]+)\/group\/([^/]+)\/([^/]+)$/],
  ["compare", /^\/compare$/],
  ["live", /^\/live\/([^/]+)$/],
  ["play", /^\/play$/],
];

let onChange = () => {};

// Where the browser is: {path, query}. An export keeps both behind the "#".
export function here() {
  const text = exported ? location.hash.slice(1) || "/" : location.pathname + location.search;
  const [path, query = ""] = split(text);
  return { path: path.length > 1 ? path.replace(/\/+$/, "") : path, query: new URLSearchParams(query) };
}

// {page, parts}; page is null for an address that names none.
export function match(path) {
  for (const [page, pattern] of PAGES) {
    const found = pattern.exec(path);
    if (!found) continue;
    try {
      return { page, parts: found.slice(1).map(decodeURIComponent) };
    } catch {
      return { page: null, parts: [] };
    }
  }
  return { page: null, parts: [] };
}

export function pagePath(kind, ...parts) {
  return [`/${kind}`, ...parts.map(encodeURIComponent)].join("/");
}

export function trajectoryPath(run, store, id) {
  return `${pagePath("run", run)}/trajectory/${encodeURIComponent(store)}/${encodeURIComponent(id)}`;
}

export function groupPath(run, store, group) {
  return `${pagePath("run", run)}/group/${encodeURIComponent(store)}/${encodeURIComponent(group)}`;
}

// What an <a> needs as its href.
export function link(path) {
  return exported ? `#${path}` : path;
}

export function go(path, { instead = false } = {}) {
  history[instead ? "replaceState" : "pushState"](null, "", link(path));
  onChange();
}

// Keeps values in the address's query without drawing the page again; null or "" takes one out.
export function keep(values, { push = false } = {}) {
  const { path, query } = here();
  for (const [name, value] of Object.entries(values)) {
    if (value === null || value === undefined || value === "") query.delete(name);
    else query.set(name, value);
  }
  const text = query.toString();
  history[push ? "pushState" : "replaceState"](null, "", link(text ? `${path}?${text}` : path));
}

// Calls `changed` at once and whenever the address changes. Plain clicks on the page's own links do not load it anew.
export function start(changed) {
  onChange = changed;
  addEventListener("popstate", changed);
  document.addEventListener("click", (event) => {
    const anchor = event.target instanceof Element ? event.target.closest("a[href]") : null;
    if (
      !anchor ||
      event.defaultPrevented ||
      event.button !== 0 ||
      event.metaKey ||
      event.ctrlKey ||
      event.shiftKey ||
      event.altKey
    )
      return;
    const href = anchor.getAttribute("href");
    if (anchor.target || anchor.hasAttribute("download") || !href.startsWith(exported ? "#/" : "/") || href.startsWith("/api/"))
      return;
    event.preventDefault();
    go(exported ? href.slice(1) : href);
  });
  changed();
}

function split(text) {
  const at = text.indexOf("?");
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}
