// Places the nodes of a graph, in a worker: dagre for usual graphs, plain layers for very large ones.
import { Graph, layout } from "./vendor/dagre.js";

const WIDTH = 210;
const HEIGHT = 46;
const MOST = 400;

onmessage = ({ data: { nodes, edges } }) => {
  postMessage(nodes.length > MOST || edges.length > 4 * MOST ? layers(nodes, edges) : dagre(nodes, edges));
};

function dagre(nodes, edges) {
  const graph = new Graph();
  graph.setGraph({ rankdir: "TB", nodesep: 28, ranksep: 44, marginx: 16, marginy: 16 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node.id, { width: WIDTH, height: HEIGHT });
  for (const [from, to] of edges) graph.setEdge(from, to);
  layout(graph);
  const { width, height } = graph.graph();
  return {
    width,
    height,
    nodes: Object.fromEntries(nodes.map(({ id }) => [id, { x: graph.node(id).x, y: graph.node(id).y }])),
    paths: graph.edges().map((edge) => graph.edge(edge).points),
    boxes: { width: WIDTH, height: HEIGHT },
  };
}

// Each node stands below all that it waits for; within a layer, nodes stand below the middle of those.
function layers(nodes, edges) {
  const into = new Map(nodes.map((node) => [node.id, []]));
  const out = new Map(nodes.map((node) => [node.id, []]));
  for (const [from, to] of edges) {
    into.get(to)?.push(from);
    out.get(from)?.push(to);
  }
  const left = new Map([...into].map(([id, sources]) => [id, sources.length]));
  const rank = new Map();
  const ready = nodes.filter((node) => !left.get(node.id)).map((node) => node.id);
  for (const id of ready) {
    rank.set(id, Math.max(-1, ...into.get(id).map((source) => rank.get(source) ?? -1)) + 1);
    for (const next of out.get(id)) {
      left.set(next, left.get(next) - 1);
      if (!left.get(next)) ready.push(next);
    }
  }
  const rows = [];
  for (const node of nodes) (rows[rank.get(node.id) ?? 0] ??= []).push(node.id);
  const places = {};
  const step = WIDTH + 28;
  const perRow = Math.max(8, Math.ceil(Math.sqrt(nodes.length)));
  let y = 16 + HEIGHT / 2;
  let width = 0;
  for (const row of rows.filter(Boolean)) {
    const middle = (id) => {
      const xs = into.get(id).map((source) => places[source]?.x ?? 0);
      return xs.length ? xs.reduce((sum, x) => sum + x, 0) / xs.length : 0;
    };
    row.sort((a, b) => middle(a) - middle(b));
    row.forEach((id, index) => {
      places[id] = { x: 16 + WIDTH / 2 + (index % perRow) * step, y: y + Math.floor(index / perRow) * (HEIGHT + 16) };
      width = Math.max(width, places[id].x + WIDTH / 2 + 16);
    });
    y += Math.ceil(row.length / perRow) * (HEIGHT + 16) + 36;
  }
  const paths = edges
    .filter(([from, to]) => places[from] && places[to])
    .map(([from, to]) => [
      { x: places[from].x, y: places[from].y + HEIGHT / 2 },
      { x: places[to].x, y: places[to].y - HEIGHT / 2 },
    ]);
  return { width, height: y, nodes: places, paths, boxes: { width: WIDTH, height: HEIGHT } };
}
