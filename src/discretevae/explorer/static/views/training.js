// The curves of the run and its figures.

import { get } from "../api.js";
import { attempt, el, figure } from "../dom.js";
import { current } from "../store.js";
import { chart, panels, unitOf } from "./chart.js";

const FIRST = ["test_elbo", "elbo", "log_likelihood", "kl", "active_units"];

export function mount(body) {
  const trouble = el("div");
  const boxes = el("fieldset", { class: "columns", id: "columns" }, el("legend", { text: "Columns" }));
  const charts = el("div", { class: "charts", id: "charts" });
  const readout = el("p", { class: "readout", id: "readout", "aria-live": "polite" });
  let loaded = false;
  let epochs = [];
  const picked = new Set();
  let marks = [];

  const draw = () => {
    width = charts.clientWidth;
    if (width === 0) return; // another section is shown by now; coming back draws
    const columns = Math.max(1, Math.floor((width + 16) / 496));
    const drawn = panels(epochs, picked).map((panel) => chart(epochs, panel, (width - 16 * (columns - 1)) / columns - 38, point));
    charts.replaceChildren(...drawn.map((one) => one.node));
    if (drawn.length === 0) charts.append(el("p", { class: "muted", text: "Choose a column." }));
    marks = drawn.map((one) => one.mark);
  };
  let width = 0; // texts keep their size: a chart is drawn for the room that it has
  new ResizeObserver(() => {
    if (epochs.length > 0 && charts.clientWidth > 0 && charts.clientWidth !== width) draw();
  }).observe(charts);
  const point = (i) => {
    for (const mark of marks) mark(i);
    if (i === null) return;
    const epoch = epochs[i];
    readout.textContent = [`Epoch ${epoch.epoch}`, ...[...picked].filter((key) => Number.isFinite(epoch[key])).map((key) => `${key} ${figure(epoch[key], 3)}`)].join(" · ");
  };

  const load = () => attempt(trouble, async () => {
    const answer = await get("/api/history");
    epochs = answer.epochs;
    loaded = true;
    if (epochs.length === 0) {
      charts.replaceChildren(el("p", { class: "muted", text: "This run has no history of its training." }));
      return;
    }
    const keys = answer.keys.filter((key) => key !== "epoch" && epochs.some((epoch) => Number.isFinite(epoch[key])));
    picked.clear();
    for (const key of FIRST) if (keys.includes(key)) picked.add(key);
    if (picked.size === 0 && keys.length > 0) picked.add(keys[0]);
    boxes.replaceChildren(el("legend", { text: "Columns" }), ...keys.map((key) => {
      const box = el("input", { type: "checkbox", value: key, checked: picked.has(key), onchange: () => {
        if (box.checked) picked.add(key);
        else picked.delete(key);
        draw();
      } });
      return el("label", { class: "chip" }, box, el("span", { text: key }));
    }));
    draw();
    readout.textContent = `${epochs.length} epochs. Point at a curve, or move along it with the arrow keys.`;
  });

  const numbers = Object.entries(current.model.figures ?? {}).filter(([, value]) => Number.isFinite(value));
  const table = el("table", { id: "run-figures" }, el("caption", { text: "Figures of the run" }),
    el("thead", null, el("tr", null, ["Figure", "Value", "Unit"].map((text) => el("th", { scope: "col", text })))),
    el("tbody", null, numbers.map(([name, value]) => el("tr", null, el("th", { scope: "row", text: name }), el("td", { text: figure(value, 3) }), el("td", { class: "muted", text: unitOf(name) })))));
  body.append(boxes, trouble, readout, charts, numbers.length > 0 ? el("div", { class: "panel" }, table) : el("p", { class: "muted", text: "This run has no figures: discretevae evaluate makes them." }));
  return { enter: () => (loaded ? undefined : load()) };
}
