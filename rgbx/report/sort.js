"use strict";
// Headings of sortable tables are buttons: the first press sorts numbers from the largest, text from A; the next
// press turns the order. Cells without a value stay last.
document.querySelectorAll("table.sortable").forEach((table) => {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const turned = { ascending: "descending", descending: "ascending" };
      const first = heading.classList.contains("n") ? "descending" : "ascending";
      const order = turned[heading.getAttribute("aria-sort")] || first;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      const value = (row) => row.cells[column].dataset.v;
      const numeric = heading.classList.contains("n");
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === undefined || y === undefined) return (x === undefined) - (y === undefined);
        return sign * (numeric ? x - y : x.localeCompare(y, "en", { numeric: true }));
      });
      table.tBodies[0].append(...rows);
      const told = `Sorted by ${heading.textContent}, ${order}`;
      document.getElementById("told").textContent = told;
    });
  });
});
// A cell of the confusion matrix tells what it holds, and which row and column it is in, when it is pointed at.
document.querySelectorAll("table.confusion").forEach((table) => {
  const [head, ...rows] = table.rows;
  const told = table.closest(".scroll").nextElementSibling;
  told.hidden = false;
  const start = "Point at a cell to read it.";
  told.textContent = start;
  let marked = [];
  const mark = (cells) => {
    marked.forEach((cell) => cell.classList.remove("at"));
    marked = cells;
    marked.forEach((cell) => cell.classList.add("at"));
  };
  table.addEventListener("pointerover", ({ target }) => {
    if (target.tagName !== "TD" || target.parentNode === head) return;
    const [name, predicted] = [target.parentNode.cells[0], head.cells[target.cellIndex]];
    const share = 100 * (target.style.getPropertyValue("--v") || 0);
    const pixels = Number(target.dataset.n || 0).toLocaleString("en").replaceAll(",", "\u2009");
    told.textContent = target.classList.contains("d")
      ? `${name.textContent}: ${share.toFixed(1)} % right (${pixels} pixels)`
      : `${name.textContent} predicted as ${predicted.textContent}: ${share.toFixed(1)} % of it (${pixels} pixels)`;
    target.title = told.textContent;
    mark([name, predicted]);
  });
  table.addEventListener("pointerleave", () => mark([]));
});
// Pictures of classes lie over the RGB of their frame, as strongly as the slider says.
document.querySelectorAll(".mix").forEach((line) => {
  const [slider, section] = [line.querySelector("input"), line.closest("section")];
  const mix = () => section.style.setProperty("--mix", slider.value / 100);
  line.hidden = false;
  slider.addEventListener("input", mix);
  mix();
  section.querySelectorAll("article").forEach((frame) => {
    const rgb = frame.querySelector("img[data-rgb]");
    if (rgb) frame.style.setProperty("--rgb", `url("${rgb.src}")`);
    else frame.style.setProperty("--mix", 1);
  });
});
