"use strict";

const root = document.documentElement;
const find = (selector, from = document) => from.querySelector(selector);
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const data = JSON.parse(find("#data").textContent);
const panes = { program: find(".pane.program"), answer: find(".pane.answer") };
const lines = { "train.py": find(".lines", panes.program) };
let key = data.first; // the answer that is shown
let showsCode = false; // your Lightning code instead of who calls it
let program = "train.py";

// An element; text among its children is text, and what begins with "html" is HTML of our own.
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "html") element.innerHTML = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== undefined && child !== ""));
  return element;
}

// A sentence in the page's language; {name} is replaced by a word or by an element.
function say(what, values = {}) {
  const text = data.words[what][root.lang === "en" ? "en" : "zh"];
  const parts = text.split(/\{(\w+)\}/).map((part, i) => (i % 2 ? values[part] : part));
  return make("span", {}, ...parts);
}
const code = (text) => make("code", {}, text);
const told = () => data.answers[key];
const fileOf = (place) => place.slice(place.lastIndexOf("/") + 1).split(":")[0];
const lineOf = (answer) => all("a", lines[program]).find((a) => a.dataset.keys.split(" ").includes(answer));

const sentence = (answer) => say(`say ${answer.say}`, { name: code(answer.name), function: code(answer.function) });

function howOften(answer) {
  if (answer.kind === "") return "";
  if (!answer.calls) return say("say elsewhere");
  const [m, n] = answer.calls.map(String);
  return m === n ? say("say as_by_hand", { n }) : say("say counts", { n, m });
}

function excerpt(place) {
  const number = Number(place.split(":")[1]);
  const rows = data.places[place][1].map(([n, html]) =>
    n ? make("li", { value: n, class: n === number ? "lit" : undefined, html: html || " " }) : make("li", { class: "cut" }, "⋯"));
  return make("div", { class: "excerpt", tabindex: 0, role: "group", "aria-label": place }, make("ol", {}, ...rows));
}

function snippet(name) {
  const button = make("button", { type: "button", class: "copy", onclick: async () => {
    await navigator.clipboard?.writeText(text.textContent);
    button.replaceChildren(say("say copied"));
  } }, say("say copy"));
  const text = make("code", { html: data.snippets[name] });
  return make("div", { class: "snippet" }, make("pre", { tabindex: 0 }, text), button);
}

function whoCalls(answer) {
  const found = [];
  if (answer.only) found.push(make("p", { class: "only" }, say("say only", { flag: code(answer.only) })));
  found.push(make("h2", {}, sentence(answer)));
  const often = howOften(answer);
  found.push(make("p", { class: "place" }, code(answer.place), often ? " · " : "", often));
  if (answer.why) found.push(make("p", {}, say(answer.why)));
  found.push(excerpt(answer.place));
  if (answer.override) {
    found.push(make("h3", {}, say(answer.override.includes("(") ? "say set" : "say change"), " ", code(answer.override)));
    found.push(snippet(answer.override));
  } else found.push(make("p", {}, say("say own_line")));
  if (answer.hooks.length > 1) {
    const names = answer.hooks.map((i) => data.names[i])
      .flatMap((name, i) => [i ? " › " : "", make(name === answer.hook ? "b" : "span", {}, name)]);
    found.push(make("h3", {}, say("say hooks")), make("p", { class: "hooks" }, ...names));
  }
  for (const [flag, place, n] of answer.variants ?? [])
    found.push(make("p", {}, say("say variant", { flag: code(flag), n: String(n), place: code(place) })));
  if (answer.hand) found.push(make("p", {}, say("say hand", { place: code(answer.hand) })));
  if (answer.stack.length > 1) {
    const stack = answer.stack.map((i) => data.names[i]);
    const first = stack[0].split(" ")[0];
    const summary = make("summary", {}, say("say stack", { n: String(answer.stack.length), first: code(first) }));
    const frames = stack.map((frame) => {
      const [place, name] = frame.split(" ");
      return make("li", {}, code(place), " ", name);
    });
    found.push(make("details", {}, summary, make("ol", { class: "stack" }, ...frames)));
  }
  return found;
}

function wholeFile(name) {
  const rows = find(`template[data-file="${name}"]`).innerHTML.split("\n");
  return make("ol", { class: "lines" }, ...rows.map((html) => make("li", {}, make("span", { html }))));
}

function yourCode(answer) {
  const [file, number] = answer.partner.split(":");
  const list = make("div", { class: "code" }, wholeFile(file));
  all("li", list)[number - 1].className = "lit";
  return [make("p", { class: "place" }, code(answer.partner)), list];
}

function toggle(text, isOn, onclick) {
  return make("button", { type: "button", "aria-pressed": String(isOn), onclick }, text);
}

// What stands above both views: the calls of the line, the switch, the way to the next line.
function answerHead(answer) {
  const keys = lineOf(key).dataset.keys.split(" ");
  const line = answer.line.split(":")[1];
  const several = keys.length > 1
    ? make("div", { class: "calls" }, say("say several", { line, n: String(keys.length) }),
      ...keys.map((k) => toggle(data.answers[k].name, k === key, () => go(k))))
    : make("div", { class: "calls" }, say("say one", { line }));
  const named = (what) => data.words[what][root.lang === "en" ? "en" : "zh"];
  const step = (mark, name, by) => make("button", { type: "button", "aria-label": named(name), title: named(name), onclick: () => walk(by) }, mark);
  return make("div", { class: "head" },
    make("div", { class: "tabs" },
      toggle(say("say lightning"), !showsCode, () => { showsCode = false; show(); }),
      toggle(say("say code"), showsCode, () => { showsCode = true; show(); }),
      make("span", { class: "steps" }, step("↑", "say previous", -1), step("↓", "say next", 1),
        make("button", { type: "button", class: "close", "aria-label": named("say close"), onclick: () => root.classList.remove("sheet") }, "×"))),
    several);
}

function show() {
  const answer = told();
  panes.answer.dataset.kind = answer.kind;
  panes.answer.replaceChildren(answerHead(answer), ...(showsCode ? yourCode(answer) : whoCalls(answer)));
  const lit = showsCode && find(".code .lit", panes.answer);
  panes.answer.scrollTop = lit ? lit.offsetTop - panes.answer.clientHeight / 2 : 0;
}

function openProgram(name) {
  if (!lines[name]) lines[name] = find(`template[data-lines="${name}"]`).content.cloneNode(true).firstElementChild;
  program = name;
  panes.program.replaceChildren(lines[name]);
  for (const button of all("[data-program]")) button.setAttribute("aria-pressed", String(button.dataset.program === name));
}

// In pixels, but for two letters.
function indentation(line) {
  const letters = line.textContent.search(/\S/) - 2;
  if (letters <= 0) return 0;
  const range = document.createRange();
  range.setStart(line.firstChild, 0);
  range.setEnd(line.firstChild, letters);
  return range.getBoundingClientRect().width;
}

const isPhone = () => matchMedia("(max-width: 800px)").matches;

function select(wanted, isFirst = false) {
  key = wanted;
  const name = fileOf(told().line);
  if (name !== program) openProgram(name);
  for (const a of all("a", lines[name])) {
    a.removeAttribute("aria-current");
    a.tabIndex = -1;
  }
  const line = lineOf(key);
  line.setAttribute("aria-current", "true");
  line.tabIndex = 0;
  const [top, height] = [line.offsetTop, panes.program.clientHeight];
  if (isFirst || top < panes.program.scrollTop + 40 || top > panes.program.scrollTop + height - 60)
    panes.program.scrollTop = top - (isPhone() ? 40 : height / 2);
  // On a phone, the indentation would leave no room for the line.
  if (isPhone()) panes.program.scrollLeft = indentation(line);
  const hasSheet = root.classList.toggle("sheet", !isFirst || !isPhone() || location.hash !== "");
  if (isPhone() && hasSheet) panes.program.scrollIntoView();
  show();
}

const fromAddress = () => decodeURIComponent(location.hash.slice(1));
function go(wanted) {
  // Not by location.hash: what follows a key at once has to find the answer there already.
  if (fromAddress() !== wanted) history.pushState(null, "", `#${encodeURIComponent(wanted)}`);
  select(wanted);
}

function walk(by) {
  const found = all("a", lines[program]);
  const next = found[found.indexOf(lineOf(key)) + by];
  if (next) go(next.dataset.keys.split(" ")[0]);
}

function walkCalls(by) {
  const keys = lineOf(key).dataset.keys.split(" ");
  const next = keys[keys.indexOf(key) + by];
  if (next) go(next);
}

addEventListener("hashchange", () => {
  const wanted = fromAddress();
  if (!(wanted in data.answers)) return;
  select(wanted);
  if (find("#exhibit").getBoundingClientRect().bottom < 120) find("#exhibit").scrollIntoView();
});
panes.program.addEventListener("click", (event) => {
  const line = event.target.closest("a");
  if (!line) return;
  event.preventDefault();
  go(line.dataset.keys.split(" ")[0]);
});
for (const button of all("[data-program]"))
  button.addEventListener("click", () => {
    const name = button.dataset.program;
    go(name === "train.py" ? data.first : `${name.replace(".py", "")}:${data.first}`);
  });

const search = find("#find");
function matches() {
  const text = search.value.trim().toLowerCase();
  return text ? all("a", lines[program]).filter((a) => `${a.textContent} ${a.dataset.keys}`.toLowerCase().includes(text)) : [];
}
function findNext(from) {
  const found = matches();
  find("#found").replaceChildren(say("say found", { n: String(found.length) }));
  const next = found.find((a) => from(a)) ?? found[0];
  if (!next) return;
  const text = search.value.trim().toLowerCase();
  const keys = next.dataset.keys.split(" ");
  go(keys.find((k) => k.toLowerCase().includes(text)) ?? keys[0]);
}
search.addEventListener("input", () => findNext((a) => a.dataset.keys.split(" ").includes(search.value.trim())));
search.addEventListener("keydown", (event) => {
  if (event.key === "Escape") search.blur();
  if (event.key !== "Enter") return;
  const here = lineOf(key);
  findNext((a) => here.compareDocumentPosition(a) & Node.DOCUMENT_POSITION_FOLLOWING);
});

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  const isSeen = find("#exhibit").getBoundingClientRect().bottom > innerHeight / 3;
  const inAnswer = panes.answer.contains(event.target) && event.key.startsWith("Arrow");
  const keys = { j: [walk, 1], k: [walk, -1], ArrowDown: [walk, 1], ArrowUp: [walk, -1], ArrowRight: [walkCalls, 1], ArrowLeft: [walkCalls, -1] };
  if (event.key === "Escape") root.classList.remove("sheet");
  else if (event.key === "/") search.focus();
  else if (keys[event.key] && isSeen && !inAnswer) keys[event.key][0](keys[event.key][1]);
  else return;
  event.preventDefault();
});

// What is folded is built when it is opened.
for (const details of all("details[data-build]"))
  details.addEventListener("toggle", () => {
    const template = find(":scope > template", details);
    if (template && details.open) template.replaceWith(template.content);
    for (const select of all("select", details)) {
      const fill = () => select.nextElementSibling.replaceChildren(wholeFile(select.value));
      select.onchange = fill;
      if (!select.nextElementSibling.firstChild) fill();
    }
  });

function speak(language) {
  root.lang = language;
  for (const button of all("[data-language]")) button.setAttribute("aria-pressed", String(button.dataset.language === language));
  show();
}
for (const button of all("[data-language]")) button.addEventListener("click", () => speak(button.dataset.language));
find("button[data-theme]").addEventListener("click", () => {
  const isDark = getComputedStyle(root).colorScheme === "dark" || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  root.dataset.theme = isDark ? "light" : "dark";
});

const asked = fromAddress();
select(asked in data.answers ? asked : data.first, true);
if (navigator.language.startsWith("zh")) speak("zh-Hant-TW");
