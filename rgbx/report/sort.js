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
// A cell of the confusion matrix tells what it holds when it is pointed at.
document.querySelectorAll("table.confusion").forEach((table) => {
  table.addEventListener("pointerover", ({ target }) => {
    if (target.tagName !== "TD" || target.title || !target.style.getPropertyValue("--v")) return;
    const predicted = table.tHead.rows[0].cells[target.cellIndex].textContent;
    const share = (100 * target.style.getPropertyValue("--v")).toFixed(1);
    target.title = `${target.parentNode.cells[0].textContent} predicted as ${predicted}: ${share} %`;
  });
});
