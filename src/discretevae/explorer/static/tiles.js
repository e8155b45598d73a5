// Grids of pictures that are buttons: rows, members, neighbors, samples, steps.

import { show } from "./draw.js";
import { el, roving } from "./dom.js";

/**
 * A grid of picture buttons. `draw(items)` replaces them; an item is
 * { picture, label (for screen readers), caption (under the picture, optional), title, choose, data }.
 */
export function tiles(name, properties) {
  const grid = el("div", { class: "tiles", role: "group", "aria-label": name, ...properties });
  const settle = roving(grid);
  const draw = (items) => {
    grid.replaceChildren(
      ...items.map((item) => {
        const holder = el("span", { class: "frame" });
        show(holder, item.picture, "");
        const node = el("button", { type: "button", class: "tile", "aria-label": item.label, title: item.title, onclick: item.choose, tabindex: "-1" },
          holder, item.caption === undefined ? null : el("span", { class: "caption", text: item.caption }));
        for (const [key, value] of Object.entries(item.data ?? {})) node.dataset[key] = value;
        return node;
      }),
    );
    settle();
  };
  const mark = (matches) => {
    for (const node of grid.children) {
      if (matches(node)) node.setAttribute("aria-current", "true");
      else node.removeAttribute("aria-current");
    }
    settle();
  };
  return { grid, draw, mark };
}
