// The thumbnails in the order that was chosen; those without a value come last, equals as they came.
document.getElementById("order").addEventListener("change", ({ target }) => {
  const list = document.getElementById("thumbnails");
  const came = (item) => Number(item.firstElementChild.hash.slice(2));
  const value = (item) => JSON.parse(item.dataset.v)[target.value] ?? -1;
  const sign = "up" in target.selectedOptions[0].dataset ? 1 : -1;
  const items = [...list.children].sort((a, b) => came(a) - came(b));
  if (target.value) items.sort((a, b) => (value(a) < 0) - (value(b) < 0) || sign * (value(a) - value(b)));
  list.append(...items);
  document.getElementById("told").textContent = `In the order: ${target.selectedOptions[0].textContent}`;
});
