// What pages do beyond HTML: live parts, copy, confirm, theme, search. Each part is loaded where a page has use for it.
import { startTheme } from "./theme.js";

startTheme();

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
  });
}

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm;
  if (question && !confirm(question)) event.preventDefault();
});

// What scrolls can be reached with the keyboard.
function reachScrolling() {
  for (const part of document.querySelectorAll(".scroll, pre, .copy code")) {
    if (part.scrollWidth > part.clientWidth || part.scrollHeight > part.clientHeight) part.tabIndex = 0;
  }
}
reachScrolling();
addEventListener("resize", reachScrolling);
document.addEventListener("rayform:refreshed", reachScrolling);

// A part with data-live="SECONDS" is fetched again and replaced. The answer says whether it stays live.
const live = () => document.querySelectorAll("[data-live]");
async function refresh() {
  const response = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!response.ok) return;
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of live()) {
    const fresh = page.getElementById(part.id);
    // Don't pull the ground from under someone who marks, types or reads with the keyboard.
    if (!fresh || part.contains(document.activeElement) || part.querySelector("input:checked")) continue;
    if (fresh.outerHTML !== part.outerHTML) part.replaceWith(document.adoptNode(fresh));
  }
  document.dispatchEvent(new Event("rayform:refreshed"));
}
async function keepFresh() {
  const seconds = Math.min(...[...live()].map((part) => Number(part.dataset.live) || 2));
  if (!Number.isFinite(seconds)) return;
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  if (!document.hidden) await refresh().catch(() => {});
  keepFresh();
}
keepFresh();

if (document.querySelector("[data-graph]")) import("./graph.js").then((module) => module.start());
if (document.querySelector("[data-follow]")) import("./follow.js").then((module) => module.start());
if (document.querySelector("[data-curves]")) import("./curves.js").then((module) => module.start());
import("./search.js").then((module) => module.start());
