"use strict";
// All of this is optional: without the script, tooltips, tables and stories show the same.
const words = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);
const has = (text, wanted) => wanted.every((word) => text.includes(word));
for (const board of document.querySelectorAll("[data-board]")) {
  const picture = board.querySelector(".timeline");
  const bars = [...picture.querySelectorAll(".bar")];
  const details = board.querySelector(".details");
  const find = board.querySelector(".find");
  const article = board.closest("article");
  const crowded = picture.querySelector(".cell") !== null;
  const byTask = new Map();
  for (const part of picture.querySelectorAll("[data-task]")) {
    if (!byTask.has(part.dataset.task)) byTask.set(part.dataset.task, []);
    byTask.get(part.dataset.task).push(part);
  }
  let shown = [];
  let kept = null;

  const show = (task, describe) => {
    shown.forEach((part) => part.classList.remove("on"));
    shown = byTask.get(task) || [];
    shown.forEach((part) => part.classList.add("on"));
    picture.classList.toggle("shows", shown.length > 0);
    if (!describe) return;
    const runs = shown.filter((part) => part.matches(".bar")).map((bar) => bar.querySelector("title").textContent.replaceAll("\n", ", "));
    const none = crowded ? `the runs of task ${task} are not drawn one by one; the list of tasks has them` : `task ${task} was never started`;
    details.hidden = task === null;
    details.textContent = runs.join("\n") || none;
  };
  const keep = (task) => { kept = task; show(task, true); };

  picture.addEventListener("mouseover", (event) => {
    const part = event.target.closest("[data-task]");
    show(part ? part.dataset.task : kept, false);
  });
  picture.addEventListener("mouseleave", () => show(kept, false));
  picture.addEventListener("click", (event) => {
    const part = event.target.closest("[data-task]");
    keep(part ? part.dataset.task : null);
  });

  // One bar is in the tab order; the arrow keys go from bar to bar in order of their start.
  if (bars.length) bars[0].setAttribute("tabindex", "0");
  picture.addEventListener("focusin", (event) => { if (event.target.matches(".bar")) keep(event.target.dataset.task); });
  picture.addEventListener("keydown", (event) => {
    const at = bars.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") keep(null);
    if (at < 0 || !step || !bars[at + step]) return;
    event.preventDefault();
    bars[at].removeAttribute("tabindex");
    bars[at + step].setAttribute("tabindex", "0");
    bars[at + step].focus();
  });

  find.hidden = false;
  find.querySelector("input").addEventListener("input", (event) => keep(event.target.value || null));
  article.addEventListener("click", (event) => {
    const button = event.target.closest("[data-show]");
    if (!button) return;
    find.querySelector("input").value = button.dataset.show;
    keep(button.dataset.show);
    board.scrollIntoView({ block: "start" });
  });
}

// The list of tasks: rows are read from text, and become elements only when the list is open.
const STEP = 100;
const lists = [...document.querySelectorAll("[data-tasks]")].map((box) => {
  const article = box.closest("article");
  const anchor = box.dataset.tasks;
  const body = box.querySelector("tbody");
  const more = box.querySelector(".next");
  const output = box.querySelector("output");
  const [status, activity, worker] = ["status", "activity", "worker"].map((name) => box.querySelector(`[name=${name}]`));
  let rows = null;
  let wanted = [];
  let found = [];

  const option = (select, text) => select.append(new Option(text, text));
  const read = () => {
    if (rows) return rows;
    const text = box.querySelector(".rows").textContent;
    rows = text.split("\n").filter(Boolean).map((line) => ({ text: `task ${line}`.toLowerCase(), cells: line.split("\t") }));
    const states = new Set(rows.flatMap((row) => [row.cells[1], ...row.cells[2].split(", ")]).filter(Boolean));
    const workers = new Set(rows.flatMap((row) => row.cells[8].split(", ")).filter((name) => name && name !== "…"));
    [...states].sort().forEach((state) => option(status, state));
    [...workers].slice(0, 500).forEach((name) => option(worker, name));
    return rows;
  };
  const matches = (row) => has(row.text, wanted)
    && (!status.value || row.cells[1] === status.value || row.cells[2].split(", ").includes(status.value))
    && (!activity.value || row.cells[3].toLowerCase().includes(activity.value.trim().toLowerCase()))
    && (!worker.value || row.cells[8].split(", ").includes(worker.value));
  const cell = (text, column) => {
    const made = document.createElement("td");
    if (column === 0) {
      const link = document.createElement(document.getElementById(`${anchor}-task-${text}`) ? "a" : "button");
      link.className = "task";
      link.textContent = `task ${text}`;
      if (link.matches("a")) link.href = `#${anchor}-task-${text}`;
      else { link.type = "button"; link.dataset.show = text; }
      made.append(link);
    } else made.textContent = column > 4 && column < 8 && text ? `${text} s` : text;
    if ([4, 5, 6, 7].includes(column)) made.className = "n";
    return made;
  };
  const add = (count) => {
    const next = found.slice(body.rows.length, body.rows.length + count);
    body.append(...next.map((row) => {
      const line = document.createElement("tr");
      line.append(...row.cells.map(cell));
      return line;
    }));
    more.hidden = body.rows.length >= found.length;
  };
  const filter = () => {
    found = read().filter(matches);
    output.textContent = `${found.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
    body.replaceChildren();
    if (box.open) add(STEP);
  };
  box.querySelector(".filters").hidden = false;
  for (const input of [status, activity, worker]) input.addEventListener("input", filter);
  more.addEventListener("click", () => add(5 * STEP));
  const fill = () => { if (box.open && !body.rows.length) filter(); };
  box.addEventListener("toggle", fill);
  return {
    fill,
    search: (query) => { wanted = query; filter(); return found.length; },
    article, box,
  };
});

const search = document.querySelector(".search");
const hits = document.querySelector(".hits");
const folds = new Map([...document.querySelectorAll("main details")].map((one) => [one, one.open]));
// A counterexample is found by the story of its task too.
const texts = [...document.querySelectorAll(".story, .example")];
const textOf = (one) => [one, ...[...one.querySelectorAll("a.task")].map((link) => document.getElementById(link.hash.slice(1)))]
  .map((part) => part.textContent).join(" ").toLowerCase();
const searched = () => {
  const query = words(search.querySelector("input").value);
  const described = query.length ? texts.filter((one) => has(textOf(one), query)) : texts;
  texts.forEach((one) => { one.hidden = true; });
  described.forEach((one) => { one.hidden = false; });
  folds.forEach((open, one) => { if (!one.matches("[data-tasks]") || !query.length) one.open = open; });
  let tasks = 0;
  for (const list of lists) {
    const count = list.search(query);
    if (!query.length) continue;
    tasks += count;
    list.box.open = count > 0;
    if (count) list.box.closest(".fold").open = true;
  }
  if (query.length) described.forEach((one) => {
    for (let up = one.closest("details"); up; up = up.parentElement.closest("details")) up.open = true;
  });
  hits.textContent = query.length ? `${tasks.toLocaleString("en")} ${tasks === 1 ? "task" : "tasks"}` : "";
};
search.hidden = false;
let waiting = 0;
search.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(searched, 120); });

// A link into a folded part opens it.
const reveal = () => {
  const target = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  if (!target) return;
  for (let up = target.closest("details"); up; up = up.parentElement.closest("details")) up.open = true;
  target.scrollIntoView();
};
addEventListener("hashchange", reveal);
reveal();

for (const button of document.querySelectorAll(".copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const code = button.previousElementSibling;
    getSelection().selectAllChildren(code);
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Selected: press Ctrl+C";
    }
  });
}

// Print with everything open, and fold again what was folded.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((one) => { one.open = true; });
  lists.forEach((list) => list.fill());
});
addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));
