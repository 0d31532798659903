// Draws the figures of the page and hands out its record. Nothing here knows what a figure shows.
"use strict";
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const hidden = new WeakMap();
  const drawn = new Set();
  const PAPER_PX = 660; // an A4 page between its margins
  const config = {
    displaylogo: false,
    responsive: true,
    modeBarButtons: [["toImage", "zoom2d", "pan2d", "resetScale2d"]], // none that sends anything anywhere
    toImageButtonOptions: { format: "svg" },
  };

  // Colours are names of custom properties; a name elsewhere is somebody's text.
  function painted(value) {
    const style = getComputedStyle(root);
    return JSON.parse(JSON.stringify(value), (key, each) =>
      /color$/.test(key) && typeof each === "string" && each.startsWith("--")
        ? style.getPropertyValue(each).trim()
        : each);
  }

  function draw(place) {
    const { data, layout } = painted(figures[place.dataset.figure]);
    const off = hidden.get(place) ?? new Set();
    for (const trace of data) trace.visible = !off.has(trace.meta);
    if (root.classList.contains("paper")) layout.width = place.closest(".courses") ? PAPER_PX / 2 - 12 : PAPER_PX;
    if (matchMedia("(pointer: coarse)").matches) layout.dragmode = false; // a finger scrolls
    drawn.add(place);
    return Plotly.react(place, data, layout, config);
  }

  const redraw = () => drawn.forEach(draw);

  function drawIn(part) {
    for (const place of part.querySelectorAll(".plot")) {
      if (!drawn.has(place) && !place.closest("details:not([open])")) draw(place);
    }
  }

  document.addEventListener("change", ({ target }) => {
    if (!target.dataset.contender) return;
    const place = target.closest("figure").querySelector(".plot");
    const off = hidden.get(place) ?? new Set();
    if (target.checked) off.delete(target.dataset.contender);
    else off.add(target.dataset.contender);
    hidden.set(place, off);
    draw(place);
  });

  for (const fold of document.querySelectorAll("details")) fold.addEventListener("toggle", () => drawIn(fold));

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);

  // Paper is white and has a width of its own, and nothing can be unfolded on it.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const fold of folded) fold.open = true;
    root.classList.add("paper");
    redraw();
    drawIn(document);
  });
  addEventListener("afterprint", () => {
    root.classList.remove("paper");
    for (const fold of folded) fold.open = false;
    redraw();
  });

  document.getElementById("download").addEventListener("click", () => {
    const record = new Blob([document.getElementById("record").textContent], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(record);
    link.download = "blockstep-compare.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  drawIn(document);
})();
