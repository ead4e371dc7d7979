// The answers of the server out of files, for pages that were exported. A classic script: pages opened from disk may load no modules.
//
// `stepladder.files` maps API paths to numbers of files data/NUMBER.js; each of those calls `stepladder.put` with the JSON of one or
// several paths. Lists are whole in their files, and are filtered, sorted and cut here.

"use strict";

globalThis.stepladder = (() => {
  const files = new Map();
  const answers = new Map();
  const loading = new Map();
  const columns = new Set(["store", "id", "task", "seed", "status", "reward", "steps", "group", "index", "policy"]);

  function put(path, text) {
    answers.set(path, text);
  }

  function list(entries) {
    for (const [path, number] of JSON.parse(entries)) files.set(path, number);
  }

  function load(number) {
    if (!loading.has(number)) {
      loading.set(number, new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `data/${number}.js`;
        script.onload = () => resolve();
        script.onerror = () => reject(new Error(`The file data/${number}.js of this export cannot be read`));
        document.head.append(script);
      }));
      loading.get(number).catch(() => loading.delete(number));
    }
    return loading.get(number);
  }

  async function stored(path, file = path) {
    if (!answers.has(path)) {
      if (!files.has(file)) throw new Error("This is not in the export. It holds what `stepladder export` was told to write.");
      await load(files.get(file));
      if (!answers.has(path)) throw new Error("This is not in the export.");
    }
    return JSON.parse(answers.get(path));
  }

  async function get(address) {
    const [path, text = ""] = address.split("?");
    const query = new URLSearchParams(text);
    const parts = path.split("/").slice(2);
    if (parts[0] === "compare") return compare(query);
    if (parts[0] === "play") return { allowed: false, why: "An export is files and no server; nothing can be played in it." };
    if (parts[0] !== "runs") throw new Error("This is not in the export: it is files and no server.");
    if (parts.length === 3 && parts[2] === "trajectories") return trajectories(path, query);
    if (parts.length === 3 && parts[2] === "groups") return groups(path, query);
    if (parts.length === 3 && parts[2] === "tasks") return stored(`${path}?store=${encodeURIComponent(query.get("store") ?? "")}`);
    if (parts.length === 3 && parts[2] === "metrics") return metrics(path, query);
    if (parts[5] === "tree") return stored(path, path.slice(0, path.lastIndexOf("/")));
    return stored(path);
  }

  async function metrics(path, query) {
    const phase = query.get("phase");
    if (phase) return stored(`${path}?phase=${encodeURIComponent(phase)}`);
    const run = await stored(path.slice(0, path.lastIndexOf("/")));
    if (!run.metrics.length) throw new Error("This run has no measurements.");
    return stored(`${path}?phase=${encodeURIComponent(run.metrics.at(-1).phase)}`);
  }

  async function trajectories(path, query) {
    const all = (await stored(path)).trajectories;
    const kept = sorted(all.filter((one) => passes(one, query)), query.get("sort") || "written");
    return { total: kept.length, trajectories: cut(kept, query) };
  }

  async function groups(path, query) {
    const kept = (await stored(path)).groups.filter((one) => ["store", "task"].every((name) => !query.get(name) || one[name] === query.get(name)));
    return { total: kept.length, groups: cut(kept, query) };
  }

  function passes(one, query) {
    for (const name of ["store", "task", "policy", "group"]) if (query.get(name) && one[name] !== query.get(name)) return false;
    if (query.get("status") && !query.get("status").split(",").includes(one.status)) return false;
    if (query.get("seed") && one.seed !== Number(query.get("seed"))) return false;
    const wanted = query.get("q")?.toLowerCase();
    if (wanted && !["id", "task", "group", "policy", "status"].some((name) => one[name].toLowerCase().includes(wanted))) return false;
    if (query.get("reward") === "none") return one.reward === null;
    return within(one.reward, query.get("reward"), true) && within(one.steps, query.get("step"), false);
  }

  // Whether a number lies in "0.2..0.8", "..0.8", "0.2.." or, alone, is the number (`exact`) or at least that.
  function within(value, range, exact) {
    if (!range) return true;
    const found = /^(-?\d+(?:\.\d+)?)?(\.\.)?(-?\d+(?:\.\d+)?)?$/.exec(range);
    if (!found) throw new Error(`${range} is no range; write 0.2..0.8, ..0.8, 0.2.. or one number`);
    const low = found[1];
    const high = found[2] ? found[3] : exact ? found[1] : undefined;
    if (value === null) return false;
    return (low === undefined || value >= Number(low)) && (high === undefined || value <= Number(high));
  }

  function sorted(entries, order) {
    const down = order.startsWith("-");
    const column = down ? order.slice(1) : order;
    if (columns.has(column)) {
      // As in the server's lists, those without a reward stand before the others.
      entries.sort((a, b) => (a[column] === b[column] ? 0 : a[column] === null ? -1 : b[column] === null ? 1 : a[column] < b[column] ? -1 : 1));
    } else if (column !== "written") throw new Error(`${column} is nothing to sort by`);
    return down ? entries.reverse() : entries;
  }

  function cut(entries, query) {
    const offset = Number(query.get("offset") ?? 0);
    return entries.slice(offset, offset + Number(query.get("limit") ?? 100));
  }

  // ------------------------------------------------------------------------------------------------------------- comparing

  async function compare(query) {
    const named = ["a", "b", "c", "d", "e", "f", "g", "h"].map((name) => query.get(name)).filter(Boolean);
    if (named.length < 2) throw new Error("Two trajectories or more can be compared.");
    const sides = await Promise.all(named.map((text) => {
      const [run, store, id] = text.split("/");
      return stored(`/api/runs/${run}/trajectories/${store}/${id}`);
    }));
    let rows = sides[0].steps.map((_, place) => [place]);
    let divergence = null;
    const why = [null];
    sides.slice(1).forEach((side, place) => {
      const pairs = align(sides[0].steps, side.steps);
      rows = joined(rows, pairs, place + 1);
    });
    sides.slice(1).forEach((side, place) => {
      const parted = partedAt(sides[0], side);
      why.push(parted && { reason: parted.reason, basis: parted.basis });
      if (parted === null) return;
      const row = rowOf(rows, place + 1, parted.row);
      divergence = divergence === null ? row : Math.min(divergence, row);
    });
    return { sides, rows, divergence, why };
  }

  // What tells the state that a step saw: the same for all steps of both.
  function keys(first, second) {
    const steps = [...first, ...second];
    const ways = { state_key: (step) => step.observation.state_key, screenshot: (step) => digestOf(step.observation), actions: deeds };
    const basis = ["state_key", "screenshot"].find((name) => steps.every(ways[name])) ?? "actions";
    return { ones: first.map(ways[basis]), others: second.map(ways[basis]), basis };
  }

  function commonStart(ones, others) {
    let common = 0;
    while (common < ones.length && common < others.length && ones[common] === others[common]) common++;
    return common;
  }

  // Rows [position in the first, position in the second]: as many pairs as possible, what both begin with side by side.
  function align(first, second) {
    const { ones, others } = keys(first, second);
    const common = commonStart(ones, others);
    const [n, m] = [ones.length - common, others.length - common];
    const left = Array.from({ length: n + 1 }, () => new Int32Array(m + 1));
    for (let i = n - 1; i >= 0; i--) {
      for (let j = m - 1; j >= 0; j--) {
        const pair = left[i + 1][j + 1] + (ones[common + i] === others[common + j] ? 1 : 0);
        left[i][j] = Math.max(left[i + 1][j], left[i][j + 1], pair);
      }
    }
    const rows = Array.from({ length: common }, (_, place) => [place, place]);
    let [i, j] = [0, 0];
    while (i < n && j < m) {
      if (ones[common + i] === others[common + j] && left[i][j] === left[i + 1][j + 1] + 1) rows.push([common + i++, common + j++]);
      else if (left[i][j] === left[i + 1][j]) rows.push([common + i++, null]);
      else rows.push([null, common + j++]);
    }
    while (i < n) rows.push([common + i++, null]);
    while (j < m) rows.push([null, common + j++]);
    return rows;
  }

  // Where two part: the first row of their alignment that is not the same in both, and why; null where they are alike.
  function partedAt(first, second) {
    const { ones, others, basis } = keys(first.steps, second.steps);
    const common = commonStart(ones, others);
    const lengths = [first.steps.length, second.steps.length];
    if (basis === "actions" && common < Math.min(...lengths)) return { row: common, reason: "actions", basis };
    if (common === 0 && Math.max(...lengths) > 0) return { row: 0, reason: "start", basis };
    const choices = first.steps.slice(0, common).flatMap((step, place) => (deeds(step) === deeds(second.steps[place]) ? [] : [place]));
    if (common < Math.max(...lengths)) return { row: common, reason: choices.length ? "actions" : "environment", basis };
    if (choices.length) return { row: choices.at(-1), reason: "actions", basis };
    return common && lastDiffers(first.final, second.final, basis) ? { row: common - 1, reason: "environment", basis } : null;
  }

  function lastDiffers(one, other, basis) {
    if (!one || !other || basis === "actions") return false;
    if (basis === "state_key") return Boolean(one.state_key && other.state_key) && one.state_key !== other.state_key;
    return Boolean(digestOf(one) && digestOf(other)) && digestOf(one) !== digestOf(other);
  }

  function digestOf(observation) {
    return observation.screenshot?.url.split("/").at(-1) ?? "";
  }

  function deeds(step) {
    return JSON.stringify(step.actions);
  }

  function joined(rows, pairs, width) {
    const found = [];
    let next = 0;
    for (const [mine, other] of pairs) {
      if (mine === null) {
        found.push([...Array(width).fill(null), other]);
        continue;
      }
      while (rows[next][0] !== mine) found.push([...rows[next++], null]);
      found.push([...rows[next++], other]);
    }
    while (next < rows.length) found.push([...rows[next++], null]);
    return found;
  }

  function rowOf(rows, number, row) {
    let seen = -1;
    for (const [place, entries] of rows.entries()) {
      if (entries[0] !== null || entries[number] !== null) seen++;
      if (seen === row) return place;
    }
    return Math.max(0, rows.length - 1);
  }

  // The file of a picture of the API.
  function picture(url) {
    const digest = String(url ?? "").split("?")[0].split("/").at(-1);
    return /^[0-9a-f]{64}$/.test(digest) ? `images/${digest}.png` : "";
  }

  return { exported: true, put, list, get, picture };
})();
