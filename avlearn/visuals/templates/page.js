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
  const film = event.target.closest("[data-film]");
  if (film) {
    stop();
    const video = film.previousElementSibling;
    film.remove(); // from now on the film has controls of its own
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
