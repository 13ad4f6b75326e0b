"""Style sheet of the page: both themes, narrow and wide screens, and print."""

from __future__ import annotations

from maskrcnn_trainer.report.page.palette import DARK, HEAT_LEVELS, LIGHT, SERIES_COLORS, Theme, heat

_RULES = """
*{box-sizing:border-box}
html{color-scheme:light dark;-webkit-text-size-adjust:100%}
body{margin:0 auto;padding:16px;max-width:1360px;background:var(--background);color:var(--ink);
font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.6rem;line-height:1.25;margin:0 0 .25rem}
h2{font-size:1.35rem;margin:2.5rem 0 .5rem;padding-top:.75rem;border-top:2px solid var(--line)}
h3{font-size:1.12rem;margin:1.75rem 0 .5rem}
h4{font-size:1rem;margin:1.25rem 0 .5rem}
p,ul,ol,dl{max-width:78ch;margin:.5rem 0}
li{margin:.3rem 0}
a{color:var(--link)}
code{font:.9em ui-monospace,"Liberation Mono",monospace}
.note,figcaption,.absent,.created{color:var(--muted)}
.note,figcaption{font-size:.875rem}
.absent{font-style:italic}
.badge{display:inline-block;background:var(--warning);color:var(--ink);border:1px solid var(--ink);border-radius:4px;
padding:0 .5em;font-weight:600}
nav ul{list-style:none;padding:0;display:flex;flex-wrap:wrap;gap:.25rem 1.25rem;max-width:none}
nav li{margin:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:10px;margin:1rem 0;max-width:none}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px 12px}
.tiles dt{font-size:.875rem;color:var(--muted)}
.tiles dd{margin:0}
.tiles b{font-size:1.5rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tiles small{display:block;font-size:.8125rem;color:var(--muted)}
.next>li{margin:.75rem 0}
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,380px),1fr));gap:14px;margin:1rem 0}
figure{margin:0;padding:10px;background:var(--card);border:1px solid var(--line);border-radius:8px;min-width:0;
max-width:620px;break-inside:avoid}
figure.wide{max-width:none;margin:1rem 0;width:fit-content;min-width:min(100%,380px);max-width:100%}
figure b{display:block;margin-bottom:4px}
figure img{display:block;width:100%;height:auto;border-radius:4px;background:var(--line)}
svg.chart{display:block;width:100%;height:auto}
svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",Arial,sans-serif;fill:var(--muted)}
svg text.name,svg text.value{fill:var(--ink)}
.fine text{font-size:9px}
.fine text.name{font-size:11px}
.grid path,path.grid{stroke:var(--line);stroke-width:1;fill:none}
path.axis,rect.border{stroke:var(--muted);stroke-width:1;fill:none}
path.mark{stroke:var(--ink);stroke-width:1.5;stroke-dasharray:3 3;fill:none}
path.l{fill:none;stroke-width:1.8;stroke-linejoin:round}
path.thin{stroke:var(--muted);stroke-width:.7;opacity:.55}
path.m{stroke-width:1.6}
.map{overflow-x:auto;max-width:100%}
.map svg{width:var(--w);height:auto;max-width:none}
.shades{display:flex;flex-wrap:wrap;align-items:end;gap:4px;font-size:.8125rem;color:var(--muted);margin:.5rem 0}
.shades i{display:block;width:30px;height:12px}
.maps{display:flex;flex-wrap:wrap;gap:0 14px}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:2px 14px;padding:0;margin:6px 0 0;font-size:.8125rem}
.legend li{margin:0;display:flex;align-items:center;gap:6px}
.sample{width:28px;height:12px;flex:none}
.swatch{width:12px;height:12px;flex:none}
.scroll{overflow-x:auto;margin:1rem 0;max-width:100%}
table{border-collapse:collapse;font-size:.875rem;line-height:1.35;font-variant-numeric:tabular-nums}
th,td{padding:4px 10px;text-align:right;vertical-align:top;border-bottom:1px solid var(--line);overflow-wrap:normal}
thead th{vertical-align:bottom;border-bottom:2px solid var(--line)}
tbody th{font-weight:500}
th:first-child,.text{text-align:left}
th:first-child,.text{overflow-wrap:anywhere;min-width:7em;max-width:32em}
td:not(.text){white-space:nowrap}
.path,.field{overflow-wrap:normal}
.file{display:block;color:var(--muted);min-width:11em}
.step{display:block;white-space:normal;overflow-wrap:anywhere;min-width:5.5em;max-width:14em;margin-left:auto}
tr{break-inside:avoid}
.bar{display:block;min-width:4.5em;padding:0 4px;
background:linear-gradient(to right,var(--shade) var(--v),transparent var(--v))}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,260px),1fr));gap:14px;margin:1rem 0}
.objects{list-style:none;padding:0;margin:.4rem 0 0;font-size:.8125rem}
.objects li{margin:1px 0}
figure .objects b{display:inline;margin:0;font-variant-numeric:tabular-nums}
.true{color:var(--true)}
.false{color:var(--false)}
.missed{color:var(--missed)}
.role{font-weight:600}
details{font-size:.8125rem}
.more{margin:-.5rem 0 1rem}
.more summary{cursor:pointer;color:var(--link)}
dl.terms{max-width:none;display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;font-size:.875rem}
dl.terms dt{font-weight:600}
dl.terms dd{margin:0}
@media (max-width:600px){body{padding:12px}table{font-size:.8125rem}th,td{padding:4px 6px}
th:first-child,.text{min-width:6em}.bar{min-width:3.4em}
dl.terms{display:block}dl.terms dd{margin:0 0 .4rem}}
@media print{
body{max-width:none;padding:0;font-size:11pt}
table{font-size:8.5pt}
th,td{padding:3px 5px}
.bar{min-width:3em}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
nav{display:none}
.scroll,.map{overflow:visible}
.map svg{width:min(var(--w),100%)}
h2,h3,h4,:is(h2,h3,h4)+p,thead{break-after:avoid;break-inside:avoid}
.scroll,tr:first-child{break-before:avoid}
.scroll,table,.grid,.pictures{break-inside:auto}
tr,li,.tiles,.shades,.legend{break-inside:avoid}
p{orphans:3;widows:3}
.pictures{grid-template-columns:repeat(3,1fr);gap:8px}
details .objects{margin:0}
@supports selector(::details-content){
details::details-content{content-visibility:visible;block-size:auto}
summary{display:none}
}
}
"""


def style_sheet() -> str:
    """Return the style sheet; it loads nothing."""
    series = "".join(
        f"path.s{number}{{stroke:var(--s{number})}}path.m.s{number}{{fill:var(--s{number})}}"
        f"rect.s{number}{{fill:var(--s{number})}}"
        for number in range(SERIES_COLORS)
    )
    levels = "".join(
        f"rect.h{level}{{fill:var(--h{level})}}i.h{level}{{background:var(--h{level})}}"
        f"svg text.t{level}{{fill:var(--t{level})}}"
        for level in range(1, HEAT_LEVELS + 1)
    )
    # Browsers may print in the dark theme of the screen: dark colors are for the screen alone.
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables(DARK)}}}}}"
    return f":root{{{_variables(LIGHT)}}}{dark}{_RULES}{series}rect.h0{{fill:none}}{levels}"


def _variables(theme: Theme) -> str:
    plain = {
        name: getattr(theme, name)
        for name in ("background", "card", "line", "ink", "muted", "link", "true", "false", "missed", "warning")
    }
    plain |= {f"s{number}": color for number, color in enumerate(theme.series)}
    for level in range(1, HEAT_LEVELS + 1):
        plain[f"h{level}"], plain[f"t{level}"] = heat(theme, level)
    plain["shade"] = heat(theme, 2)[0]
    return "".join(f"--{name}:{color};" for name, color in plain.items())
