// Keeps the status page fresh: fetches it again and again, and changes what has changed in place, so that scroll
// position, focus, selected text, unfolded details and a form that is being filled in stay as they are.
// Old data is never shown as if it were new: when a fetch fails the page says so, and ages go on. What marks old data
// stays until a new answer is shown.
"use strict";

(() => {
  const live = document.getElementById("live");
  const state = document.getElementById("state");
  const main = document.getElementById("main");
  const seconds = Number(live.dataset.refresh);
  const TICK_MILLISECONDS = 5000;
  const LONGEST_WAIT_MILLISECONDS = 10000;
  const PAUSED = "paused";

  const elapsed = () => performance.now() / 1000; // This computer's clock may be set; this goes on.
  let start = Number(main.dataset.now) - elapsed(); // the exporter's time when that was 0
  let paused = false;
  let touched = false; // whether something in the form is not what came with it
  let timer;
  let asking = null;

  const now = () => start + elapsed();

  // The words of exporter/web/words.py.
  function span(age) {
    const minutes = Math.floor(age / 60);
    const hours = Math.floor(minutes / 60);
    const days = Math.floor(hours / 24);
    const units = (large, one, small, other) => `${large} ${one}${small ? ` ${small} ${other}` : ""}`;
    if (days >= 30) return `${days} d`;
    if (days) return units(days, "d", hours % 24, "h");
    if (hours) return units(hours, "h", minutes % 60, "min");
    return minutes ? `${minutes} min` : `${Math.floor(age)} s`;
  }

  function tick() {
    for (const time of main.querySelectorAll("time.age, time.span")) {
      const age = Math.max(0, now() - Date.parse(time.dateTime) / 1000);
      const words = time.classList.contains("span") ? span(age) : age < 2 ? "just now" : `${span(age)} ago`;
      if (time.textContent !== words) time.textContent = words;
    }
  }

  // Make one node like another, which stays as it is. Children with a data-key are found again wherever they were.
  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = fresh.nodeValue;
      return;
    }
    if (old.localName === "form" && (touched || old.contains(document.activeElement))) return;
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name) && !(name === "open" && old.localName === "details")) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const keyed = new Map();
    for (const child of old.children) {
      if (child.dataset.key !== undefined) keyed.set(child.dataset.key, child);
    }
    let place = old.firstChild;
    for (const wanted of fresh.childNodes) {
      const key = wanted.dataset?.key;
      let match = null;
      if (key !== undefined) {
        match = keyed.get(key) ?? null;
        keyed.delete(key);
      }
      if (key === undefined && place && place.nodeName === wanted.nodeName && place.dataset?.key === undefined) {
        match = place;
      }
      if (match === null) {
        old.insertBefore(document.importNode(wanted, true), place);
        continue;
      }
      if (match === place) place = place.nextSibling;
      else old.insertBefore(match, place);
      morph(match, wanted);
    }
    while (place) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
  }

  function show(fresh) {
    const focused = document.activeElement;
    document.title = fresh.title;
    morph(live.querySelector("[data-live]"), fresh.querySelector("[data-live]"));
    morph(main, fresh.getElementById("main"));
    if (focused !== document.activeElement) {
      // What moved lost the focus; what is gone hands it to the content, not to the top of the page.
      (focused.isConnected ? focused : main).focus({ preventScroll: true });
    }
  }

  const source = (page) => page.querySelector("script[src]").getAttribute("src");

  async function ask() {
    asking = new AbortController();
    const deadline = setTimeout(() => asking.abort(), LONGEST_WAIT_MILLISECONDS);
    let trouble = "Connection lost";
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: asking.signal });
      if (!answer.ok) trouble = `The exporter answers with HTTP ${answer.status}`;
      const text = await answer.text();
      const fresh = new DOMParser().parseFromString(text, "text/html");
      const content = fresh.getElementById("main");
      if (answer.ok && !content?.dataset.now) trouble = "The answer is no status page: log in again?";
      if (!answer.ok || !content?.dataset.now) throw new Error(trouble);
      if (source(fresh) !== source(document) && !touched) {
        location.reload(); // Another version runs now, with another script.
        return;
      }
      start = Number(content.dataset.now) - elapsed();
      show(fresh);
      say("");
    } catch {
      if (!paused) say(trouble, "lost", "Trying again.");
    } finally {
      clearTimeout(deadline);
      asking = null;
      plan();
    }
  }

  // Say that the data is not fresh, and why, or that all is well; a screen reader hears of a change once.
  function say(trouble, kind = null, more = "") {
    for (const name of ["lost", "held"]) document.body.classList.toggle(name, name === kind);
    const since = live.querySelector("[data-live] time").textContent;
    const words = trouble && `${trouble}${trouble.endsWith("?") ? " Data" : ", data"} from ${since}. ${more}`.trim();
    if (state.textContent !== words) state.textContent = words;
  }

  function plan() {
    clearTimeout(timer);
    if (!paused && !document.hidden) timer = setTimeout(ask, seconds * 1000);
  }

  const button = document.createElement("button");

  function hold(held) {
    paused = held;
    if (held) say("Paused", "held");
    button.textContent = held ? "Resume" : "Pause";
    try {
      if (held) sessionStorage.setItem(PAUSED, "yes");
      else sessionStorage.removeItem(PAUSED);
    } catch {
      // Without storage the next page begins anew.
    }
  }

  function again() {
    clearTimeout(timer);
    if (asking === null) ask();
  }

  // Mark old data until a new answer is there, unless it is marked with more than that.
  function refreshing() {
    if (!document.body.classList.contains("lost")) say("Refreshing", "held");
    again();
  }

  main.addEventListener("input", () => { touched = true; });
  // What is left empty need not be in the address.
  main.addEventListener("formdata", ({ formData }) => {
    for (const [name, value] of [...formData]) {
      if (value === "" || (name === "show" && value === "all")) formData.delete(name);
    }
  });
  setInterval(() => { if (!document.hidden) tick(); }, TICK_MILLISECONDS);
  if (!seconds) return;

  button.type = "button";
  button.addEventListener("click", () => {
    hold(!paused);
    if (paused) {
      asking?.abort();
      clearTimeout(timer);
    } else {
      refreshing();
    }
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (!paused && now() - Number(main.dataset.now) > 2 * seconds) refreshing();
    else if (!paused) again();
    tick();
  });
  let held = false;
  try {
    held = sessionStorage.getItem(PAUSED) !== null;
  } catch {
    // As above.
  }
  hold(held);
  live.append(button);
  plan();
})();
