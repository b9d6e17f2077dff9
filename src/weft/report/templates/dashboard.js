"use strict";

// Two pages behind two tabs; the report is loaded again when the run has changed, and stays where it was scrolled to.
const tabs = [...document.querySelectorAll("[role=tab]")];
const [report, study, said, follow] = ["report", "study", "said", "follow"].map((id) => document.getElementById(id));
let version = null;

function choose(tab) {
  for (const one of tabs) {
    const chosen = one === tab;
    one.setAttribute("aria-selected", chosen);
    one.tabIndex = chosen ? 0 : -1;
    document.getElementById(one.getAttribute("aria-controls")).hidden = !chosen;
  }
  location.replace(`#${tab.getAttribute("aria-controls")}`);
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

function reload() {
  const view = report.contentWindow;
  const at = view.scrollY;
  const open = [...view.document.querySelectorAll("details[open][id]")].map((one) => one.id);
  report.addEventListener("load", () => {
    for (const id of open) {
      const one = view.document.getElementById(id);
      if (one) one.open = true;
    }
    view.scrollTo(0, at);
  }, { once: true });
  view.location.reload();
}

async function look() {
  try {
    const state = await (await fetch("/state")).json();
    known = state.study;
    said.textContent = state.error || (state.study === null ? "The search has not begun." : "");
    if (!study.hidden) openStudy();
    if (version === null) version = state.version;
    if (state.version !== version && follow.checked) {
      version = state.version;
      reload();
    }
  } catch {
    said.textContent = "The server has ended.";
  }
  setTimeout(look, 2000);
}

if (location.hash === "#study") choose(tabs[1]);
look();
