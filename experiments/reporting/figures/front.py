"""The chart of the first screen: a panel for each setting."""

from collections.abc import Sequence

from markupsafe import Markup

from encoder_ablations.experiments.reporting.figures.charts.panel import Panel
from encoder_ablations.experiments.reporting.figures.charts.svg import chart
from encoder_ablations.experiments.reporting.figures.drawing import Styles
from encoder_ablations.experiments.reporting.figures.panels import share_panel
from encoder_ablations.experiments.reporting.figures.row_panels import encoder_panel
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.ranking import ranking

SHOWN = 6
"""Most encoders of a panel."""
PANELS = 4
"""Most settings with a panel."""


def front_chart(settings: Sequence[Setting], styles: Styles) -> Markup:
    """Return the scores against the share of the images, or of one share, setting by setting.

    Of many encoders it shows the best and their twins from random weights.

    Args:
        settings: of the study; the first few with a result are drawn.
        styles: encoder -> its colour.

    Returns:
        "" where no setting has a result.
    """
    scored = [setting for setting in settings if setting.scored][:PANELS]
    several = len(scored) > 1
    panels = [_panel(setting, styles, setting.title if several else "") for setting in scored]
    if not panels:
        return Markup("")
    return chart(panels, "Scores with their intervals over seeds; the table of results has them.")


def _panel(setting: Setting, styles: Styles, title: str) -> Panel:
    encoders = front_encoders(setting)
    if len({group.fraction for group in setting.scored}) > 1:
        found = share_panel(setting, encoders, styles)
        return Panel(found.x, found.y, found.series, title)
    groups = [setting.group(encoder, setting.reference) for encoder in encoders]
    return encoder_panel(groups, setting.metric.label, styles, title)


def front_encoders(setting: Setting) -> list[str]:
    """Return the encoders of the first chart: the best ones, and the same from random weights."""
    groups = [each.group for each in ranking(setting, setting.reference).standings]
    if len(groups) <= SHOWN:
        return [group.encoder for group in groups]
    chosen: list[RunGroup] = []
    for group in groups:
        twins = [other for other in groups if other.architecture == group.architecture]
        chosen += [each for each in twins if each not in chosen]
        if len(chosen) >= SHOWN:
            break
    return [group.encoder for group in groups if group in chosen[:SHOWN]]
