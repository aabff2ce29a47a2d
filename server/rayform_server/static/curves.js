// Curves of numbers, by uPlot. The table on the same page has the numbers.
import uPlot from "./vendor/uplot.js";

export function start() {
  for (const box of document.querySelectorAll("[data-curves]")) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const draw = () => plot(box, data);
    draw();
    document.addEventListener("rayform:theme", draw);
    let width = box.clientWidth;
    new ResizeObserver(() => {
      if (Math.abs(box.clientWidth - width) > 20) {
        width = box.clientWidth;
        draw();
      }
    }).observe(box);
  }
}

function plot(box, { labels, series }) {
  for (const old of box.querySelectorAll("figure")) old.remove();
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const axis = { stroke: colour("--quiet"), grid: { stroke: colour("--line"), width: 1 }, ticks: { stroke: colour("--line"), width: 1 } };
  for (const { name, values } of series) {
    const figure = document.createElement("figure");
    figure.append(Object.assign(document.createElement("h3"), { textContent: name }));
    box.append(figure);
    const options = {
      width: Math.max(figure.clientWidth, 200),
      height: 180,
      legend: { show: false },
      scales: { x: { time: false } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? (labels[tick] ?? "") : "")) }, { ...axis, size: 60 }],
      series: [{}, { label: name, stroke: colour("--accent"), width: 2, points: { show: values.length < 60, size: 6, fill: colour("--accent") }, spanGaps: true }],
    };
    new uPlot(options, [labels.map((_, index) => index), values], figure);
  }
}
