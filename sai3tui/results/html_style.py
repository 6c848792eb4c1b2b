"""The style sheet of the HTML report: light, dark and print, without anything from the network."""

from __future__ import annotations

STYLE = """
:root{--bg:#fff;--fg:#1c2230;--dim:#5b6577;--line:#d9dee7;--band0:#f4f6fa;--band1:#e9edf4;--a:#0b63c5;--b:#c2540a;
--c:#1a7f4b;--d:#8a3ab9;--e:#8a6206;--f:#0f7f8c;--g:#b3274d;--good:#1a7f4b;--bad:#b3261e;--heat:11,99,197}
@media (prefers-color-scheme:dark){:root{--bg:#12161d;--fg:#e6e9ef;--dim:#9aa5b8;--line:#2b3340;--band0:#181d26;
--band1:#1f2632;--a:#6cb0ff;--b:#ffa35c;--c:#62d39a;--d:#d0a0f5;--e:#e8c15a;--f:#5fd0dc;--g:#ff86a6;--good:#62d39a;
--bad:#ff8a80;--heat:108,176,255}}
@media print{:root{--bg:#fff;--fg:#000;--dim:#444;--line:#bbb;--band0:#f4f6fa;--band1:#e9edf4;--a:#0b63c5;--b:#c2540a;
--c:#1a7f4b;--d:#8a3ab9;--e:#8a6206;--f:#0f7f8c;--g:#b3274d;--good:#1a7f4b;--bad:#b3261e;--heat:11,99,197}
body{max-width:none;padding:0}figure,.wide,tr,li,dt,dd,pre,.tiles{break-inside:avoid}h2,h3{break-after:avoid}}
*{box-sizing:border-box}body{margin:0 auto;max-width:64rem;padding:1rem;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,sans-serif;print-color-adjust:exact;-webkit-print-color-adjust:exact}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1rem 0 .3rem}p{margin:.4rem 0}.dim{color:var(--dim)}.good{color:var(--good)}
.bad{color:var(--bad)}.verdict{font-size:1.1rem;font-weight:600}.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:.87rem}
th,td{padding:.2rem .5rem;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--dim);font-weight:600}td.t,th.t{text-align:left}td.w{white-space:normal;min-width:16rem}
svg{width:100%;height:auto;display:block}path{fill:none;stroke-width:1.6;stroke-linejoin:round}
.axis{fill:var(--dim);font-size:11px}.grid{stroke:var(--line);stroke-width:.7}.band0{fill:var(--band0)}
.band1{fill:var(--band1)}.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.85rem;margin:.1rem 0 .8rem}
.legend i{display:inline-block;width:1.1rem;height:.2rem;margin-right:.4rem;vertical-align:middle}
path.a{stroke:var(--a)}path.b{stroke:var(--b)}path.c{stroke:var(--c)}path.d{stroke:var(--d)}path.e{stroke:var(--e)}
path.f{stroke:var(--f)}path.g{stroke:var(--g)}i.a,.dot.a{background:var(--a);fill:var(--a)}
i.b,.dot.b{background:var(--b);fill:var(--b)}i.c,.dot.c{background:var(--c);fill:var(--c)}
i.d,.dot.d{background:var(--d);fill:var(--d)}i.e,.dot.e{background:var(--e);fill:var(--e)}
i.f,.dot.f{background:var(--f);fill:var(--f)}i.g,.dot.g{background:var(--g);fill:var(--g)}
path.area{stroke:none;opacity:.16}.area.a{fill:var(--a)}.area.b{fill:var(--b)}.area.d{fill:var(--d)}.area.g{fill:var(--g)}
figure{margin:0}.narrow{display:none}.verdicts tr:not(:first-child) td{color:var(--fg)}
.verdicts tr.good td:nth-child(3){color:var(--good)}
.verdicts tr.bad td:nth-child(-n+3){color:var(--bad);font-weight:600}
.verdicts tr.dim td{color:var(--dim)}
.tiles{display:flex;flex-wrap:wrap;gap:.3rem 1.6rem;align-items:baseline;background:var(--band0);
border:1px solid var(--line);border-radius:.4rem;padding:.5rem .9rem;margin:.6rem 0}
.tiles p{flex-basis:100%;margin:0;color:var(--dim);font-weight:600;font-size:.87rem}.tiles b{font-size:1.5rem;
font-variant-numeric:tabular-nums}.tiles span{color:var(--dim);margin-left:.3rem;font-size:.87rem}
.legend i.wash{height:.7rem;opacity:.25}
.mark{stroke-width:1.2;stroke-dasharray:3 3}.mark.bad{stroke:var(--bad)}.mark.warn{stroke:var(--e)}
.mark.good{stroke:var(--good)}.label{font-size:11px;font-weight:600;paint-order:stroke;stroke:var(--bg);stroke-width:3}
.label.bad{fill:var(--bad)}.label.warn{fill:var(--e)}.label.good{fill:var(--good)}ol{margin:.3rem 0;padding-left:1.6rem;
font-size:.87rem}ol li[class]{color:var(--fg)}ol li::marker{font-weight:600}ol li.bad::marker{color:var(--bad)}
ol li.warn::marker{color:var(--e)}ol li.good::marker{color:var(--good)}.warn{color:var(--e)}
pre{white-space:pre-wrap;overflow-wrap:anywhere;background:var(--band0);padding:.6rem;font-size:.8rem;margin:.3rem 0}
code,li,p{overflow-wrap:anywhere}dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem;font-size:.87rem}
dt{color:var(--dim)}dd{margin:0;overflow-wrap:anywhere}ul{margin:.3rem 0;padding-left:1.2rem}
.glance{grid-template-columns:9rem 1fr;font-size:.95rem;gap:.35rem 1rem;margin:.6rem 0}.glance dt{font-weight:600}
.glance ul{margin:0}
@media print{table{font-size:.7rem}th,td{padding:.15rem .3rem}.wide{overflow:visible}}
@media screen and (max-width:40rem){dl,.glance{grid-template-columns:1fr}dd{margin-bottom:.3rem}body{padding:.7rem}
.broad{display:none}.narrow{display:block}.tiles{gap:.2rem 1rem}.tiles b{font-size:1.25rem}
.wide td:first-child,.wide th:first-child{position:sticky;left:0;background:var(--bg);
border-right:1px solid var(--line)}}
"""
