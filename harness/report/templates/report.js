"use strict";
// All of this is optional: without the script, tooltips and tables show the same.
for (const board of document.querySelectorAll("[data-board]")) {
  const picture = board.querySelector(".timeline");
  const bars = [...picture.querySelectorAll(".bar")];
  const details = board.querySelector(".details");
  const find = board.querySelector(".find");
  const article = board.closest("article");
  const byTask = Map.groupBy
    ? Map.groupBy(picture.querySelectorAll("[data-task]"), (part) => part.dataset.task)
    : [...picture.querySelectorAll("[data-task]")].reduce(
        (all, part) => all.set(part.dataset.task, [...(all.get(part.dataset.task) || []), part]), new Map());
  let shown = [];
  let kept = null;

  const show = (task, describe) => {
    shown.forEach((part) => part.classList.remove("on"));
    shown = byTask.get(task) || [];
    shown.forEach((part) => part.classList.add("on"));
    picture.classList.toggle("shows", shown.length > 0);
    if (!describe) return;
    const words = shown.filter((part) => part.matches(".bar")).map((bar) => bar.querySelector("title").textContent.replaceAll("\n", ", "));
    details.hidden = task === null;
    details.textContent = words.join("\n") || `task ${task} was never started`;
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
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
