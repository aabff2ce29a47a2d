// New lines of a running run's logs. At most 5,000 of them stay on the page, so that its memory doesn't grow.
const MOST = 5000;

export function start() {
  const log = document.querySelector("[data-follow]");
  const box = document.createElement("pre");
  log.querySelector(".empty")?.remove();
  log.append(box);
  log.scrollTop = log.scrollHeight;
  const source = new EventSource(log.dataset.follow);
  source.onmessage = (event) => {
    const { step, lines } = JSON.parse(event.data);
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const part = document.createDocumentFragment();
    for (const spans of lines.slice(-MOST)) {
      const line = document.createElement("span");
      line.className = "line";
      line.append(Object.assign(document.createElement("span"), { className: "from", textContent: `${step} | ` }));
      for (const [text, style] of spans) {
        const span = document.createElement("span");
        if (style) span.className = style;
        span.textContent = text;
        line.append(span);
      }
      part.append(line);
    }
    box.append(part);
    while (box.childElementCount > MOST) box.firstElementChild.remove();
    if (atEnd) log.scrollTop = log.scrollHeight;
  };
  source.addEventListener("end", () => source.close());
}
