// The places of a grid of codes as buttons that lie over the current picture.

import { show } from "./draw.js";
import { el, roving } from "./dom.js";
import { current, on, placeName } from "./store.js";

/** A map of the places; `chosen(place)` is called with the one that is pressed. */
export function placeMap(id, chosen) {
  const [height, width] = current.model.grid;
  const holder = el("div", { class: "frame big" });
  const group = el("div", { class: "places", id, role: "group", style: { "--columns": width, "--rows": height }, "aria-label": `${height} × ${width} places. Arrow keys move, Space chooses.` });
  const nodes = Array.from({ length: height * width }, (_, place) =>
    el("button", { type: "button", class: "place", tabindex: "-1", title: placeName(place), "aria-label": placeName(place), "data-place": place, onclick: () => choose(place) }));
  group.append(...nodes);
  const settle = roving(group);
  const choose = (place) => {
    nodes.forEach((node, i) => (i === place ? node.setAttribute("aria-current", "true") : node.removeAttribute("aria-current")));
    settle();
    chosen(place);
  };
  const draw = () => current.picture && show(holder, current.picture, "");
  on("picture", draw);
  draw();
  return {
    node: el("div", { class: "placemap" }, holder, group),
    choose,
    /** Marks the places of which `is(place)` is true. */
    mark: (is) => nodes.forEach((node, place) => node.classList.toggle("moved", is(place))),
  };
}
