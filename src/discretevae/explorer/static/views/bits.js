// What each variable of the code does on average.

import { get, queue } from "../api.js";
import { legend, show, showDifference } from "../draw.js";
import { attempt, button, el, field, figure, option, plural, roving } from "../dom.js";
import { placeMap } from "../places.js";
import { current, nameOf, nats, placeName, setVariable } from "../store.js";

const UNUSED = 0.01; // nats of KL under which a variable is called unused
const SHARED = 0.65; // of the largest change: the full color where all share one scale

const usageOf = (variable, usage) => {
  if (variable.kind === "bit") return `on in ${figure(100 * usage, 0)} % of the rows`;
  if (variable.kind === "category") {
    const most = usage.indexOf(Math.max(...usage));
    return `most often ${most}, ${figure(100 * usage[most], 0)} %`;
  }
  return "";
};

const ORDERS = {
  strength: ["Strength", (one) => -one.strength],
  kl: ["KL", (one) => -one.kl],
  usage: ["Usage", (one) => -(Array.isArray(one.usage) ? Math.max(...one.usage) : one.usage ?? 0)],
  index: ["Number", (one) => one.index],
};

export function mount(body, app) {
  const model = current.model;
  const ask = queue(3);
  const cards = new Map();
  const effects = new Map();
  const trouble = el("div");
  const grid = el("div", { class: `cards${model.variables.length <= 16 ? " few" : ""}`, id: "effects", role: "group", "aria-label": "Variables of the code" });
  const settle = roving(grid);
  const detail = el("div", { class: "panel detail", id: "detail", "aria-live": "off" });
  const order = el("select", { id: "order", onchange: () => arrange() }, Object.entries(ORDERS).map(([key, [name]]) => option(key, name)));
  const same = el("input", { type: "checkbox", id: "same-scale", checked: true, onchange: () => repaint() });
  const summary = el("p", { class: "muted", id: "bits-summary" });
  const map = model.grid ? placeMap("effects-map", (place) => {
    [overview, chosen, asked] = [[], null, place];
    load(place);
  }) : null;
  let asked = 0; // the place whose variables are wanted
  let overview = [];
  let most = 0;
  let chosen = null;
  let loaded = false;

  /** The signed picture of a variable: on − off; of a number, its highest minus its lowest. */
  const paintCard = (index) => {
    const effect = effects.get(index);
    if (!effect || !cards.has(index)) return;
    const { holder } = cards.get(index);
    if (effect.difference) showDifference(holder, effect.difference, same.checked ? SHARED * most : effect.scale, "");
    else {
      const pictures = picturesOf(effect);
      holder.replaceChildren(el("span", { class: "mosaic" }, pictures.map((one) => {
        const part = el("span", { class: "frame" });
        show(part, one.picture, "");
        return part;
      })));
    }
  };
  const repaint = () => {
    for (const index of effects.keys()) paintCard(index);
    if (chosen !== null) choose(chosen);
  };
  addEventListener("themechange", repaint);

  const picturesOf = (effect) => {
    if (effect.categories) return effect.categories.map((picture, k) => ({ picture, text: `category ${k}`, value: k }));
    if (effect.pictures) return effect.pictures.map((picture, k) => ({ picture, text: `value ${figure(effect.values?.[k] ?? k - 2, 1)}`, value: effect.values?.[k] ?? k - 2 }));
    return [
      { picture: effect.off, text: "off", value: 0 },
      { picture: effect.on, text: "on", value: 1 },
    ];
  };

  const choose = (index) => {
    chosen = index;
    for (const [other, { node }] of cards) {
      if (other === index) node.setAttribute("aria-current", "true");
      else node.removeAttribute("aria-current");
    }
    const variable = model.variables[index];
    const one = overview.find((entry) => entry.index === index);
    const effect = effects.get(index);
    const name = nameOf(variable);
    const pictures = el("div", { class: "pictures" });
    const put = (text, fill) => {
      const holder = el("div", { class: "frame big" });
      fill(holder);
      pictures.append(el("figure", null, el("figcaption", null, el("strong", { text })), holder));
    };
    if (effect) {
      const parts = picturesOf(effect);
      put(parts[0].text, (holder) => show(holder, parts[0].picture, `Mean picture with ${name} ${parts[0].text}`));
      if (effect.difference) put("difference", (holder) => showDifference(holder, effect.difference, effect.scale, `What ${name} adds when it is on`));
      for (const part of parts.slice(1)) put(part.text, (holder) => show(holder, part.picture, `Mean picture with ${name} ${part.text}`));
    }
    detail.replaceChildren(
      el("h3", { text: name.charAt(0).toUpperCase() + name.slice(1) }),
      effect ? pictures : el("p", { class: "muted", text: "Its pictures are on their way." }),
      el("dl", { class: "figures" }, [["KL", nats(one.kl)], ["Usage", usageOf(variable, one.usage)], ["Strength", figure(one.strength, 4)]]
        .filter(([, text]) => text !== "").map(([term, text]) => el("div", null, el("dt", { text: term }), el("dd", { text })))),
      one.kl < UNUSED ? el("p", { class: "muted", text: "The encoder says next to nothing with it: its KL is under 0.01 nats." }) : "",
      variable.kind === "bit" && current.code ? button("Flip it in the current code", () => {
        app.go("code");
        setVariable(index, 1 - current.code[index]);
      }, { id: "flip-here" }) : "",
    );
  };

  const arrange = () => {
    const [, by] = ORDERS[order.value];
    const sorted = [...overview].sort((a, b) => by(a) - by(b) || a.index - b.index);
    grid.replaceChildren(...sorted.map((one) => cards.get(one.index).node));
    settle();
  };

  const fetchEffect = (index) => ask(async () => {
    if (effects.has(index)) return;
    const effect = await get(`/api/effects?variable=${index}`);
    effects.set(index, effect);
    const grew = (effect.scale ?? 0) > most;
    most = Math.max(most, effect.scale ?? 0);
    if (grew && same.checked) repaint();
    else paintCard(index);
    if (chosen === index) choose(index);
  });

  const load = (place = 0) => attempt(trouble, async () => {
    if (overview.length === 0) {
      const answer = await get(`/api/overview${map ? `?place=${place}` : ""}`);
      if (place !== asked) return;
      overview = answer.variables;
      cards.clear();
      const largest = Math.max(...overview.map((one) => one.kl), UNUSED);
      for (const one of overview) {
        const variable = model.variables[one.index];
        const holder = el("span", { class: "frame" });
        const unused = one.kl < UNUSED;
        const node = el("button", {
          type: "button", class: `card${unused ? " unused" : ""}`, tabindex: "-1", "data-variable": one.index,
          "aria-label": `${nameOf(variable)}, KL ${nats(one.kl)}${unused ? ", unused" : ""}`,
          onfocus: () => choose(one.index), onclick: () => choose(one.index),
        }, holder, el("span", { class: "caption" }, el("span", { text: one.index }), el("span", { text: unused ? "unused" : figure(one.kl) })),
        el("span", { class: "meter", "aria-hidden": "true" }, el("i", { style: { width: `${(100 * one.kl) / largest}%` } })));
        cards.set(one.index, { node, holder });
      }
      const unused = overview.filter((one) => one.kl < UNUSED).length;
      const total = overview.reduce((sum, one) => sum + one.kl, 0);
      summary.textContent = `${map ? `${placeName(place)}: ` : ""}${plural(overview.length, "variable")} carr${overview.length === 1 ? "ies" : "y"} ${nats(total)} per row on average; ${unused === 0 ? "none is unused" : `${unused} of them unused`}. Under each picture: its number and its KL in nats${answer.kl_of === "reference" ? ", to a fixed reference as the prior has none for a single variable" : ""}.`;
      arrange();
      choose([...overview].sort((a, b) => b.strength - a.strength)[0].index);
    }
    const rest = [...grid.children].map((node) => Number(node.dataset.variable));
    await Promise.all(rest.map(fetchEffect));
    loaded = true;
  });

  const signed = model.variables.some((v) => v.kind === "bit");
  body.append(
    el("div", { class: "bar" }, field("Sort by", order), signed ? el("label", { class: "field" }, same, el("span", { text: "same colors for all" })) : null,
      el("span", { class: "spacer" }), signed ? legend(" when on") : null),
    trouble, summary, map?.node ?? "", el("div", { class: "with-detail" }, grid, detail),
  );
  return { enter: () => (loaded ? undefined : map ? map.choose(0) : load()) };
}
