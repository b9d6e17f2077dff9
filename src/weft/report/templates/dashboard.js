"use strict";

// Two pages behind two tabs; the report is loaded again when the run has changed, and stays as its reader has set it:
// where it is scrolled to, what is open, the axes of plots, the order of tables, and what has the focus.
const tabs = [...document.querySelectorAll("[role=tab]")];
const [report, study, status, said, trials, follow] = ["report", "study", "status", "said", "trials", "follow"].map((id) => document.getElementById(id));
let version = Number(report.dataset.version); // what is shown is this or newer

function choose(tab) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", chosen);
    one.tabIndex = chosen ? 0 : -1;
    document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  history.replaceState(null, "", `#${tab.getAttribute("aria-controls")}`); // going there would take the focus along
  if (tab.id === "tab-study") openStudy();
}

for (const [i, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(i + step + tabs.length) % tabs.length];
    next.focus();
    choose(next);
  });
}

let known = null;
function openStudy() {
  if (known !== null && !study.src) study.src = `/dashboard/studies/${known}`;
}

// Something in the report by what it is: the element with an id around it, its tag, and its name there.
const nameOf = (one) => one.dataset.id || one.getAttribute("aria-label") || JSON.stringify(one.dataset) + one.textContent;
const placeOf = (one) => [one.closest("[id]") ? one.closest("[id]").id : "", one.tagName, nameOf(one)];
function find(page, [id, tag, name]) {
  const around = id ? page.getElementById(id) : page;
  return around && [around, ...around.querySelectorAll(tag)].find((one) => one.tagName === tag && nameOf(one) === name);
}

function setting(page) {
  const focus = page.activeElement;
  return {
    open: [...page.querySelectorAll("details[id]")].map((one) => [one.id, one.open]),
    controls: [...page.querySelectorAll(".controls select, .controls input")]
      .filter((one) => one.type !== "range" || one.value !== one.max) // at the end of the search means at its new end
      .map((one) => [placeOf(one), one.type === "checkbox" ? one.checked : one.value]),
    sorted: [...page.querySelectorAll("table[data-sortable] th[aria-sort]")]
      .map((head) => [placeOf(head.querySelector("button")), head.getAttribute("aria-sort")]),
    focus: focus && focus !== page.body ? placeOf(focus) : null,
    scroll: [...page.querySelectorAll(".scroll")].filter((one) => one.scrollLeft).map((one) => [placeOf(one), one.scrollLeft]),
  };
}

function restore(page, before) {
  for (const [id, open] of before.open) {
    const one = page.getElementById(id);
    if (one) one.open = open;
  }
  for (const [place, value] of before.controls) {
    const one = find(page, place);
    const key = one && one.type === "checkbox" ? "checked" : "value";
    if (!one || one[key] === value) continue;
    one[key] = value;
    for (const kind of ["input", "change"]) one.dispatchEvent(new Event(kind, { bubbles: true }));
  }
  for (const [place, order] of before.sorted) {
    const button = find(page, place);
    for (let i = 0; button && i < 2 && button.parentElement.getAttribute("aria-sort") !== order; i++) button.click();
  }
  for (const [place, left] of before.scroll) {
    const one = find(page, place);
    if (one) one.scrollLeft = left;
  }
  const focus = before.focus && find(page, before.focus);
  if (focus) focus.focus({ preventScroll: true });
}

function reload() {
  const view = report.contentWindow;
  const [at, before] = [view.scrollY, setting(view.document)];
  report.addEventListener("load", () => {
    restore(view.document, before);
    view.scrollTo(0, at);
  }, { once: true });
  view.location.reload();
}

// Only what has changed is written: a screen reader says it each time.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tell(state) {
  status.hidden = !state.status;
  status.className = `status ${state.status}`;
  write(status, state.status);
  write(said, state.error || state.said);
  write(trials, state.trials);
}

async function look() {
  try {
    const state = await (await fetch("/state")).json();
    known = state.study;
    tell(state);
    if (!study.hidden) openStudy();
    if (state.version !== version && follow.checked) {
      version = state.version;
      reload();
    }
  } catch {
    tell({ status: "", said: "The server has ended.", trials: "" });
  }
  setTimeout(look, 1000);
}

if (location.hash === "#study") choose(tabs[1]);
addEventListener("load", look); // the frame has its first page by then; one that is still empty cannot be loaded again
