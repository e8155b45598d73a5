// Pictures: images on a canvas pixel by pixel, rows of tables as bars, differences in two colors.

import { el, figure, svg } from "./dom.js";

const MOST_BARS = 120;
let model = null;

/** What the pictures of this run look like: shape, range of values, names of the columns. */
export function setModel(answer) {
  model = answer;
}

export const isDark = () =>
  (document.documentElement.dataset.theme ??
    (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

const bytes = new WeakMap();

/** The bytes of an image picture, H·W·C of them. */
export function pixels(picture) {
  if (!bytes.has(picture)) {
    bytes.set(picture, Uint8Array.from(atob(picture.pixels), (c) => c.charCodeAt(0)));
  }
  return bytes.get(picture);
}

export function toBase64(data) {
  let text = "";
  for (const byte of data) text += String.fromCharCode(byte);
  return btoa(text);
}

function paint(canvas, height, width, color) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  // kept in memory rather than on a graphics card: the pictures are small and set pixel by pixel
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i += 1) {
    const [r, g, b] = color(i);
    image.data.set([r, g, b, 255], 4 * i);
  }
  context.putImageData(image, 0, 0);
}

/** What screen readers make of a picture: nothing where its button has the words. */
const naming = (label) => (label === "" ? { "aria-hidden": "true" } : { role: "img", "aria-label": label });

function canvasIn(holder, label) {
  if (holder.firstElementChild?.tagName !== "CANVAS" || holder.childElementCount !== 1) {
    holder.replaceChildren(el("canvas"));
  }
  const canvas = holder.firstElementChild;
  for (const [name, value] of Object.entries(naming(label))) canvas.setAttribute(name, value);
  return canvas;
}

/** Shows a picture in `holder`; `label` is what a screen reader says, nothing if it is empty. */
export function show(holder, picture, label) {
  if (!picture.pixels) {
    holder.replaceChildren(bars(picture.values, label, holder.classList.contains("big"), false, 1, picture.cells));
    return;
  }
  const [height, width, channels] = picture.shape;
  const data = pixels(picture);
  const canvas = canvasIn(holder, label);
  paint(canvas, height, width, (i) =>
    channels === 1 ? [data[i], data[i], data[i]] : data.subarray(channels * i, channels * i + 3),
  );
}

/** Shows signed numbers in `holder`: orange for more, blue for less, `scale` is the full color. */
export function showDifference(holder, values, scale, label) {
  if (!model.image) {
    holder.replaceChildren(bars(values, label, holder.classList.contains("big"), true, scale));
    return;
  }
  const [height, width, channels] = model.image;
  const canvas = canvasIn(holder, label);
  const dark = isDark();
  const full = scale > 0 ? scale : 1;
  paint(canvas, height, width, (i) => {
    let sum = 0;
    for (let c = 0; c < channels; c += 1) sum += values[channels * i + c];
    return diverging(sum / channels / full, dark);
  });
}

/** b − a for two pictures, as numbers between −1 and 1 of the range of values. */
export function difference(a, b) {
  if (a.pixels) {
    const [x, y] = [pixels(a), pixels(b)];
    return Float32Array.from(x, (value, i) => (y[i] - value) / 255);
  }
  return a.values.map((value, i) => b.values[i] - value);
}

/** The scale at which differences of this run are shown when they stand alone. */
export function fullScale(values) {
  let most = 0;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return model.image ? Math.max(most, 0.15) : most || 1;
}

const STOPS = {
  light: { none: [247, 246, 243], more: [[241, 164, 105], [184, 62, 12]], less: [[132, 182, 222], [24, 88, 158]] },
  dark: { none: [22, 26, 30], more: [[176, 78, 26], [255, 186, 118]], less: [[34, 98, 166], [134, 202, 255]] },
};

/** The color of a number between −1 and 1. */
export function diverging(value, dark) {
  const { none, more, less } = STOPS[dark ? "dark" : "light"];
  const size = Math.min(1, Math.abs(value));
  const [middle, end] = value > 0 ? more : less;
  const [from, to, t] = size < 0.5 ? [none, middle, 2 * size] : [middle, end, 2 * size - 1];
  return from.map((start, i) => Math.round(start + t * (to[i] - start)));
}

/** A strip that says what the colors of a difference mean. */
export function legend(when = "") {
  const [less, more] = (model.image ? ["darker", "brighter"] : ["less", "more"]).map((word) => word + when);
  const strip = el("canvas", { "aria-hidden": "true" });
  const draw = () => paint(strip, 1, 101, (i) => diverging((i - 50) / 50, isDark()));
  draw();
  addEventListener("themechange", draw);
  return el("p", { class: "legend" }, el("span", { text: less }), strip, el("span", { text: more }));
}

function bars(values, label, big, signed, scale, cells) {
  const [low, high] = signed ? [-scale, scale] : model.value_range;
  const span = high - low || 1;
  const zero = Math.min(1, Math.max(0, -low / span));
  const places = values.map((_, i) => i);
  // of thousands of words those that change most
  if (values.length > MOST_BARS) places.sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));
  const shown = places.slice(0, MOST_BARS).map((i) => values[i]);
  const part = (value) => {
    const at = Math.min(1, Math.max(0, (value - low) / span));
    return [Math.min(zero, at), Math.max(Math.abs(at - zero), 0.004)];
  };
  const kind = (value) => (signed ? (value < 0 ? "less" : "more") : "plain");
  if (!big) {
    return svg("svg", { ...naming(label), viewBox: `0 0 100 ${4 * shown.length}`, preserveAspectRatio: "none", class: "bars" },
      shown.map((value, i) => {
        const [x, width] = part(value);
        return svg("rect", { x: 100 * x, y: 4 * i + 0.5, width: 100 * width, height: 3, class: kind(value) });
      }));
  }
  const names = model.columns ?? [];
  const list = el("ul", { class: "barlist", "aria-label": label }, [...shown].map((value, i) => {
    const [x, width] = part(value);
    return el("li", null, el("span", { class: "name", text: names[places[i]] ?? `column ${places[i]}` }),
      el("span", { class: "track" }, el("i", { class: kind(value), style: { left: `${100 * x}%`, width: `${100 * width}%` } })),
      el("span", { class: "value", text: cells ? cells[places[i]] || "missing" : figure(value, 2) }));
  }));
  if (values.length > MOST_BARS) list.append(el("li", { class: "note", text: `${values.length - MOST_BARS} more columns are not shown` }));
  return list;
}
