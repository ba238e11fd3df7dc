(() => {
  "use strict";
  const box = document.getElementById("search");
  const input = document.getElementById("search-words");
  const list = document.getElementById("search-results");
  const count = document.getElementById("search-count");
  const SHOWN_MAX = 20;
  const entries = JSON.parse(document.getElementById("search-index").textContent);
  for (const entry of entries) {
    entry.low = entry.title.toLowerCase();
    entry.all = (entry.title + " " + entry.kind + " " + entry.text).toLowerCase();
  }
  box.hidden = false;

  // Every word must be there; what a title begins with or has in it comes before what a text has.
  const rank = (entry, words) => {
    let rank = 0;
    for (const word of words) {
      if (!entry.all.includes(word)) return -1;
      if (entry.low === word) rank += 8;
      else if (entry.low.startsWith(word)) rank += 4;
      else if (entry.low.includes(word)) rank += 2;
    }
    return rank;
  };

  const show = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    list.replaceChildren();
    if (words.length === 0) {
      count.textContent = "";
      return;
    }
    const found = entries
      .map((entry, at) => ({ entry, at, rank: rank(entry, words) }))
      .filter((one) => one.rank >= 0)
      .sort((a, b) => b.rank - a.rank || a.at - b.at);
    for (const { entry } of found.slice(0, SHOWN_MAX)) {
      const link = document.createElement("a");
      link.href = "#" + encodeURIComponent(entry.id);
      link.textContent = entry.title;
      const small = document.createElement("small");
      small.textContent = entry.kind + (entry.text ? " · " + entry.text : "");
      link.append(small);
      const item = document.createElement("li");
      item.append(link);
      list.append(item);
    }
    const more = found.length > SHOWN_MAX ? ", the first " + SHOWN_MAX + " shown" : "";
    count.textContent = found.length === 0 ? "nothing found" : found.length + " found" + more;
  };

  input.addEventListener("input", show);
  document.addEventListener("keydown", (event) => {
    const links = [...list.querySelectorAll("a")];
    const at = links.indexOf(document.activeElement);
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      input.focus();
      input.select();
    } else if (event.key === "Escape" && (document.activeElement === input || at >= 0)) {
      input.value = "";
      show();
      input.focus();
    } else if (event.key === "ArrowDown" && (document.activeElement === input || at >= 0)) {
      event.preventDefault();
      (links[at + 1] || links[at] || input).focus();
    } else if (event.key === "ArrowUp" && at >= 0) {
      event.preventDefault();
      (links[at - 1] || input).focus();
    } else if (event.key === "Enter" && document.activeElement === input && links.length > 0) {
      event.preventDefault();
      links[0].click();
    }
  });
})();
