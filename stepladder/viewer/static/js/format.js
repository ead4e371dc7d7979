// Values in words: numbers, rates, times, outcomes.

export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (Number.isInteger(value) && Math.abs(value) < 1e15) return value.toLocaleString("en-US").replace("-", "−");
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6))
    return value
      .toExponential(digits - 1)
      .replace("e+", "e")
      .replaceAll("-", "−");
  return value.toLocaleString("en-US", { maximumSignificantDigits: digits }).replace("-", "−");
}

export function signed(value, digits = 2) {
  if (value === null || value === undefined) return "–";
  return `${value > 0 ? "+" : value < 0 ? "−" : "±"}${Math.abs(value).toFixed(digits)}`;
}

export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

export function percent(rate, digits = 1) {
  return rate === null || rate === undefined ? "–" : `${(100 * rate).toFixed(digits)} %`;
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.001) return value === 0 ? "0 s" : "<1 ms";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 59.95) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  const whole = Math.round(value);
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(value / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// How long ago a time (unix seconds) was.
export function ago(time) {
  if (!time) return "–";
  const past = Date.now() / 1000 - time;
  if (past < 60) return "just now";
  if (past < 3600) return `${Math.floor(past / 60)} min ago`;
  if (past < 86400) return `${Math.floor(past / 3600)} h ago`;
  if (past < 86400 * 30) return `${Math.floor(past / 86400)} d ago`;
  return moment(time).slice(0, 10);
}

// A time (unix seconds) as "2026-05-12 14:03", in the reader's zone.
export function moment(time) {
  if (!time) return "–";
  const date = new Date(time * 1000);
  const two = (value) => String(value).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

export function shorten(text, most = 60) {
  const line = String(text ?? "").replaceAll("\n", "⏎");
  return line.length <= most ? line : `${line.slice(0, most - 1)}…`;
}

export const STATUSES = ["done", "gave_up", "max_steps", "max_tokens", "context_full", "parse_error", "env_error", "timeout"];

const STATUS_WORDS = {
  done: "done",
  gave_up: "gave up",
  max_steps: "out of steps",
  max_tokens: "out of tokens",
  context_full: "context full",
  parse_error: "unreadable replies",
  env_error: "environment failed",
  timeout: "timed out",
};

export function statusWords(status) {
  return STATUS_WORDS[status] ?? String(status ?? "");
}

// The class of an outcome: "good", "bad", or "warn" where nothing was graded.
export function outcomeClass(reward) {
  return reward === null || reward === undefined ? "warn" : reward >= 0.5 ? "good" : "bad";
}

export function outcomeWords(reward) {
  return reward === null || reward === undefined ? "not graded" : reward >= 0.5 ? "success" : "failure";
}
