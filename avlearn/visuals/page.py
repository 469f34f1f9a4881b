"""Writes a page that is one file: styles, script, pictures and sounds are in it, and it opens without a network."""

import pathlib

import jinja2


def write(folder: pathlib.Path, template: str, **values) -> pathlib.Path:
    """Fills a template and writes it to `folder/index.html`; returns the file's path.

    Args:
      folder: made where it does not exist.
      template: file of `visuals/templates` that extends `page.html`.
      values: what it shows; `title` and `sounds`, key to data URI, are every page's. Sounds are written last, so that
        the template may add some as it goes.

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
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"the page {file} cannot be written ({error.strerror}).") from error
    return file
