/** The style sheet of the page: system fonts, light or dark like the reader's system. */
export const PAGE_STYLE = `
:root {
  color-scheme: light dark;
  --background: #ffffff; --text: #1b1f24; --faint: #59616b; --line: #e4e7eb; --panel: #f6f7f9; --shade: #1b1f2433;
  --good: #00734f; --good-back: #e3f4ee; --fair: #755800; --fair-back: #faf1d2; --poor: #b3261e; --poor-back: #fde9e7;
}
@media (prefers-color-scheme: dark) {
  :root {
    --background: #15181c; --text: #e8eaed; --faint: #a3abb5; --line: #2c3138; --panel: #1c2025; --shade: #00000099;
    --good: #4fd6ad; --good-back: #14322a; --fair: #e8c95c; --fair-back: #352d12; --poor: #ff9389; --poor-back: #3f1a17;
  }
}
* { box-sizing: border-box }
body {
  margin: 0; background: var(--background); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif;
}
main { max-width: 1180px; margin: 0 auto; padding: 40px 24px 64px }
h1 { font-size: 28px; line-height: 1.2; letter-spacing: -0.01em; margin: 0 0 6px }
h2 { font-size: 19px; margin: 48px 0 12px }
.lead { color: var(--faint); margin: 0 }
.headline { font-size: 19px; font-weight: 600; line-height: 1.4; margin: 0 0 6px; overflow-wrap: anywhere }
/* A shadow at an edge tells that the table goes on there. The two layers on top scroll with the table and hide it. */
.scroll {
  overflow-x: auto;
  background:
    linear-gradient(to right, var(--background) 40%, transparent) left / 44px 100% no-repeat local,
    linear-gradient(to left, var(--background) 40%, transparent) right / 44px 100% no-repeat local,
    linear-gradient(to right, var(--shade), transparent) left / 16px 100% no-repeat scroll,
    linear-gradient(to left, var(--shade), transparent) right / 16px 100% no-repeat scroll;
}
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: 7px 0 7px 28px; text-align: right; vertical-align: baseline; border-top: 1px solid var(--line); white-space: nowrap }
th:first-child { padding-left: 0; text-align: left; font-weight: 500; white-space: normal; overflow-wrap: anywhere; min-width: 11em }
th span { display: inline-block; min-width: 7.6em }
.boxes th span { min-width: 11.5em }
.servers th, .servers td { padding-left: 18px }
.servers th:first-child { min-width: 6em; padding-left: 0 }
thead th { border-top: 0; vertical-align: bottom; white-space: normal; overflow-wrap: anywhere; max-width: 18em; min-width: 8em; padding-bottom: 10px }
.servers thead th { min-width: 0; overflow-wrap: normal }
small { font-size: 13px; font-weight: 400; color: var(--faint); line-height: 1.35 }
thead small { display: block }
tr.spread th, tr.spread td { color: var(--faint); padding-top: 0; border-top: 0 }
tr.main td { font-size: 24px; font-weight: 650; line-height: 1.3 }
.mark { display: inline-block; padding: 1px 9px; border-radius: 7px }
.mark i { font-style: normal; font-weight: 650 }
td .mark { margin: -1px 0 }
.good { color: var(--good); background: var(--good-back) }
.fair { color: var(--fair); background: var(--fair-back) }
.poor { color: var(--poor); background: var(--poor-back) }
.legend { margin: 16px 0 0; font-size: 14px }
.reasons { list-style: none; padding: 0; margin: 8px 0 0; font-size: 14px }
sup a { color: var(--faint); text-decoration: none; padding: 0 1px }
.chart { width: 100% }
.caption { color: var(--faint); font-size: 14px; max-width: 68em; margin: 4px 0 0 }
ol, ul { padding-left: 1.4em; margin: 0 }
li { margin: 3px 0; overflow-wrap: anywhere }
.runs { display: grid; gap: 16px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)) }
.run { background: var(--panel); border-radius: 10px; padding: 16px 20px; min-width: 0 }
.run h3 { font-size: 16px; margin: 0 0 8px; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 3px 18px; margin: 0; font-size: 14px }
dt { color: var(--faint) }
dd { margin: 0; overflow-wrap: anywhere }
code { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; white-space: pre-wrap }
.tip { font-size: 13px; line-height: 1.5; font-variant-numeric: tabular-nums; max-width: 280px; white-space: normal }
.tip-time { color: var(--faint) }
.tip-name { font-weight: 600; margin-top: 4px; overflow-wrap: anywhere }
.tip-line { display: flex; align-items: center; gap: 7px }
.tip-line b { margin-left: auto; padding-left: 20px; font-weight: 600 }
.tip-dot { width: 9px; height: 9px; border-radius: 50% }
@media (max-width: 760px) { tbody small { display: block } }
@media (max-width: 640px) {
  main { padding: 24px 14px 48px }
  table { width: 100% }
  th, td { padding-left: 12px; white-space: normal }
  th:first-child, .boxes th:first-child { min-width: 0 }
  thead th { min-width: 0 }
  /* With several columns, each row is a block: its label, then a line for each cell. */
  .columns, .columns thead, .columns tbody, .columns tr, .columns th { display: block }
  .columns tr { border-top: 1px solid var(--line); padding: 8px 0 }
  .columns tr.spread { border-top: 0; padding-top: 0 }
  .columns tr.spread th { font-size: 13px }
  .columns th, .columns td { border: 0; padding: 0; max-width: none; text-align: left }
  .columns td { display: flex; justify-content: space-between; align-items: baseline; gap: 14px; padding: 2px 0 2px 14px; text-align: right }
  .columns td::before { content: attr(data-name); color: var(--faint); font-size: 14px; font-weight: 400; text-align: left; overflow-wrap: anywhere; min-width: 0 }
  .columns td:empty { display: none }
  .columns thead tr { border: 0; padding: 0 }
  .columns thead th { padding: 3px 0 }
  .columns thead th:empty, .servers thead { display: none }
  .columns tr.main td { font-size: 20px }
}
@media print { .chart, .run { break-inside: avoid } }
`
