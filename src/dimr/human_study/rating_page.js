"use strict";
// Ratings are kept in the browser, by page and rater's number, and leave it only as a file that the rater saves.
(() => {
  const page = JSON.parse(document.getElementById("data").textContent);
  const key = "ratings-" + page.page;
  const byKey = { 1: "distorted", 2: "not distorted", 0: "unsure", s: "unsure" };
  const find = (id) => document.getElementById(id);
  const [image, label, numbers, done, rater, other, bar, status, message, back, save, clear] =
    ["image", "label", "numbers", "done", "rater", "other", "bar", "status", "message", "back", "save", "clear"].map(find);
  const choices = [...document.querySelectorAll("[data-rating]")];
  const empty = () => ({ rater: "", place: 0, ratings: {} });
  let number, images, state; // the rater's number, from 1, and what it is shown; without one nothing

  function stored(name) {
    try {
      return localStorage.getItem(name);
    } catch {
      return null;
    }
  }

  function restore() {
    try {
      const kept = JSON.parse(stored(`${key}-${number}`));
      if (kept === null) return empty();
      const place = Math.min(Math.max(0, Math.trunc(kept.place) || 0), images.length);
      return { rater: String(kept.rater), place, ratings: { ...kept.ratings } };
    } catch {
      return empty();
    }
  }

  function keep() {
    try {
      localStorage.setItem(key, number);
      if (number > 0) localStorage.setItem(`${key}-${number}`, JSON.stringify(state));
    } catch {
      message.textContent =
        "This browser does not keep your progress: save your ratings before you close the page.";
    }
  }

  function choose(chosen) {
    number = chosen in page.raters ? chosen + 1 : 0;
    images = (page.raters[chosen] ?? []).map((index) => page.images[index]);
    state = restore();
    rater.value = state.rater;
    rater.disabled = other.hidden = number === 0;
    other.textContent = `Number ${number}`;
    message.textContent = "";
    keep();
    show();
  }

  function show() {
    const current = images[state.place];
    const rated = Object.keys(state.ratings).length;
    image.hidden = current === undefined;
    numbers.hidden = number > 0;
    done.hidden = current !== undefined || number === 0;
    label.textContent = label.title = current?.label ?? "";
    if (current !== undefined) {
      image.src = "data:image/png;base64," + current.png;
      image.alt = `Picture ${state.place + 1} of ${images.length}: ${current.label}`;
    }
    for (const button of choices) {
      button.disabled = current === undefined;
      const given = current !== undefined && state.ratings[current.id];
      button.setAttribute("aria-pressed", String(Boolean(given) && given.rating === button.dataset.rating));
    }
    back.disabled = state.place === 0;
    bar.max = images.length || 1;
    bar.value = rated;
    status.textContent = `${rated} of ${images.length} rated`;
  }

  function rate(rating) {
    const current = images[state.place];
    if (current === undefined) return;
    state.ratings[current.id] = { rating, time: new Date().toISOString() };
    move(state.place + 1);
  }

  function move(place) {
    if (place < 0) return;
    message.textContent = "";
    state.place = place;
    keep();
    show();
  }

  function quoted(text) {
    return /[",\r\n]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }

  function table(name) {
    const rows = images
      .filter(({ id }) => id in state.ratings)
      .map(({ id }) => [id, state.ratings[id].rating, name, String(number), state.ratings[id].time]);
    const lines = [["image", "rating", "rater", "number", "time"], ...rows];
    return lines.map((line) => line.map(quoted).join(",") + "\n").join("");
  }

  function download() {
    const name = state.rater.trim();
    if (number === 0) {
      message.textContent = "Please choose your number first.";
      return;
    }
    if (name === "") {
      message.textContent = "Please enter your name first.";
      rater.focus();
      return;
    }
    if (Object.keys(state.ratings).length === 0) {
      message.textContent = "There are no ratings to save yet.";
      return;
    }
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([table(name)], { type: "text/csv;charset=utf-8" }));
    link.download = `ratings-${page.page}-${number}-${name.replace(/[^\p{L}\p{N}]+/gu, "_")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000); // the browser may read it only later
    message.textContent = "";
  }

  function startOver() {
    if (!confirm("Delete the name and all ratings on this page? Saved files stay.")) return;
    state = empty();
    rater.value = "";
    move(0);
  }

  document.addEventListener("keydown", (event) => {
    // A key that is held down, or that is typed into the name, rates nothing.
    if (event.target === rater || event.repeat || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Backspace") {
      event.preventDefault();
      move(state.place - 1);
    } else if (Object.hasOwn(byKey, event.key.toLowerCase())) {
      event.preventDefault();
      rate(byKey[event.key.toLowerCase()]);
    }
  });
  for (const button of choices) button.addEventListener("click", () => rate(button.dataset.rating));
  for (const index of page.raters.keys()) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = index + 1;
    button.addEventListener("click", () => choose(index));
    numbers.append(button);
  }
  other.addEventListener("click", () => choose(-1));
  rater.addEventListener("input", () => {
    state.rater = rater.value;
    keep();
  });
  rater.addEventListener("keydown", (event) => {
    if (event.key === "Enter") rater.blur();
  });
  // Pictures of few pixels keep them: smoothing would hide what is to be judged.
  image.addEventListener("load", () => image.classList.toggle("small", image.naturalWidth < 128));
  back.addEventListener("click", () => move(state.place - 1));
  save.addEventListener("click", download);
  clear.addEventListener("click", startOver);

  choose(Number(stored(key)) - 1);
  find("instructions").open = Object.keys(state.ratings).length === 0; // who comes back has read them
})();
