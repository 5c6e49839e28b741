"use strict";
// Shows one of the charts drawn into the page, and reads out the point nearest to the pointer.
// A point's place comes from its path: the n-th point of line i is the n-th row of lines[i].
{
  const lines = JSON.parse(document.getElementById("data").textContent);
  const choices = document.querySelector(".choices");
  const figures = [...document.querySelectorAll("#curves figure")];
  const readout = document.createElement("div");
  readout.id = "readout";
  const chosen = {};

  const show = () => {
    for (const button of choices.querySelectorAll("button"))
      button.setAttribute("aria-pressed", String(chosen[button.dataset.axis] === button.value));
    for (const figure of figures)
      figure.hidden = figure.dataset.x !== chosen.x || figure.dataset.y !== chosen.y;
    clear();
  };
  const clear = () => {
    readout.remove();
    document.querySelectorAll(".cursor").forEach((mark) => mark.remove());
  };

  for (const button of choices.querySelectorAll("button")) {
    chosen[button.dataset.axis] ??= button.value;
    button.addEventListener("click", () => { chosen[button.dataset.axis] = button.value; show(); });
  }
  if (choices.querySelector("button")) choices.hidden = false;

  const draw = (svg, tag, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    element.setAttribute("class", "cursor");
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    svg.append(element);
  };

  const duration = (seconds) => {
    const s = Math.round(seconds), h = Math.floor(s / 3600), min = Math.floor(s / 60) % 60;
    return h ? `${h} h ${min} min` : min ? `${min} min ${s % 60} s` : seconds < 10 ? `${seconds.toFixed(1)} s` : `${s} s`;
  };
  const number = (value) => Math.round(value).toLocaleString("en");

  const words = ([step, seconds, tokens, nats, bits]) => {
    if (tokens === undefined) return [`step ${number(step)}`, seconds.toLocaleString("en", { maximumSignificantDigits: 4 })];
    const where = [`step ${number(step)}`];
    if (seconds !== null) where.push(duration(seconds));
    if (tokens !== null) where.push(`${number(tokens)} tokens`);
    const what = [`${nats.toFixed(4)} nats/token`];
    if (bits !== null) what.push(`${bits.toFixed(4)} bits/byte`);
    return [where.join(" · "), what.join(" · ")];
  };

  const parsed = new Map();  // path -> [[x, y], ...]
  const points = (path) => {
    if (!parsed.has(path)) {
      const found = path.getAttribute("d").matchAll(/[ML](-?[\d.]+) (-?[\d.]+)/g);
      parsed.set(path, [...found].map(([, x, y]) => [Number(x), Number(y)]));
    }
    return parsed.get(path);
  };

  const read = (event) => {
    const svg = event.currentTarget;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let best = null, least = Infinity;
    for (const path of svg.querySelectorAll("[data-line]"))
      points(path).forEach(([x, y], index) => {
        const distance = (x - at.x) ** 2 + ((y - at.y) / 2) ** 2;  // people point along x first
        if (distance < least) { least = distance; best = { path, x, y, index }; }
      });
    clear();
    if (!best) return;
    const box = svg.viewBox.baseVal;
    const line = lines[best.path.dataset.line];
    draw(svg, "line", { x1: best.x, x2: best.x, y1: 30, y2: box.height - 40, stroke: "var(--soft)", "stroke-dasharray": "2 3" });
    draw(svg, "circle", { cx: best.x, cy: best.y, r: 4.5, fill: best.path.getAttribute("stroke"), stroke: "var(--paper)", "stroke-width": 1.5 });
    const title = document.createElement("b");
    title.textContent = line.label;
    title.style.color = best.path.getAttribute("stroke");
    const [where, what] = words(line.rows[best.index]);
    readout.replaceChildren(title, document.createElement("br"), where, document.createElement("br"), what);
    svg.parentElement.append(readout);
    const scale = svg.clientWidth / box.width;
    const left = best.x * scale + 14, room = svg.clientWidth - readout.offsetWidth;
    readout.style.left = `${left > room ? Math.max(0, Math.min(room, best.x * scale - readout.offsetWidth - 14)) : left}px`;
    const above = best.y * scale - readout.offsetHeight - 14;
    readout.style.top = `${above < 0 ? best.y * scale + 18 : above}px`;
  };

  for (const svg of document.querySelectorAll("svg.plot")) {
    svg.addEventListener("pointermove", read);
    svg.addEventListener("pointerdown", read);
    svg.addEventListener("pointerleave", clear);
  }
  show();
}
