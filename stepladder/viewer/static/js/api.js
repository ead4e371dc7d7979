// Answers of the server. In an export (`globalThis.stepladder` is there) files take its place.

const KEPT = 60;
const kept = new Map();

export const exported = Boolean(globalThis.stepladder);

// The JSON of an API path. Rejects with an Error whose message is for people. The last answers are kept; `fresh` asks again.
export async function get(path, { fresh = false, signal = undefined } = {}) {
  if (!fresh && kept.has(path)) return kept.get(path);
  const answer = exported ? await globalThis.stepladder.get(path) : await ask(path, signal);
  kept.delete(path);
  kept.set(path, answer);
  if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  return answer;
}

// A path with a query of those values that are there.
export function withQuery(path, values) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

export function runPath(run, ...parts) {
  return ["/api/runs", run, ...parts].map((part, i) => (i === 0 ? part : encodeURIComponent(part))).join("/");
}

// The address of a picture, `width` pixels wide where a small one is enough. Only pictures of the API or the export are shown.
export function picture(url, width = 0) {
  if (exported) return globalThis.stepladder.picture(url, width);
  if (typeof url !== "string" || !url.startsWith("/api/")) return "";
  return width ? `${url}${url.includes("?") ? "&" : "?"}width=${width}` : url;
}

// Events of a run as its files grow. Returns a function that stops them.
export function follow(run, onEvent, onState = () => {}) {
  if (exported) return () => {};
  const source = new EventSource(`/api/live/${encodeURIComponent(run)}`);
  source.addEventListener("open", () => onState(true));
  source.addEventListener("error", () => onState(false));
  source.addEventListener("message", (event) => onEvent(JSON.parse(event.data)));
  return () => source.close();
}

async function ask(path, signal) {
  let response;
  try {
    response = await fetch(path, { headers: { accept: "application/json" }, signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is `stepladder view` still running?");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new Error(body?.error?.message ?? body?.error ?? `The server answered ${response.status} to ${path}`);
  if (body === null) throw new Error(`The server's answer to ${path} is no JSON`);
  return body;
}
