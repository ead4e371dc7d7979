// Line charts in SVG: axes with round numbers, a readout at the pointer and under the arrow keys, and small curves without axes.

import { make, replace, setText, svg } from "./dom.js";
import { number } from "./format.js";

const WIDTH = 420;
const HEIGHT = 180;
const LEFT = 46;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 22;

// A chart of `series`: {name: [[x, y], ...]} in the order of x. The figure is as wide as its place.
export function chart(title, series) {
  const names = Object.keys(series);
  const lines = names.map((name) => series[name].filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y)));
  const readout = make("span", { class: "readout" });
  const figure = make(
    "figure",
    { class: "chart" },
    make("figcaption", {}, make("span", { class: "chart-title", text: title }), readout),
  );
  const points = lines.flat();
  if (!points.length) {
    figure.append(make("p", { class: "muted small", text: "no finite values" }));
    return figure;
  }
  const x = scale(extent(points, 0), LEFT, WIDTH - RIGHT);
  const y = scale(padded(extent(points, 1)), HEIGHT - BOTTOM, TOP);
  const cursor = svg("g", { class: "cursor", visibility: "hidden" }, svg("line", { y1: TOP, y2: HEIGHT - BOTTOM }));
  const dots = lines.map((_, i) => svg("circle", { r: 3, class: `series-${(i % 6) + 1}` }));
  cursor.append(...dots);
  const picture = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: "0", "aria-label": `${title}: ${described(names, lines)}` },
    yAxis(y),
    xAxis(x),
    lines.map((line, i) => curve(line, x, y, `line series-${(i % 6) + 1}`)),
    cursor,
  );
  const rest = () => setText(readout, lines.length === 1 && lines[0].length ? number(lines[0].at(-1)[1]) : "");
  listenForPointer(picture, { lines, names, x, y, cursor, dots, readout, rest });
  rest();
  figure.append(picture);
  if (names.length > 1)
    figure.append(
      make(
        "ul",
        { class: "legend" },
        names.map((name, i) => make("li", {}, make("i", { class: `key series-${(i % 6) + 1}` }), name)),
      ),
    );
  return figure;
}

// A curve without axes, for tables. `points`: [[x, y], ...].
export function sparkline(points, label) {
  const width = 96;
  const height = 24;
  const finite = (points ?? []).filter(([px, py]) => Number.isFinite(px) && Number.isFinite(py));
  if (finite.length < 2) return make("span", { class: "sparkline none", text: "" });
  const x = scale(extent(finite, 0), 1, width - 4);
  const y = scale(extent(finite, 1), height - 3, 3);
  const [lastX, lastY] = finite.at(-1);
  return svg(
    "svg",
    { class: "sparkline", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    curve(finite, x, y, "line series-1"),
    svg("circle", { cx: x.at(lastX), cy: y.at(lastY), r: 2, class: "series-1" }),
  );
}

// A rate with its interval on a line from 0 to 1: open circle where nothing was graded.
export function interval(rate, low, high, label = "") {
  const graded = rate !== null && rate !== undefined;
  const known = graded && low !== null && low !== undefined;
  const words =
    label ||
    (graded
      ? `${number(100 * rate)} %${known ? `, interval ${number(100 * low)} to ${number(100 * high)} %` : ""}`
      : "not graded");
  return make(
    "span",
    { class: "interval", role: "img", "aria-label": words, title: words },
    known ? make("i", { class: "span", vars: { left: `${100 * low}%`, width: `${100 * (high - low)}%` } }) : null,
    graded ? make("i", { class: "dot", vars: { left: `${100 * rate}%` } }) : null,
  );
}

function described(names, lines) {
  return names
    .map((name, i) => (lines[i].length ? `${name} from ${number(lines[i][0][1])} to ${number(lines[i].at(-1)[1])}` : name))
    .join("; ");
}

function extent(points, at) {
  let low = Infinity;
  let high = -Infinity;
  for (const point of points) {
    low = Math.min(low, point[at]);
    high = Math.max(high, point[at]);
  }
  if (low === high && low === 0) return [0, 1];
  return low === high ? [low - (Math.abs(low) || 1) * 0.5, high + (Math.abs(high) || 1) * 0.5] : [low, high];
}

// Some air, but none below zero for what is never negative, and none around rates.
function padded([low, high]) {
  const air = (high - low) * 0.06;
  return [low >= 0 && low - air < 0 ? Math.min(low, 0) : low - air, high <= 1 && high + air > 1 ? 1 : high + air];
}

function scale([low, high], from, to) {
  return {
    low,
    high,
    at: (value) => from + ((value - low) / (high - low)) * (to - from),
    back: (pixel) => low + ((pixel - from) / (to - from)) * (high - low),
  };
}

// At most `most` round numbers between two values.
function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => (first + i) * step);
}

function short(value, span) {
  if (value === 0 || Math.abs(value) < span * 1e-9) return "0";
  const size = Math.abs(value);
  if (size >= 1e9) return `${+(value / 1e9).toPrecision(3)}G`;
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)}M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)}k`;
  if (size < 1e-3) return value.toExponential(0).replace("e-", "e−");
  return String(+value.toPrecision(4)).replace("-", "−");
}

function yAxis(y) {
  return ticks(y.low, y.high, 4).map((value) => [
    svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y.at(value), y2: y.at(value) }),
    svg("text", { x: LEFT - 7, y: y.at(value), class: "y", text: short(value, y.high - y.low) }),
  ]);
}

function xAxis(x) {
  const base = svg("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM });
  return [
    base,
    ticks(x.low, x.high, 5).map((value) =>
      svg("text", { x: x.at(value), y: HEIGHT - 6, class: "x", text: short(value, x.high - x.low) }),
    ),
  ];
}

function curve(line, x, y, name) {
  const path = line.map(([px, py], i) => `${i ? "L" : "M"}${x.at(px).toFixed(1)} ${y.at(py).toFixed(1)}`).join("");
  if (line.length === 1)
    return svg("circle", { cx: x.at(line[0][0]), cy: y.at(line[0][1]), r: 2.5, class: name.replace("line ", "") });
  return svg("path", { class: name, d: path });
}

function listenForPointer(picture, state) {
  const { lines, names, x, y, cursor, dots, readout, rest } = state;
  const longest = lines.reduce((a, b) => (b.length > a.length ? b : a));
  let at = longest.length - 1;
  const showAt = (value) => {
    const near = lines.map((line) => nearest(line, value));
    const step = near.find(Boolean)[0];
    cursor.setAttribute("visibility", "visible");
    cursor.firstChild.setAttribute("x1", x.at(step));
    cursor.firstChild.setAttribute("x2", x.at(step));
    near.forEach((point, i) => {
      dots[i].setAttribute("visibility", point ? "visible" : "hidden");
      if (!point) return;
      dots[i].setAttribute("cx", x.at(point[0]));
      dots[i].setAttribute("cy", y.at(point[1]));
    });
    const values = near.map((point, i) => (point ? `${names.length > 1 ? `${names[i]} ` : ""}${number(point[1], 4)}` : ""));
    replace(readout, `${values.filter(Boolean).join(" · ")} `, make("span", { class: "muted", text: `at ${number(step, 6)}` }));
  };
  const away = () => {
    cursor.setAttribute("visibility", "hidden");
    rest();
  };
  const onPointer = (event) => {
    const box = picture.getBoundingClientRect();
    showAt(x.back(((event.clientX - box.left) / box.width) * WIDTH));
  };
  picture.addEventListener("pointermove", onPointer);
  picture.addEventListener("pointerdown", onPointer);
  picture.addEventListener("pointerleave", away);
  picture.addEventListener("blur", away);
  picture.addEventListener("focus", () => picture.matches(":focus-visible") && showAt(longest[at][0]));
  picture.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    at = Math.min(longest.length - 1, Math.max(0, at + by));
    showAt(longest[at][0]);
  });
}

function nearest(line, value) {
  if (!line.length) return null;
  let low = 0;
  let high = line.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (line[middle][0] < value) low = middle;
    else high = middle;
  }
  return value - line[low][0] < line[high][0] - value ? line[low] : line[high];
}
