// Drawing an input by hand, pixel by pixel of the data’s own shape, or taking one from an image file.

import { toBase64 } from "../draw.js";
import { button, el, field, say } from "../dom.js";

/** A canvas of the data's height and width; `changed(base64)` is called with what is drawn, and awaited. */
export function pad([height, width, channels], changed) {
  const ink = new Float32Array(height * width * channels);
  const canvas = el("canvas", { id: "pad", width, height, tabindex: 0, role: "application",
    "aria-label": "Drawing pad. Arrow keys move the pen, Space draws, Backspace erases." });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const radius = el("input", { type: "range", id: "pen", min: 0.5, max: Math.max(2, width / 8), step: 0.1, value: Math.max(0.6, width / 20) });
  const color = el("input", { type: "color", value: "#ffffff" });
  const trouble = el("div");
  let erasing = false;
  let pen = null; // where the pen is while it is down
  let cursor = null; // where the keys have moved it

  const paint = () => {
    const image = context.createImageData(width, height);
    for (let i = 0; i < height * width; i += 1) {
      for (let c = 0; c < 3; c += 1) image.data[4 * i + c] = c < channels || channels === 1 ? ink[channels * i + (c % channels)] : 0;
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    if (cursor !== null) {
      context.fillStyle = "#ff8a2a";
      context.fillRect(cursor[0], cursor[1], 1, 1);
    }
  };
  // one question at a time: while a stroke goes on, the next one is about all that was drawn since
  let [isAsking, isNew] = [false, false];
  const tell = async () => {
    paint();
    isNew = true;
    if (isAsking) return;
    isAsking = true;
    while (isNew) {
      isNew = false;
      await changed(toBase64(Uint8Array.from(ink, Math.round)));
    }
    isAsking = false;
  };
  const shade = () => (channels === 1 ? [255] : [1, 3, 5].map((at) => parseInt(color.value.slice(at, at + 2), 16)));

  const stamp = (x, y) => {
    const r = Number(radius.value);
    const full = shade();
    for (let row = Math.max(0, Math.floor(y - r - 1)); row <= Math.min(height - 1, y + r + 1); row += 1) {
      for (let column = Math.max(0, Math.floor(x - r - 1)); column <= Math.min(width - 1, x + r + 1); column += 1) {
        const cover = Math.min(1, Math.max(0, r + 0.5 - Math.hypot(column + 0.5 - x, row + 0.5 - y)));
        for (let c = 0; c < channels; c += 1) {
          const at = channels * (row * width + column) + c;
          if (erasing) ink[at] = Math.min(ink[at], 255 * (1 - cover));
          else if (channels === 1) ink[at] = Math.max(ink[at], 255 * cover);
          else ink[at] += cover * ((full[c] ?? 255) - ink[at]);
        }
      }
    }
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * width, ((event.clientY - box.top) / box.height) * height];
  };
  const line = (from, to) => {
    const steps = Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1])) || 1;
    for (let i = 1; i <= steps; i += 1) stamp(from[0] + ((to[0] - from[0]) * i) / steps, from[1] + ((to[1] - from[1]) * i) / steps);
    tell();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    cursor = null;
    pen = place(event);
    line(pen, pen);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (pen === null) return;
    for (const one of event.getCoalescedEvents?.() ?? [event]) {
      const to = place(one);
      line(pen, to);
      pen = to;
    }
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (pen = null));
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    cursor ??= [Math.floor(width / 2), Math.floor(height / 2)];
    if (step) {
      cursor = [Math.min(width - 1, Math.max(0, cursor[0] + step[0])), Math.min(height - 1, Math.max(0, cursor[1] + step[1]))];
      paint();
    } else if (event.key === " " || event.key === "Backspace") {
      const before = erasing;
      erasing = before || event.key === "Backspace";
      stamp(cursor[0] + 0.5, cursor[1] + 0.5);
      erasing = before;
      tell();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });
  canvas.addEventListener("blur", () => {
    cursor = null;
    paint();
  });

  const take = async (file) => {
    trouble.replaceChildren();
    try {
      const bitmap = await createImageBitmap(file);
      const scaled = el("canvas", { width, height }).getContext("2d", { willReadFrequently: true });
      // the middle of the file, as much of it as has the data's proportions
      const scale = Math.max(width / bitmap.width, height / bitmap.height);
      const [w, h] = [bitmap.width * scale, bitmap.height * scale];
      scaled.imageSmoothingQuality = "high";
      scaled.drawImage(bitmap, (width - w) / 2, (height - h) / 2, w, h);
      const { data } = scaled.getImageData(0, 0, width, height);
      for (let i = 0; i < height * width; i += 1) {
        const [r, g, b] = data.subarray(4 * i, 4 * i + 3);
        if (channels === 1) ink[i] = 0.299 * r + 0.587 * g + 0.114 * b;
        else ink.set([r, g, b, 255].slice(0, channels), channels * i);
      }
      say(`${file.name} was opened.`);
      tell();
    } catch {
      trouble.replaceChildren(el("p", { class: "error", role: "alert", text: `${file.name} is not an image that this browser can read. Open a PNG or JPEG file.` }));
    }
  };
  const file = el("input", { type: "file", id: "file", accept: "image/*", onchange: () => {
    if (file.files.length > 0) take(file.files[0]);
    file.value = "";
  } });
  const eraser = button("Eraser", () => {
    erasing = !erasing;
    eraser.setAttribute("aria-pressed", erasing);
  }, { "aria-pressed": "false" });
  const every = (change) => () => {
    ink.set(ink.map(change));
    tell();
  };
  paint();
  return {
    node: el("div", { class: "padbox" }, el("div", { class: "frame" }, canvas),
      el("div", { class: "padtools" },
        el("p", { class: "muted", text: `Draw with the mouse, a finger or the arrow keys and Space. The pad has the data’s own ${height} × ${width} pixels.` }),
        field("Pen", radius), channels === 1 ? null : field("Color", color),
        el("div", { class: "bar" }, eraser, button("Clear", every(() => 0)), button("Invert", every((value) => 255 - value))),
        field("Open an image file", file), trouble)),
    focus: () => canvas.focus(),
  };
}
