"use strict";

// Choosing a concern lights up its lines and dims the rest; pointing at one shows it for a moment.
const root = document.documentElement;
const buttons = [...document.querySelectorAll("[data-choose]")];
const marked = [...document.querySelectorAll("[data-c]")];
let chosen = "";

function show(concern) {
  root.classList.toggle("choosing", concern !== "");
  for (const element of marked) {
    const concerns = element.dataset.c.split(" ");
    element.classList.toggle("lit", concern !== "" && concerns.includes(concern));
  }
}

function choose(concern) {
  chosen = concern;
  for (const button of buttons) {
    button.setAttribute("aria-pressed", String(button.dataset.choose === concern));
  }
  show(concern);
  const count = (side) => document.querySelectorAll(`.line.lit[id^="${side}/"]`).length;
  const status = document.querySelector("#lit > span");
  status.hidden = concern === "";
  status.querySelector(".counts").textContent =
    `raw_pytorch ${count("raw_pytorch")}, lightning ${count("lightning")}`;
  if (concern === "") return;
  for (const file of document.querySelectorAll("details.file")) {
    if (file.querySelector(".cell.raw .lit")) file.open = true;
  }
}

// The first file with lit lines, unless some are in sight already.
function bringIntoSight() {
  const lines = [...document.querySelectorAll(".file .line.lit")];
  const inSight = (line) => {
    const { top, bottom } = line.getBoundingClientRect();
    return top > 0 && bottom < innerHeight;
  };
  if (lines.length && !lines.some(inSight)) lines[0].scrollIntoView({ block: "center" });
}

for (const button of buttons) {
  const concern = button.dataset.choose;
  button.addEventListener("click", () => {
    choose(concern === chosen ? "" : concern);
    if (button.closest(".concerns")) bringIntoSight();
  });
  button.addEventListener("pointerenter", () => show(concern));
  button.addEventListener("pointerleave", () => show(chosen));
}
addEventListener("keydown", (event) => {
  if (event.key === "Escape") choose("");
});

// A link to a line in a file that is folded away unfolds it.
addEventListener("hashchange", () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const folded = target?.closest("details:not([open])");
  if (folded) {
    folded.open = true;
    target.scrollIntoView();
  }
});

// What is folded away would be missing on paper.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});

const languages = [...document.querySelectorAll("button[data-language]")];
function speak(language) {
  root.lang = language;
  for (const button of languages) {
    button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }
}
for (const button of languages) {
  button.addEventListener("click", () => speak(button.dataset.language));
}
if (navigator.language.startsWith("zh")) speak(languages.at(-1).dataset.language);

document.querySelector("button[data-theme]").addEventListener("click", () => {
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const current = root.dataset.theme ?? (dark ? "dark" : "light");
  root.dataset.theme = current === "dark" ? "light" : "dark";
});
