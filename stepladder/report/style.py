"""The style sheet of report.html: one column, tabular figures, light and dark."""

CSS = """
:root { color-scheme: light dark;
  --paper: #fcfcfa; --ink: #23282d; --muted: #68717a; --rule: #dde1e4; --wash: #f1f3f2; --accent: #0c6e68; --accent-wash: #0c6e6826;
  --good: #2b7a3d; --bad: #b03a3a;
  --series-1: #0c6e68; --series-2: #b4541a; --series-3: #5b4b9a; --series-4: #8a7a12; --series-5: #a02c5d; --series-6: #4d5a66; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #14171a; --ink: #e4e7e9; --muted: #98a2ab; --rule: #2d3338; --wash: #1c2125; --accent: #58c2b6; --accent-wash: #58c2b633;
  --good: #74c787; --bad: #e88888;
  --series-1: #58c2b6; --series-2: #e79a62; --series-3: #a79ae6; --series-4: #d3c458; --series-5: #e584ae; --series-6: #a3b1bd; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 -apple-system, "Segoe UI", Inter, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums; -webkit-text-size-adjust: 100%; }
main { max-width: 62rem; margin: 0 auto; padding: 3.5rem 1.5rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -.015em; font-weight: 650; margin: 0 0 .6rem; text-wrap: balance; }
h2 { font-size: 1.15rem; font-weight: 650; letter-spacing: -.005em; margin: 4rem 0 .35rem; padding-top: 1.4rem;
  border-top: 1px solid var(--rule); }
h3 { font-size: .95rem; font-weight: 600; margin: 0; }
p { margin: 0 0 1rem; max-width: 44rem; text-wrap: pretty; }
.kicker { color: var(--muted); font-size: .85rem; margin: 0 0 .5rem; }
.lede { font-size: 1.08rem; color: var(--muted); }
.note, figcaption, .small { color: var(--muted); font-size: .86rem; line-height: 1.5; }
.headline { display: grid; grid-template-columns: minmax(14rem, 19rem) 1fr; gap: 2.5rem;
  align-items: center; margin: 2.5rem 0 1rem; }
.figure { font-size: 4.6rem; line-height: 1; font-weight: 600; letter-spacing: -.045em; }
.figure small { font-size: 2.1rem; font-weight: 500; letter-spacing: 0; color: var(--muted); margin-left: .12em; }
.plot { position: relative; display: block; height: 1.25rem; min-width: 9rem; }
.plot::before { content: ""; position: absolute; left: 0; right: 0; top: 50%; border-top: 1px solid var(--rule); }
.plot i { position: absolute; top: 50%; }
.plot .span { height: 5px; margin-top: -2.5px; border-radius: 3px; background: var(--accent-wash); }
.plot .dot { width: 9px; height: 9px; margin: -4.5px 0 0 -4.5px; border-radius: 50%; background: var(--accent); }
.plot .open { width: 9px; height: 9px; margin: -4.5px 0 0 -4.5px; border-radius: 50%; background: var(--paper);
  border: 1.5px solid var(--muted); }
.plot .tick { width: 2px; height: 11px; margin: -5.5px 0 0 -1px; background: var(--series-2); }
.plot .thin { width: 1px; height: 11px; margin: -5.5px 0 0 -.5px; background: var(--ink); }
.baseline .dot { background: var(--muted); } .baseline .span { background: var(--rule); }
.scroll { overflow-x: auto; margin: 1.2rem 0; }
table { border-collapse: collapse; width: 100%; font-size: .92rem; }
th { font-weight: 400; text-align: left; white-space: nowrap; }
thead th.num { white-space: normal; }
thead th { color: var(--muted); font-size: .8rem; vertical-align: bottom; padding-bottom: .45rem;
  border-bottom: 1px solid var(--rule); }
td, th { padding: .22rem .9rem .22rem 0; } td:last-child, th:last-child { padding-right: 0; }
tbody tr:hover { background: var(--wash); }
.num { text-align: right; white-space: nowrap; } .faint { color: var(--muted); } .strong { font-weight: 600; }
.wide { width: 45%; min-width: 15rem; } .line { width: 26%; } .ladder td.wide { width: 55%; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; margin: .8rem 0 0; padding: 0; list-style: none; }
.legend .plot { display: inline-block; min-width: 1.6rem; width: 1.6rem; height: .8rem; margin-right: .45rem;
  vertical-align: middle; }
.legend .plot::before { border: 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: 2rem 2.2rem; margin: 1.4rem 0; }
.charts figure { margin: 0; min-width: 0; } .charts svg { width: 100%; height: auto; display: block; margin-top: .3rem; }
.bar { display: flex; height: 14px; border-radius: 4px; overflow: hidden; gap: 2px; margin: 1.2rem 0 .8rem; }
.bar span { min-width: 2px; }
.key { display: inline-block; width: .65rem; height: .65rem; border-radius: 2px; margin-right: .45rem; }
.strip { margin: 1.8rem 0 2.4rem; }
.strip header { display: flex; flex-wrap: wrap; gap: .1rem .8rem; align-items: baseline; }
.strip blockquote { margin: .1rem 0 .7rem; color: var(--muted); font-size: .92rem; max-width: 44rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
.frames { display: flex; gap: .9rem; overflow-x: auto; padding-bottom: .6rem; scroll-snap-type: x proximity; }
.frames figure { margin: 0; flex: none; scroll-snap-align: start; }
.frames img { display: block; border-radius: 5px; outline: 1px solid var(--rule); height: auto; background: #fff; max-width: 80vw; }
.frames figcaption { margin-top: .4rem; font-size: .8rem; overflow-wrap: anywhere; }
.frames em { display: block; margin-top: .15rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1.4rem; font-size: .86rem; margin: 1rem 0; }
dt { color: var(--muted); } dd { margin: 0; overflow-wrap: anywhere; }
.facts { margin: 1.8rem 0 0; padding-top: 1.1rem; border-top: 1px solid var(--rule); font-size: .92rem; }
tfoot td, tfoot th { border-top: 1px solid var(--rule); padding-top: .4rem; }
@media (max-width: 44rem) {
  main { padding: 2rem 1.1rem 4rem; } .headline { grid-template-columns: 1fr; gap: 1.4rem; } .figure { font-size: 3.8rem; }
  h2 { margin-top: 3rem; } dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; }
  .plot { min-width: 6.5rem; } td.wide { min-width: 0; } td, th { padding-right: .6rem; } .extra { display: none; } }
@media print { main { padding: 0; } .frames { flex-wrap: wrap; } h2 { break-after: avoid; } .strip { break-inside: avoid; } }
"""
