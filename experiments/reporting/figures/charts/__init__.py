"""Charts of the page: plain SVG that is readable without a script."""
