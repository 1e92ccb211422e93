// Comfort only: every page works without it.
"use strict";

for (const button of document.querySelectorAll("button[data-copy]")) {
  const source = document.getElementById(button.dataset.copy);
  if (!source || !navigator.clipboard) continue;
  button.hidden = false;
  const label = button.textContent;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.value ?? source.textContent);
      button.textContent = "Copied";
    } catch {
      button.textContent = "Press Ctrl+C";
      getSelection().selectAllChildren(source);
    }
    setTimeout(() => { button.textContent = label; }, 2000);
  });
}

// A value shown once does not stay behind in a page that the browser keeps.
addEventListener("pagehide", () => {
  for (const element of document.querySelectorAll("[data-once]")) element.textContent = "";
});

// A second click must not send a form twice.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  });
}
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// One tick chooses all rows that are shown.
for (const head of document.querySelectorAll("th.tick")) {
  const boxes = head.closest("table").querySelectorAll("td.tick input");
  const all = document.createElement("input");
  all.type = "checkbox";
  all.setAttribute("aria-label", "Choose all that are shown");
  all.addEventListener("change", () => { for (const box of boxes) box.checked = all.checked; });
  head.replaceChildren(all);
}

// Times in the reader's own zone and format; the hint keeps UTC.
const formats = { date: { dateStyle: "medium" }, moment: { dateStyle: "medium", timeStyle: "short" } };
for (const time of document.querySelectorAll("time[data-time]")) {
  const format = formats[time.dataset.time];
  if (format) time.textContent = new Intl.DateTimeFormat(undefined, format).format(new Date(time.dateTime));
}

// Numbers in the reader's format.
for (const number of document.querySelectorAll("data[value]")) {
  number.textContent = new Intl.NumberFormat().format(Number(number.value));
}

// The first thing to know about a refused form is what was wrong with it.
document.getElementById("problems")?.focus();

// Back and Reload lead to the page that a value shown once belongs to, not to the
// form that was sent for it.
const shownOnce = document.querySelector("[data-replace]");
if (shownOnce) history.replaceState(null, "", shownOnce.dataset.replace);
