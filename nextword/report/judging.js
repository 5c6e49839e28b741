// Asks which of two replies is better, keeps the votes and counts them. The key says, of each item, which run is left.
"use strict";

// Votes as "left", "right", "both", "neither" or null -> as "A", "B", "both", "neither" or null.
function named(votes, key) {
  return votes.map((vote, i) => {
    if (vote !== "left" && vote !== "right") return vote;
    return (vote === "left") === (key[i] === "0") ? "A" : "B";
  });
}

function count(votes) {
  const tally = { A: 0, B: 0, both: 0, neither: 0 };
  for (const vote of votes) if (vote) tally[vote] += 1;
  return tally;
}

// How likely so unequal a count is, or a more unequal one, if neither is better: the exact sign test, ties left out.
function signTest(a, b) {
  const n = a + b;
  let total = 0;
  let log = -n * Math.LN2;  // ln of C(n, k) / 2^n
  for (let k = 0; k <= Math.min(a, b); k += 1) {
    total += Math.exp(log);
    log += Math.log((n - k) / (k + 1));
  }
  return Math.min(1, 2 * total);
}

function page() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const runs = JSON.parse(decodeURIComponent(escape(atob(data.runs))));
  const key = atob(data.key);
  const memory = "nextword judge " + data.id;
  const at = (id) => document.getElementById(id);
  let votes = data.items.map(() => null);
  try {
    votes = JSON.parse(localStorage.getItem(memory)) || votes;
  } catch { /* a browser that keeps nothing */ }

  function show() {
    const open = votes.indexOf(null);
    at("question").hidden = open < 0;
    at("result").hidden = open >= 0;
    if (open < 0) return conclude();
    const item = data.items[open];
    at("place").textContent = `${open + 1} of ${data.items.length}`;
    at("talk").replaceChildren(...item.turns.map((turn) => {
      const p = document.createElement("p");
      p.className = turn.role;
      p.dir = "auto";
      p.textContent = turn.content;
      return p;
    }));
    at("left").textContent = item.replies[0];
    at("right").textContent = item.replies[1];
  }

  function conclude() {
    const tally = count(named(votes, key));
    const rows = [[`A: ${runs.A}`, tally.A], [`B: ${runs.B}`, tally.B], ["both good", tally.both],
      ["neither", tally.neither]];
    at("tally").replaceChildren(...rows.map((row) => {
      const tr = document.createElement("tr");
      row.forEach((cell, i) => { tr.appendChild(document.createElement(i ? "td" : "th")).textContent = cell; });
      return tr;
    }));
    const p = signTest(tally.A, tally.B);
    at("verdict").textContent = tally.A + tally.B === 0 ? "Neither was ever better." :
      `If neither were better, counts at least this unequal would come up with probability ${p.toPrecision(2)} `
      + "(sign test, two-sided, without ties).";
  }

  function vote(value) {
    const open = votes.indexOf(null);
    if (open < 0) return;
    votes[open] = value;
    keep();
  }

  function back() {
    const open = votes.indexOf(null);
    const last = (open < 0 ? votes.length : open) - 1;
    if (last < 0) return;
    votes[last] = null;
    keep();
  }

  function keep() {
    try {
      localStorage.setItem(memory, JSON.stringify(votes));
    } catch { /* the same */ }
    show();
  }

  function save() {
    const found = named(votes, key);
    const tally = count(found);
    const document_ = {
      page: data.id, judge: at("judge").value, runs, tally, sign_test: signTest(tally.A, tally.B),
      votes: data.items.map((item, i) => ({ turns: item.turns, A: item.replies[+(key[i] === "1")],
        B: item.replies[+(key[i] === "0")], vote: found[i] })),
    };
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([JSON.stringify(document_, null, 2)], { type: "application/json" }));
    link.download = `votes-${data.id}.json`;
    link.click();
  }

  for (const button of document.querySelectorAll("[data-vote]")) {
    button.addEventListener("click", () => vote(button.dataset.vote));
  }
  at("back").addEventListener("click", back);
  at("save").addEventListener("click", save);
  document.addEventListener("keydown", (event) => {
    if (event.target === at("judge") || event.ctrlKey || event.metaKey || event.altKey) return;
    const choice = ["left", "right", "both", "neither"][Number(event.key) - 1];
    if (choice) vote(choice);
    else if (event.key === "Backspace") back();
  });
  show();
}

if (typeof document !== "undefined") page();
