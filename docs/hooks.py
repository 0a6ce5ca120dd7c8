"""Add files from outside ``docs/`` to the site: README, linked files, and the pages of the API."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pymdownx.slugs import slugify

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / ".package" / "encoder_ablations"
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
}
"""Files of the repository's root that are pages of the site."""
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the API to the navigation, and make anchors of headings as GitHub does."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    assert config.nav is not None
    config.nav.append({"API": navigation(PACKAGE)})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, the API's, and every file elsewhere that a page links to."""
    for source, uri in PAGES.items():
        files.append(
            File.generated(config, uri, content=(ROOT / source).read_text(encoding="utf-8"))
        )
    for page in list(files.documentation_pages()):
        for link in LINK.finditer(page.content_string):
            target = repository_path(page.src_uri, link["path"])
            if (
                target is not None
                and site_path(target) == target
                and files.get_file_from_path(target) is None
            ):
                files.append(File(target, str(ROOT), config.site_dir, config.use_directory_urls))
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        )
        files.append(
            File.generated(config, page_of(path), content=f"# `{module}`\n\n::: {module}\n")
        )
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Return the page with its links to files of the repository leading to pages of the site."""

    def on_the_site(link: re.Match[str]) -> str:
        target = repository_path(page.file.src_uri, link["path"])
        if target is None:
            return link[0]
        return posixpath.relpath(site_path(target), posixpath.dirname(page.file.src_uri)) + (
            link["anchor"] or ""
        )

    return LINK.sub(on_the_site, markdown)


def navigation(folder: Path) -> list[str | dict[str, Any]]:
    """Return the pages of a package as mkdocs nests them: its own page first."""
    entries: list[str | dict[str, Any]] = [page_of(folder / "__init__.py")]
    for path in sorted(folder.iterdir()):
        if (path / "__init__.py").exists():
            entries.append({path.name: navigation(path)})
        elif path.suffix == ".py" and path.name != "__init__.py":
            entries.append({path.stem: page_of(path)})
    return entries


def page_of(path: Path) -> str:
    """Return where the page of a module lies: ``api/data/index.md``, ``api/data/references.md``."""
    name = "index" if path.name == "__init__.py" else path.stem
    return (Path("api") / path.relative_to(PACKAGE).with_name(f"{name}.md")).as_posix()


def repository_path(page: str, link: str) -> str | None:
    """Return the file of the repository that a relative link means; None if it does not exist."""
    places = {uri: source for source, uri in PAGES.items()}
    source = places.get(page, f"docs/{page}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    return target if (ROOT / target).is_file() else None


def site_path(target: str) -> str:
    """Return where a file of the repository lies on the site."""
    return PAGES.get(target, target.removeprefix("docs/"))
