// Trajectories marked for comparison. They stay marked while this tab is open.

import { count } from "./format.js";
import { go, link } from "./router.js";
import { toast } from "./notices.js";

const PLACE = "stepladder.marks";
const MOST = 6;
const listeners = new Set();

function read() {
  try {
    const marks = JSON.parse(sessionStorage.getItem(PLACE) ?? "[]");
    return Array.isArray(marks) ? marks.filter((mark) => typeof mark === "string") : [];
  } catch {
    return [];
  }
}

// What the comparison's address calls a trajectory: run/store/id, each encoded.
export function sideName(run, store, id) {
  return [run, store, id].map(encodeURIComponent).join("/");
}

export function isMarked(name) {
  return read().includes(name);
}

export function marked() {
  return read();
}

export function toggle(name) {
  const marks = read();
  const kept = marks.includes(name) ? marks.filter((mark) => mark !== name) : [...marks, name].slice(-MOST);
  write(kept);
  if (kept.length > 1) toast(`${count(kept.length, "trajectory", "trajectories")} marked`, "Compare", link(comparePath(kept)));
  else toast(kept.length ? "Marked. Mark another one to compare" : "No trajectory is marked");
}

export function clear() {
  write([]);
}

export function comparePath(names) {
  return `/compare?${names.map((name, i) => `${String.fromCharCode(97 + i)}=${encodeURIComponent(name)}`).join("&")}`;
}

export function compareMarked() {
  const marks = read();
  if (marks.length > 1) go(comparePath(marks));
  else toast("Mark two trajectories with x, then press c");
}

// Calls `changed` after every change, until the returned function is called.
export function watchMarks(changed) {
  listeners.add(changed);
  return () => listeners.delete(changed);
}

function write(marks) {
  try {
    sessionStorage.setItem(PLACE, JSON.stringify(marks));
  } catch {
    toast("This browser keeps nothing for this page: marks do not work");
  }
  for (const changed of listeners) changed();
}
