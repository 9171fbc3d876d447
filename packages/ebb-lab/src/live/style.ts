/** What the style sheet of a live page has beside that of a report. */
export const LIVE_STYLE = `
.skip { position: absolute; left: -9999px; top: 0; padding: 8px 14px; background: var(--panel); color: var(--text); z-index: 3 }
.skip:focus { left: 8px; top: 8px }
.bar {
  position: sticky; top: 0; z-index: 2; display: flex; align-items: center; gap: 10px; min-height: 44px;
  padding: 6px max(24px, calc((100% - 1132px) / 2)); background: var(--panel); border-bottom: 1px solid var(--line);
  font-size: 14px;
}
#status { flex: 1; min-width: 0; overflow-wrap: anywhere }
.dot { flex: none; width: 10px; height: 10px; border-radius: 50%; background: var(--faint) }
.dot.running { background: var(--good) }
.dot.lost { background: var(--bad) }
main { padding-top: 28px }
main:focus { outline: none }
button {
  font: inherit; font-size: 14px; color: var(--text); background: var(--background); border: 1px solid var(--line);
  border-radius: 7px; padding: 3px 12px; min-height: 32px; cursor: pointer;
}
button[aria-pressed="true"] { background: var(--text); color: var(--background) }
:focus-visible { outline: 2px solid var(--good); outline-offset: 2px }
/* The canvas of a chart begins behind its buttons, and perhaps behind its heading. */
section > h2 { position: relative; z-index: 1 }
.curves { position: relative; z-index: 1; display: flex; flex-wrap: wrap; gap: 6px }
.curves button {
  display: inline-flex; align-items: center; gap: 7px; font-size: 13px; padding: 1px 9px; min-height: 28px;
  max-width: 100%; overflow-wrap: anywhere; text-align: left;
}
.curves button[aria-pressed="true"] { background: var(--background); color: var(--text) }
.curves button[aria-pressed="false"] { color: var(--faint); text-decoration: line-through }
.curves button[aria-pressed="false"] i { visibility: hidden }
.curves i { flex: none; width: 16px; height: 3px; border-radius: 2px; background: var(--curve) }
.curves i.dashed { height: 0; border-top: 3px dashed var(--curve); border-radius: 0 }
.curves i.area { height: 11px; border: 1px solid var(--faint) }
.tiles {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(140px, 1fr)); gap: 10px; margin: 14px 0 0; font-size: 16px;
}
.tiles div { background: var(--panel); border-radius: 10px; padding: 10px 14px; min-width: 0 }
.tiles dt { font-size: 13px }
.tiles dd { font-size: 20px; font-weight: 600; font-variant-numeric: tabular-nums; overflow-wrap: anywhere }
.phase { margin: 20px 0 0; overflow-wrap: anywhere }
.sortable th, .sortable td { padding-left: 18px; white-space: nowrap }
.sortable thead th { min-width: 0; max-width: none }
.sortable th:first-child { position: sticky; left: 0; z-index: 1; min-width: 8em; max-width: 16em; padding-left: 0; background: var(--background) }
.sortable tbody th { white-space: normal }
.sortable thead button { border: 0; padding: 0; min-height: 28px; background: none; font-weight: 500; white-space: nowrap }
.sortable thead th[aria-sort] button { font-weight: 650 }
th[aria-sort="ascending"] button::after { content: " ↑" / "" }
th[aria-sort="descending"] button::after { content: " ↓" / "" }
@media (prefers-reduced-motion: no-preference) {
  .dot.running { animation: breathe 2s ease-in-out infinite }
  @keyframes breathe { 50% { opacity: 0.35 } }
}
@media (max-width: 640px) {
  .sortable th:first-child { min-width: 7em; max-width: 9em }
  .sortable th, .sortable td { padding-left: 14px }
  .bar { padding: 6px 14px } main { padding-top: 18px }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(96px, 1fr)); gap: 8px }
  .tiles div { padding: 8px 10px } .tiles dd { font-size: 17px }
}
@media (forced-colors: active) { .dot { border: 1px solid } .curves i { forced-color-adjust: none } }
`
