// Sends a dropped, chosen or pasted photo without a reload. Without this script the form works by its button.
"use strict";

const form = document.getElementById("form");
const field = document.getElementById("photo");
const state = document.getElementById("status");
const answer = document.getElementById("answer");
let running = null;

function showError(text) {
  const line = document.createElement("p");
  line.className = "error";
  line.setAttribute("role", "alert");
  line.textContent = text;
  answer.replaceChildren(line);
}

async function ask(file) {
  running?.abort();
  const mine = running = new AbortController();
  const limit = Number(form.dataset.maxBytes);
  state.textContent = "";
  if (file.size > limit) {
    showError(`The file is too large: at most ${limit / 2 ** 20} MB.`);
    return;
  }
  state.textContent = `Asking about ${file.name} …`;
  answer.setAttribute("aria-busy", "true");
  try {
    const body = new FormData();
    body.append("photo", file);
    const reply = await fetch("/", { method: "POST", body, signal: mine.signal });
    const page = new DOMParser().parseFromString(await reply.text(), "text/html");
    answer.replaceChildren(...page.getElementById("answer").childNodes);
    document.title = page.title;
    state.textContent = "";
    document.getElementById("heading")?.focus();
  } catch {
    if (mine.signal.aborted) return;
    state.textContent = "";
    showError("No answer: is cvd serve still running?");
  }
  if (running === mine) answer.removeAttribute("aria-busy");
}

document.getElementById("ask").hidden = true;
form.addEventListener("submit", (event) => event.preventDefault());
field.addEventListener("change", () => {
  if (field.files.length) ask(field.files[0]);
  field.value = ""; // so that the same photo can be chosen again
});

// A drop beside the box would otherwise leave the page and open the file.
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  form.classList.add("over");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) form.classList.remove("over");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  form.classList.remove("over");
  const file = event.dataTransfer.files[0];
  if (file) ask(file);
  else showError("That was no file: save the picture first, then drop it here.");
});
document.addEventListener("paste", (event) => {
  const file = event.clipboardData.files[0];
  if (file) ask(file);
});
