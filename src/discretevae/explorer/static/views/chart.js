// A panel of curves over epochs that share a unit, drawn as SVG.

import { el, figure, svg } from "../dom.js";

const HEIGHT = 260;
const MARGIN = { left: 64, right: 14, top: 12, bottom: 40 };
const UNITS = [
  [/relative/, "ratio"],
  [/(^|_)se$|elbo|kl|loss|likelihood|entropy|bound|log_px|rate|distortion|gap|information/, "nats per row"],
  [/rows_per_second/, "rows per second"],
  [/seconds/, "seconds"],
  [/variance/, "squared gradient"],
  [/active_units/, "variables"],
  [/codes|clusters/, "codes"],
  [/rows|samples/, "rows"],
  [/lr|learning_rate/, "learning rate"],
  [/beta|temperature|ess|accuracy|purity|nmi|ari/, "no unit"],
];

export const unitOf = (key) => UNITS.find(([pattern]) => pattern.test(key))?.[1] ?? "no unit";

/** Round numbers that cover an interval, about `n` of them. */
export function ticks(low, high, n) {
  if (!(high > low)) return [low];
  const rough = (high - low) / n;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
  const all = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-9; value += step) all.push(value);
  return all;
}

/**
 * The panels for some columns, [{ unit, keys }]: columns share one where they have the same unit
 * and their values meet, so that none is flattened by another that is far away.
 */
export function panels(epochs, keys) {
  const found = [];
  for (const key of keys) {
    const values = epochs.map((epoch) => epoch[key]).filter(Number.isFinite);
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const unit = unitOf(key);
    const home = found.find((one) => one.unit === unit && low <= one.high && high >= one.low);
    if (home === undefined) found.push({ unit, keys: [key], low, high });
    else {
      home.keys.push(key);
      [home.low, home.high] = [Math.min(low, home.low), Math.max(high, home.high)];
    }
  }
  return found;
}

/** Curves of `keys`, `width` pixels wide; `point(index | null)` is told where the pointer or the keys are. */
export function chart(epochs, { unit, keys }, width, point) {
  const values = keys.flatMap((key) => epochs.map((epoch) => epoch[key])).filter(Number.isFinite);
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (low === high) [low, high] = [low - (Math.abs(low) * 0.05 || 0.5), high + (Math.abs(high) * 0.05 || 0.5)];
  const room = 0.04 * (high - low);
  [low, high] = [low - room, high + room];
  const [first, last] = [epochs[0].epoch, epochs[epochs.length - 1].epoch];
  const x = (epoch) => MARGIN.left + ((epoch - first) / (last - first || 1)) * (width - MARGIN.left - MARGIN.right);
  const y = (value) => HEIGHT - MARGIN.bottom - ((value - low) / (high - low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const digits = Math.max(0, Math.min(6, 1 - Math.floor(Math.log10((high - low) / 4))));

  const grid = [
    ...ticks(low, high, 5).map((value) => [
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      svg("text", { x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end", text: figure(value, Number.isInteger(value) ? 0 : Math.max(0, digits - 1)) }),
    ]),
    ...ticks(first, last, 6).filter(Number.isInteger).map((value) =>
      svg("text", { x: x(value), y: HEIGHT - MARGIN.bottom + 18, "text-anchor": "middle", text: figure(value, 0) })),
    svg("text", { class: "axis", x: (MARGIN.left + width - MARGIN.right) / 2, y: HEIGHT - 4, "text-anchor": "middle", text: "epoch" }),
    svg("text", { class: "axis", x: 0, y: 0, transform: `translate(13 ${(HEIGHT - MARGIN.bottom + MARGIN.top) / 2}) rotate(-90)`, "text-anchor": "middle", text: unit }),
  ];
  const curves = keys.map((key, i) => {
    let pen = "M";
    const path = epochs.map((epoch) => {
      if (!Number.isFinite(epoch[key])) {
        pen = "M";
        return "";
      }
      const part = `${pen}${x(epoch.epoch).toFixed(1)} ${y(epoch[key]).toFixed(1)}`;
      pen = "L";
      return part;
    }).join("");
    const alone = epochs.length === 1 ? [svg("circle", { class: `curve-${i % 6}`, cx: x(first), cy: y(epochs[0][key] ?? low), r: 3 })] : [];
    return [svg("path", { class: `curve curve-${i % 6}`, d: path, "data-key": key }), ...alone];
  });
  const ruler = svg("line", { class: "ruler", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, visibility: "hidden" });
  const dots = keys.map((_, i) => svg("circle", { class: `dot curve-${i % 6}`, r: 4, visibility: "hidden" }));
  const picture = svg("svg", {
    viewBox: `0 0 ${width} ${HEIGHT}`, class: "chart", role: "img", tabindex: 0,
    "aria-label": `${keys.join(", ")} in ${unit} over ${epochs.length} epochs; ${keys.map((key) => `${key} ends at ${figure(epochs[epochs.length - 1][key], 3)}`).join(", ")}. Arrow keys move along the epochs.`,
  }, grid, curves, ruler, dots);

  let at = null;
  const mark = (i) => {
    at = i;
    const shown = i !== null;
    ruler.setAttribute("visibility", shown ? "visible" : "hidden");
    if (shown) {
      ruler.setAttribute("x1", x(epochs[i].epoch));
      ruler.setAttribute("x2", x(epochs[i].epoch));
    }
    keys.forEach((key, k) => {
      const value = shown ? epochs[i][key] : NaN;
      dots[k].setAttribute("visibility", Number.isFinite(value) ? "visible" : "hidden");
      if (!Number.isFinite(value)) return;
      dots[k].setAttribute("cx", x(epochs[i].epoch));
      dots[k].setAttribute("cy", y(value));
    });
  };
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const wanted = ((event.clientX - box.left) / box.width) * width;
    let best = 0;
    for (let i = 1; i < epochs.length; i += 1) {
      if (Math.abs(x(epochs[i].epoch) - wanted) < Math.abs(x(epochs[best].epoch) - wanted)) best = i;
    }
    point(best);
  });
  picture.addEventListener("pointerleave", () => point(null));
  picture.addEventListener("blur", () => point(null));
  picture.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    point(Math.min(epochs.length - 1, Math.max(0, (at ?? (step > 0 ? -1 : epochs.length)) + step)));
  });
  const names = el("p", { class: "names" }, keys.map((key, i) => el("span", { class: "sample" }, el("i", { class: `swatch curve-${i % 6}` }), el("span", { text: key }))));
  return { node: el("figure", { class: "panel" }, el("figcaption", null, names), picture), mark };
}
