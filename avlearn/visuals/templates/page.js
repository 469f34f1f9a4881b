"use strict";
const sounds = JSON.parse(document.getElementById("sounds").textContent);
const player = new Audio();
let pressed = null;

function stop() {
  player.pause();
  if (pressed) pressed.classList.remove("playing");
  pressed = null;
  for (const video of document.querySelectorAll("video")) video.pause();
}

document.addEventListener("click", (event) => {
  const cover = event.target.closest("[data-animation]");
  if (cover) {
    stop();
    const video = cover.previousElementSibling;
    cover.remove(); // the video's own controls take over
    video.controls = true;
    video.play();
  }
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
