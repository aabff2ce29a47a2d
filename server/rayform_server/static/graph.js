// Draws graphs as SVG: of a run's steps, and of an artifact's lineage. A table or list next to each says the same.
const SVG = "http://www.w3.org/2000/svg";

export function start() {
  for (const box of document.querySelectorAll("[data-graph]")) show(box);
}

async function show(box) {
  const worker = new Worker(new URL("./layout.js", import.meta.url), { type: "module" });
  let shape = "";
  let places = null;
  const load = async () => {
    const response = await fetch(box.dataset.graph);
    if (!response.ok) return;
    const graph = await response.json();
    const now = JSON.stringify([graph.nodes.map((node) => node.id), graph.edges]);
    if (now !== shape) {
      shape = now;
      places = await new Promise((resolve) => {
        worker.onmessage = (event) => resolve(event.data);
        worker.postMessage({ nodes: graph.nodes.map(({ id }) => ({ id })), edges: graph.edges });
      });
    }
    if (!box.contains(document.activeElement)) draw(box, graph, places);
    if (graph.running) setTimeout(() => (document.hidden ? setTimeout(load, 2000) : load()), 1000);
    else worker.terminate();
  };
  await load();
}

function make(name, attributes, text) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function draw(box, graph, places) {
  if (!graph.nodes.length) return;
  const { width, height } = places.boxes;
  const svg = make("svg", { width: places.width, height: places.height, role: "group", "aria-label": "Graph" });
  box.tabIndex = 0;
  const arrow = make("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 7, markerHeight: 7, orient: "auto" });
  arrow.append(make("path", { d: "M0 0 8 4 0 8z" }));
  svg.append(arrow);
  for (const points of places.paths) svg.append(make("path", { d: curve(points), "marker-end": "url(#arrow)" }));
  for (const node of graph.nodes) {
    const place = places.nodes[node.id];
    if (!place) continue;
    const link = make(node.href ? "a" : "g", { transform: `translate(${place.x - width / 2} ${place.y - height / 2})`, class: `node s-${node.status}` });
    if (node.href) {
      link.setAttribute("href", node.href);
      if (box.dataset.panel) link.addEventListener("click", (event) => openPanel(event, node.href, box.dataset.panel));
    }
    link.append(
      make("rect", { width, height, rx: 7 }),
      make("rect", { width: 5, height: height - 14, x: 6, y: 7, rx: 2.5, class: "stripe" }),
      make("text", { x: 19, y: 19 }, shorten(node.label, 23)),
      make("text", { x: 19, y: 36, class: "detail" }, shorten(node.detail, 31)),
      make("text", { x: width - 12, y: 20, "text-anchor": "end", class: "sign", "aria-hidden": "true" }, node.symbol),
      make("title", {}, `${node.label}: ${node.detail}`),
    );
    if (node.done !== null) link.append(make("rect", { x: 19, y: height - 7, width: width - 32, height: 3, rx: 1.5, class: "rail" }), make("rect", { x: 19, y: height - 7, width: (width - 32) * node.done, height: 3, rx: 1.5, class: "done" }));
    svg.append(link);
  }
  const { scrollLeft, scrollTop } = box;
  box.querySelector("svg")?.remove();
  box.append(svg);
  if (graph.omitted && !box.querySelector("p")) box.append(Object.assign(document.createElement("p"), { className: "quiet", textContent: `${graph.omitted} more nodes aren't drawn.` }));
  box.hidden = false;
  box.closest("[data-needs-script]")?.removeAttribute("hidden");
  box.scrollTo(scrollLeft, scrollTop);
}

function curve(points) {
  const [first, ...rest] = points;
  const last = rest.at(-1);
  if (points.length < 3) {
    const middle = (first.y + last.y) / 2;
    return `M${first.x} ${first.y}C${first.x} ${middle} ${last.x} ${middle} ${last.x} ${last.y}`;
  }
  let path = `M${first.x} ${first.y}`;
  for (let i = 1; i < points.length - 1; i++) {
    const end = i === points.length - 2 ? points[i + 1] : { x: (points[i].x + points[i + 1].x) / 2, y: (points[i].y + points[i + 1].y) / 2 };
    path += `Q${points[i].x} ${points[i].y} ${end.x} ${end.y}`;
  }
  return path;
}

function shorten(text, length) {
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`;
}

async function openPanel(event, href, id) {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const panel = document.getElementById(id);
  const response = await fetch(href);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const part = page.getElementById("step");
  if (!part) return void (location.href = href);
  const close = Object.assign(document.createElement("button"), { type: "button", className: "plain close", textContent: "✕" });
  close.setAttribute("aria-label", "Close");
  close.addEventListener("click", () => (panel.hidden = true));
  panel.replaceChildren(close, document.adoptNode(part));
  panel.hidden = false;
  close.focus({ preventScroll: true });
}
