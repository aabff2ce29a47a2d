// The search field: Ctrl-K or "/" puts the cursor there, what fits is listed below it.
export function start() {
  const field = document.getElementById("search");
  const list = document.getElementById("hits");
  if (!field || !list) return;
  let asked = "";

  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
    if ((event.key === "k" && (event.ctrlKey || event.metaKey)) || (event.key === "/" && !typing)) {
      event.preventDefault();
      field.focus();
      field.select();
    } else if (event.key === "Escape" && !list.hidden) {
      list.hidden = true;
      field.focus();
    } else if ((event.key === "ArrowDown" || event.key === "ArrowUp") && !list.hidden) {
      const links = [...list.querySelectorAll("a")];
      const at = links.indexOf(document.activeElement) + (event.key === "ArrowDown" ? 1 : -1);
      event.preventDefault();
      (links[at] ?? field).focus();
    }
  });
  field.addEventListener("input", () => {
    const text = (asked = field.value.trim());
    if (!text) return void (list.hidden = true);
    setTimeout(async () => {
      if (text !== asked) return;
      const address = new URL("/search.json", location.origin);
      address.searchParams.set("q", text);
      const stack = new URLSearchParams(location.search).get("stack");
      if (stack) address.searchParams.set("stack", stack);
      const response = await fetch(address);
      if (!response.ok || text !== asked) return;
      show(await response.json());
    }, 150);
  });

  function show(hits) {
    list.replaceChildren(
      ...hits.map((hit) => {
        const item = document.createElement("li");
        const link = document.createElement("a");
        const detail = document.createElement("span");
        link.href = hit.href;
        link.textContent = hit.name + " ";
        detail.className = "quiet";
        detail.textContent = `${hit.kind} · ${hit.detail}`;
        link.append(detail);
        item.append(link);
        return item;
      }),
    );
    if (!hits.length) list.append(Object.assign(document.createElement("li"), { className: "quiet", textContent: "Nothing fits." }));
    list.hidden = false;
  }
}
