// What the page says to the server during a play. Orders of one play arrive in the order in which they were given.

const waiting = new Map();

export async function begin(fields) {
  return (await post("/api/play/sessions", fields)).id;
}

// Resolves when the order was taken; rejects with words for people.
export function order(id, command, fields = {}) {
  const last = waiting.get(id) ?? Promise.resolve();
  const mine = last.catch(() => {}).then(() => post(`/api/play/sessions/${encodeURIComponent(id)}`, { command, ...fields }));
  waiting.set(id, mine);
  return mine;
}

export function eventsPath(id) {
  return `/api/play/sessions/${encodeURIComponent(id)}/events`;
}

async function post(path, body) {
  let response;
  try {
    response = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok) throw new Error(answer?.error ?? `The server answered ${response.status}`);
  return answer;
}
