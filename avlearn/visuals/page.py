"""Writes a page as one file: styles, script, images and audio are embedded, so it opens without a network."""

import base64
import hashlib
import pathlib

import jinja2

from avlearn import storage

# The browser runs the page's own script alone, by its hash, and fetches nothing. Styles need no hash: they stand in
# attributes and in charts too, and cannot fetch anything either.
POLICY = (
    "default-src 'none'; script-src 'sha256-{script}'; style-src 'unsafe-inline'; img-src data:; media-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def write(folder: pathlib.Path, template: str, **values) -> pathlib.Path:
    """Render a template to `folder/index.html` and return the file's path.

    Args:
      folder: created if necessary.
      template: file in `visuals/templates` that extends `page.html`.
      values: variables of the template. Every page needs `title` and `sounds`, key to data URI.

    Raises:
      ValueError: the folder cannot be written.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("avlearn", "visuals/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, _, _ = environment.loader.get_source(environment, "page.js")
    policy = POLICY.format(script=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode())
    text = environment.get_template(template).render(script=script, policy=policy, **values)
    file = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        storage.write_text(file, text)
    except OSError as error:
        raise ValueError(f"the page {file} cannot be written ({error.strerror}).") from error
    return file
