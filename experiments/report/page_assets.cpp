#include "experiments/report/page_assets.h"

namespace longattn {

const std::string_view kPageStyle = R"css(
:root {
  color-scheme: light dark;
  --ink: #1d1d1b; --soft: #5f5e5a; --hair: #dcdbd6; --paper: #fffffc; --panel: #f6f5f1;
  --accent: #00598c; --bad: #a33f00; --grid: #e7e6e1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e5e3dd; --soft: #a5a39c; --hair: #3b3a37; --paper: #171716; --panel: #201f1e;
    --accent: #7cc4ef; --bad: #f0925a; --grid: #2d2c2a;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 3rem clamp(1rem, 3vw, 3rem) 4rem; max-width: 78rem;
  background: var(--paper); color: var(--ink);
  font: 1.0625rem/1.58 Charter, "Bitstream Charter", "Iowan Old Style", "Palatino Linotype",
    Palatino, Georgia, "Times New Roman", serif;
  overflow-wrap: anywhere;
}
header { border-bottom: 2px solid var(--ink); padding-bottom: 1.1rem; }
h1 { font-size: 2.1rem; line-height: 1.18; font-weight: 600; margin: 0 0 .45rem; }
h2 { font-size: 1.32rem; font-weight: 600; margin: 3rem 0 .8rem; }
h4 { font-size: .95rem; font-weight: 600; margin: 1rem 0 .3rem; }
h3 { font-size: 1.06rem; font-weight: 600; margin: 1.5rem 0 .35rem; }
h3 small { font-weight: 400; color: var(--soft); font-size: .92em; }
p, ul, dl { max-width: 46rem; }
.deck { color: var(--soft); margin: 0 0 .7rem; font-style: italic; }
.status, .status li, nav ul { margin: 0; padding: 0; list-style: none; }
.status, nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; max-width: none; }
.status, nav, figcaption, .note, summary { font-size: .875rem; }
table, .key, .scale { font-size: .8125rem; }
.status, nav, table, summary, .key, .scale { font-family: system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; }
.status b { font-variant-numeric: tabular-nums; }
nav { padding: .7rem 0 0; }
a { color: var(--accent); text-underline-offset: .15em; text-decoration-thickness: .06em; }
ul.findings { padding-left: 1.15rem; margin: .3rem 0 0; }
ul.findings li { margin: .28rem 0; }
ul.findings li::marker { color: var(--soft); }
.bad { color: var(--bad); }
.note { color: var(--soft); }
.scroll { overflow: auto; max-height: max(40rem, 92vh); max-width: 100%; border-top: 1.5px solid var(--ink);
  border-bottom: 1.5px solid var(--ink); }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums;
  line-height: 1.35; overflow-wrap: normal; }
caption, figcaption { text-align: left; line-height: 1.45; }
thead th { position: sticky; top: 0; background: var(--paper); font-weight: 600;
  vertical-align: bottom; box-shadow: 0 1px 0 var(--ink); white-space: nowrap; }
th, td { padding: .3rem .41rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { padding-left: .15rem; }
th.text, td.text { text-align: left; }
td.wrap { white-space: normal; min-width: 16rem; overflow-wrap: anywhere; }
td.label div { width: max-content; max-width: 15rem; white-space: normal; }
tbody tr.first td { border-top: 1px solid var(--hair); }
tbody tr:first-child td { border-top: 0; }
table.sortable th:first-child, table.sortable td:first-child { position: sticky; left: 0;
  background: var(--paper); }
table.sortable th:first-child { z-index: 1; }
tbody tr:hover td, table.sortable tbody tr:hover td:first-child { background: var(--panel); }
td small { color: var(--soft); font-size: .88em; }
td.none { color: var(--soft); }
th button { all: unset; cursor: pointer; position: relative; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th button::after { content: "\2195"; position: absolute; left: 100%; color: var(--soft);
  font-weight: 400; opacity: .55; }
th[aria-sort="ascending"] button::after { content: "\2191"; opacity: 1; }
th[aria-sort="descending"] button::after { content: "\2193"; opacity: 1; }
figure.plot { display: grid; grid-template-columns: minmax(0, 38rem) minmax(0, 1fr);
  gap: .3rem 1.6rem; margin: 1.6rem 0 2.2rem; align-items: start; }
.key { margin: .4rem 0 0; padding: 0; list-style: none; line-height: 1.35; }
.key li { display: grid; grid-template-columns: 1.9rem 1.5rem minmax(0, 1fr); gap: .35rem;
  align-items: baseline; padding: .12rem 0; }
.key b { text-align: right; }
.patterns { display: grid; gap: 1.4rem 1.6rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 13.5rem), 1fr)); }
figure { margin: 0; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; max-width: 36rem; }
figure svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue",
  Arial, sans-serif; white-space: pre; }
.gs { fill: none; stroke: currentColor; }
.gl { fill: currentColor; stroke: none; }
.gridline { stroke: var(--grid); }
svg.shared { position: absolute; }
figure.plot > svg { max-width: 38rem; }
figure svg.pattern { max-width: 20rem; }
figure svg.swatch { width: 1.9rem; align-self: center; }
figcaption { margin-top: .35rem; max-width: 36rem; color: var(--soft); }
figcaption b { color: var(--ink); }
.scale { display: flex; align-items: center; gap: .6rem; color: var(--soft); margin: 1.1rem 0 0; }
.scale i { display: block; width: 9rem; height: .6rem; }
code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono",
  monospace; font-size: .82rem; }
pre { background: var(--panel); padding: .8rem 1rem; overflow: auto; max-height: 32rem;
  line-height: 1.45; margin: .5rem 0; white-space: pre; }
pre.numbered { counter-reset: line; }
pre.numbered span { counter-increment: line; }
pre.numbered span::before { content: counter(line); display: inline-block; width: 2.2em;
  margin-right: 1.1em; text-align: right; color: var(--soft); user-select: none; }
details { margin: .5rem 0; }
td details { margin: .2rem 0 0; }
td pre { max-width: min(60rem, 70vw); max-height: 16rem; }
summary { cursor: pointer; color: var(--accent); }
dt { font-weight: 600; margin-top: .7rem; }
dd { margin: 0; }
var { font-family: inherit; }
table.facts { width: auto; max-width: 100%; }
table.facts td, table.facts th { white-space: normal; text-align: left; vertical-align: top;
  overflow-wrap: anywhere; }
table.facts th { font-weight: 400; color: var(--soft); padding-left: .15rem; min-width: 7rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--hair); padding-top: .8rem; }
@media (max-width: 40rem) {
  body { padding-top: 1.5rem; font-size: 1rem; }
  h1 { font-size: 1.65rem; }
  h2 { margin-top: 2.2rem; }
  td.label div { max-width: 7.5rem; }
  .patterns { grid-template-columns: repeat(auto-fill, minmax(min(100%, 9.5rem), 1fr)); }
}
@media (max-width: 54rem) {
  figure.plot { grid-template-columns: minmax(0, 1fr); }
}
@media print {
  :root { color-scheme: light; --ink: #000; --paper: #fff; --soft: #444; --hair: #ccc; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  .scroll, pre { max-height: none; overflow: visible; }
  nav, th button::after { display: none; }
  figure, tr, li { break-inside: avoid; }
  h2, h3, h4 { break-after: avoid; }
  table { font-size: 6.5pt; }
  th, td { padding: 1pt 2pt; }
  td.label div { max-width: 8rem; }
  thead th { position: static; }
  td small { font-size: 1em; }
  .key { font-size: 8pt; }
  figure.plot { grid-template-columns: 11cm 1fr; }
  .patterns { grid-template-columns: repeat(4, 1fr); }
}
)css";

const std::string_view kPageScript = R"js(
"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.textContent = head.textContent;
    button.title = head.title ? head.title + "; sort" : "sort";
    head.removeAttribute("title");
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[column];
        if (cell.classList.contains("text")) return cell.textContent || null;
        return cell.classList.contains("none") ? null : parseFloat(cell.title);
      };
      const rows = [...table.tBodies[0].rows].map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        const order = typeof a === "string" ? a.localeCompare(b, "en", {numeric: true}) : a - b;
        return down ? -order : order;
      });
      table.tBodies[0].append(...rows.map(([, row]) => row));
    });
  });
}
)js";

// The hash is that of kPageScript: openssl dgst -sha256 -binary | base64. A test holds them
// together.
const std::string_view kPagePolicy =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; script-src 'sha256-3Y6VEjdMjqTffPphHOC4Jc16GZREv4HoqE26hUq4xU8='";

}  // namespace longattn
