"use strict";
const sounds = JSON.parse(document.getElementById("sounds").textContent);
const player = new Audio();
let pressed = null;

function stop() {
  player.pause();
  if (pressed) pressed.classList.remove("playing");
  pressed = null;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-sound]");
  if (!button) return;
  const again = button === pressed;
  stop();
  if (again) return;
  pressed = button;
  pressed.classList.add("playing");
  player.src = sounds[button.dataset.sound];
  player.play();
});
player.addEventListener("ended", stop);
