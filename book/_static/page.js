// What every page needs for keyboards and small screens.
"use strict";

(() => {
  // Sphinx calls the bibliography a list, and its entries something else than list items.
  for (const list of document.querySelectorAll(".citation-list")) list.removeAttribute("role");

  // What scrolls sideways can be reached with the keyboard.
  function reachable() {
    const boxes = "article :is(pre, div.math, table, figure, .cell_output .output, .bedkd-scroll), .bd-sidebar-primary, .bd-sidebar-secondary";
    for (const box of document.querySelectorAll(boxes)) {
      const overflows = box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
      if (overflows) box.setAttribute("tabindex", "0");
    }
  }
  window.addEventListener("load", reachable);
  window.addEventListener("resize", reachable);
  reachable();
})();
