// Shows what is known of the token under the pointer. Row i of the data belongs to the i-th span.
"use strict";
const rows = JSON.parse(document.getElementById("data").textContent);
const card = document.getElementById("card");
const text = document.querySelector(".text");
const spans = text.querySelectorAll("span");
spans.forEach((span, i) => { span.index = i; });
const heads = ["token", "P", "1 in", "rank", "entropy, nats", "ln P"];
let shown = null;

function probability(p) {
  return p >= 0.0001 ? p.toFixed(4) : p.toExponential(1);
}

function line(cells, tag) {
  const tr = document.createElement("tr");
  for (const cell of cells) {
    tr.appendChild(document.createElement(tag)).textContent = cell;
  }
  return tr;
}

function show(span) {
  if (span === shown) return;
  if (shown) shown.classList.remove("on");
  shown = span;
  card.hidden = !span;
  if (!span) return;
  span.classList.add("on");
  const table = document.createElement("table");
  table.appendChild(line(heads, "th"));
  for (const [token, logProb, rank, entropy] of rows[span.index]) {
    const p = Math.exp(logProb);
    const oneIn = Math.exp(-logProb);
    const odds = oneIn < 10 ? oneIn.toFixed(1) : oneIn < 1e9 ? Math.round(oneIn).toLocaleString("en") : oneIn.toExponential(1);
    table.appendChild(line([token, probability(p), odds, rank.toLocaleString("en"), entropy.toFixed(2), logProb.toFixed(3)], "td"));
  }
  card.replaceChildren(table);
  const box = span.getClientRects()[0];
  const left = Math.max(8, Math.min(box.left, document.documentElement.clientWidth - card.offsetWidth - 8));
  const below = box.bottom + card.offsetHeight + 12 < window.innerHeight;
  card.style.left = left + window.scrollX + "px";
  card.style.top = window.scrollY + (below ? box.bottom + 6 : box.top - card.offsetHeight - 6) + "px";
}

text.addEventListener("pointerover", (event) => show(event.target.closest(".text span")));
text.addEventListener("pointerleave", () => show(null));
document.addEventListener("pointerdown", (event) => show(event.target.closest(".text span")));
document.addEventListener("keydown", (event) => { if (event.key === "Escape") show(null); });
