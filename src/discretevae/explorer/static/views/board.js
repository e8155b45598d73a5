// The code as a board: a tile for a bit, a row of tiles for a category, a slider for a number.

import { el, figure, roving } from "../dom.js";
import { placeMap } from "../places.js";
import { current, nameOf, on, placeName, setVariable, variablesOf } from "../store.js";

const UNCERTAIN = 0.15; // how near 1/2 a probability is called uncertain

const percent = (p) => (p === null || p === undefined ? "" : `${figure(100 * p, p > 0.995 || p < 0.005 ? 1 : 0)} %`);

function tile(text, properties) {
  return el("button", { type: "button", class: "bit", tabindex: "-1", ...properties },
    el("span", { class: "well", "aria-hidden": "true" }, el("i")),
    el("span", { class: "digit", "aria-hidden": "true", text }));
}

function level(node, p) {
  node.style.setProperty("--p", p ?? "");
  node.classList.toggle("unknown", p === null || p === undefined);
}

/**
 * The board of the current code. `point({variable, value} | null)` is told what a press would do
 * while a tile has the focus or the pointer. Of a grid it shows one place, which is chosen on the picture.
 */
export function board(point) {
  const { variables, grid } = current.model;
  let shown = grid ? null : tilesOf(variables, point);
  const node = el("div", { class: "board" }, shown?.blocks);
  const update = () => {
    for (const one of shown.updates) one();
    for (const settle of shown.settles) settle();
  };
  if (!grid) return { node, update };
  const map = placeMap("place-map", (place) => {
    shown = tilesOf(variablesOf(place), point);
    node.replaceChildren(map.node, el("h4", { text: placeName(place) }), ...shown.blocks);
    if (current.code) update();
  });
  on("code", () => map.mark((place) => variablesOf(place).some(({ index }) => current.code[index] !== current.base[index])));
  map.choose(0);
  return { node, update };
}

/** The tiles, rows of tiles and sliders of some variables: what to show, and how to renew it. */
function tilesOf(variables, point) {
  const updates = [];
  const settles = [];
  const blocks = [];
  const hint = (node, ask) => {
    node.addEventListener("pointerenter", (event) => event.pointerType !== "touch" && point(ask()));
    node.addEventListener("focus", () => node.matches(":focus-visible") && point(ask()));
    node.addEventListener("pointerleave", () => point(null));
    node.addEventListener("blur", () => point(null));
  };

  const bits = variables.filter((v) => v.kind === "bit");
  if (bits.length > 0) {
    const group = el("div", { class: `bits${bits.length > 100 ? " dense" : ""}`, role: "group", id: "bits-board", "aria-label": `${bits.length} bits. Arrow keys move, Space flips.` });
    for (const { index } of bits) {
      const flip = () => 1 - current.code[index];
      const node = tile("", { "data-variable": index, onclick: () => {
        setVariable(index, flip());
        point(null);
      } });
      hint(node, () => ({ variable: current.model.variables[index], value: flip() }));
      updates.push(() => {
        const on = current.code[index] === 1;
        const p = current.probabilities?.[index];
        const unsure = p !== undefined && Math.abs(p - 0.5) < UNCERTAIN;
        const moved = current.code[index] !== current.base[index];
        level(node, p);
        node.setAttribute("aria-pressed", on);
        node.lastChild.textContent = on ? "1" : "0";
        node.classList.toggle("unsure", unsure);
        node.classList.toggle("moved", moved);
        const words = [`Bit ${index}`, on ? "on" : "off"];
        if (p !== undefined) words.push(`the encoder gives ${percent(p)} for on${unsure ? ", uncertain" : ""}`);
        if (moved) words.push("changed by you");
        node.setAttribute("aria-label", words.slice(0, 1).concat(words.slice(2)).join(", "));
        node.title = words.join(", ");
      });
      group.append(node);
    }
    settles.push(roving(group));
    blocks.push(group);
  }

  for (const variable of variables.filter((v) => v.kind === "category")) {
    const { index, n_categories: n } = variable;
    const group = el("div", { class: "bits categories", role: "radiogroup", "aria-label": `Category ${index}, one of ${n}` });
    const nodes = Array.from({ length: n }, (_, k) => {
      const node = tile(String(k), { role: "radio", "data-variable": index, "data-category": k, onclick: () => {
        if (current.code[index] !== k) setVariable(index, k);
        point(null);
      } });
      hint(node, () => ({ variable, value: k }));
      group.append(node);
      return node;
    });
    const settle = roving(group);
    settles.push(settle);
    updates.push(() => nodes.forEach((node, k) => {
      const p = current.probabilities?.[index]?.[k];
      level(node, p);
      node.setAttribute("aria-checked", current.code[index] === k);
      node.classList.toggle("unsure", p !== undefined && Math.abs(p - 0.5) < UNCERTAIN);
      node.classList.toggle("moved", current.code[index] === k && current.base[index] !== k);
      node.setAttribute("aria-label", `${k}${p === undefined ? "" : `, ${percent(p)}`}`);
      node.title = node.getAttribute("aria-label");
    }));
    blocks.push(el("div", { class: "variable" }, el("span", { class: "name", text: nameOf(variable) }), group));
  }

  const reals = variables.filter((v) => v.kind === "real");
  if (reals.length > 0) {
    const list = el("div", { class: "reals" });
    for (const variable of reals) {
      const { index } = variable;
      let sliding = false;
      const value = el("output", { class: "value" });
      const said = el("span", { class: "muted" });
      const slider = el("input", { type: "range", step: "any", "data-variable": index, "aria-label": nameOf(variable),
        oninput: () => {
          setVariable(index, Number(slider.value), !sliding);
          sliding = true;
        },
        onchange: () => (sliding = false),
        onkeydown: (event) => {
          // a slider without steps would move by the browser's own idea of one
          const step = { ArrowLeft: -0.1, ArrowDown: -0.1, ArrowRight: 0.1, ArrowUp: 0.1, PageDown: -1, PageUp: 1 }[event.key];
          if (step === undefined) return;
          event.preventDefault();
          const to = Math.min(Number(slider.max), Math.max(Number(slider.min), current.code[index] + step));
          setVariable(index, to);
        } });
      updates.push(() => {
        const p = current.probabilities?.[index];
        const base = current.base[index];
        slider.min = Math.min(-4, Math.floor(base - 1));
        slider.max = Math.max(4, Math.ceil(base + 1));
        slider.value = current.code[index];
        slider.setAttribute("aria-valuetext", figure(current.code[index]));
        value.textContent = figure(current.code[index]);
        said.textContent = p ? `${figure(p.mean)} ± ${figure(p.std)}` : "";
        said.title = p ? "what the encoder gives: mean ± standard deviation" : "";
      });
      list.append(el("div", { class: "real" }, el("span", { class: "name", text: nameOf(variable) }), slider, value, said));
    }
    blocks.push(list);
  }

  return { blocks, updates, settles };
}
