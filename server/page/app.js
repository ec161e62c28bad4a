"use strict";

const $ = (id) => document.getElementById(id);
let file = null; // the picture that is shown
let latest = 0; // counts questions: only the last one's answer is shown

function say(text, error) {
  $("status").textContent = text;
  $("status").className = error ? "error" : "";
}

// ask classifies the picture; a class asks for that one's heat map.
async function ask(picture, cls) {
  const mine = ++latest;
  file = picture;
  say("looking…");
  const began = performance.now();
  try {
    const query = "explain=1&k=5" + (cls === undefined ? "" : "&class=" + cls);
    const response = await fetch("classify?" + query, { method: "POST", body: picture });
    const answer = await response.json().catch(() => ({ error: "status " + response.status }));
    if (mine !== latest) return;
    if (!response.ok) throw new Error(answer.error);
    show(answer, performance.now() - began);
  } catch (err) {
    if (mine === latest) say(err.message, true);
  }
}

function show(answer, took) {
  say("answered in " + Math.round(took) + " ms");
  $("protocol").textContent = answer.protocol;
  const map = answer.heat_map;
  $("picture").src = map.picture;
  $("overlay").src = map.overlay;
  $("overlay").alt = "heat map: where the network saw " + map.label;
  for (const id of ["picture", "overlay", "mix"]) $(id).hidden = false;
  $("hint").hidden = true;
  $("drop").classList.add("full");
  $("classes").replaceChildren(...answer.top.map((rank) => {
    const item = document.createElement("li"), button = document.createElement("button"), bar = document.createElement("progress");
    const label = document.createElement("span"), prob = document.createElement("span");
    bar.value = rank.prob;
    label.textContent = rank.label;
    prob.textContent = (100 * rank.prob).toFixed(1) + " %";
    button.title = "show where the network saw this";
    button.setAttribute("aria-pressed", rank.class === map.class);
    button.append(bar, label, prob);
    button.addEventListener("click", () => ask(file, rank.class));
    item.append(button);
    return item;
  }));
}

const drop = $("drop");
$("file").addEventListener("change", (e) => { if (e.target.files[0]) ask(e.target.files[0]); e.target.value = ""; });
drop.addEventListener("keydown", (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); $("file").click(); } });
for (const kind of ["dragenter", "dragover"]) addEventListener(kind, (e) => { e.preventDefault(); drop.classList.add("over"); });
addEventListener("dragleave", (e) => { if (!e.relatedTarget) drop.classList.remove("over"); });
addEventListener("drop", (e) => {
  e.preventDefault();
  drop.classList.remove("over");
  const dropped = e.dataTransfer.files[0];
  if (dropped) ask(dropped); else say("that was not a file", true);
});
addEventListener("paste", (e) => { const pasted = e.clipboardData.files[0]; if (pasted) ask(pasted); });
$("strength").addEventListener("input", (e) => { $("overlay").style.opacity = e.target.value / 100; });

fetch("v2/health/ready").then((r) => { if (!r.ok) say("the server is not ready", true); }).catch(() => say("the server does not answer", true));
fetch("model").then((r) => r.json()).then((m) => { $("model").textContent = m.name + " · " + m.classes + " classes · " + m.device; }).catch(() => {});
