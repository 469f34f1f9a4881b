"""Writes a page as one file: styles, script, images and audio are embedded, so it opens without a network."""

import pathlib

import jinja2

from avlearn import storage


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
    text = environment.get_template(template).render(**values)
    file = folder / "index.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        storage.write_text(file, text)
    except OSError as error:
        raise ValueError(f"the page {file} cannot be written ({error.strerror}).") from error
    return file
