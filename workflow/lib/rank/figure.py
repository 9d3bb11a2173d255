"""The figure of a ranking: every candidate's gain over the default."""

import pandas as pd

from workflow.lib.paper import style

UNIT = {"probe_all": "probe, nats", "robustness_sound": "robustness score, sign turned"}
NEAR, APART, DEFAULT = style.BLUE, style.SILVER, style.VERMILLION


def draw_ranking(table: pd.DataFrame, title: str, *, pdf: str, png: str, csv: str) -> None:
    """Draw the gain over the default with intervals for all differences at once, best candidate on top; `csv` gets `table`.

    table: of `ranking.rank`; candidates without a value are in the CSV only.
    """
    shown = table.dropna(subset="value")
    figure, axes = style.grid(1, 1)
    figure.set_size_inches(style.WIDTH, 1.1 + 0.19 * len(shown))
    axis = axes[0, 0]
    for y, row in enumerate(shown.itertuples()):
        colour = DEFAULT if row.default else NEAR if row.undecided else APART
        error = row.gain_high - row.gain_over_default
        bar = error if error > 0 else None  # the default has no interval against itself, one group gives none
        marker = "D" if row.default else "o"
        look = {"fmt": marker, "color": colour, "markersize": 4, "elinewidth": 1.1}
        fill = colour if row.undecided else "white"
        axis.errorbar(row.gain_over_default, y, xerr=bar, markerfacecolor=fill, **look)
    axis.axvline(0, color=DEFAULT, linewidth=0.8, zorder=0)
    axis.set_yticks(range(len(shown)), shown["candidate"].tolist())
    for tick, chosen in zip(axis.get_yticklabels(), shown["choice"], strict=True):
        tick.set_fontweight("bold" if chosen else "normal")
    axis.set_ylim(len(shown) - 0.5, -0.5)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel(f"gain over the default ({UNIT[table['by'].iloc[0]]}; higher is better)")
    axis.set_title(title, fontweight="bold")
    handles = [
        style.key("default", color=DEFAULT, marker="D", linestyle="none"),
        style.key("not distinguishable from the best", color=NEAR, marker="o"),
        style.key("distinguishable from the best", color=APART, marker="o", markerfacecolor="white"),
    ]
    style.legend_below(
        figure, handles, "bold: the choice; 95 % intervals for all candidates at once, paired over patients"
    )
    optional = table.select_dtypes("number").columns.difference(["seconds"]).tolist()
    style.save_figure(figure, table, pdf=pdf, png=png, csv=csv, optional=optional)
